"""The name server as a user writes it."""

from typing import Annotated, Literal

from pydantic import Field

from lab.schema.base import DURATION, Model, Whole
from lab.schema.limits import RESOLVER_PACKETS_PER_SECOND, RESOLVER_TCP_CONNECTIONS, RESOLVER_TTL_S
from lab.schema.scale import SCALES
from lab.schema.words import Name, Timeout

__all__ = ["Resolver"]


class Resolver(Model):
    """The name server: no question to it crosses an ENI, so DNS outlives connections, unless it is in the VPC."""

    location: Literal["service_vpc", "vpc"] = Field(
        "service_vpc",
        alias="in",
        description="the name server is in the service_vpc, or in the vpc, behind the ENIs, as one of your own",
    )
    subnet: Name | None = Field(
        None, description="with `in: vpc`, the name server lives in one of vpc.subnets, the first unless given"
    )
    packets_per_second: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=1,
        le=RESOLVER_PACKETS_PER_SECOND,
        description="a name server takes 1 to 1,024 packets per second from each network interface "
        "(leave it out for no quota)",
    )
    truncate: bool = Field(
        default=False,
        description="whether every answer over UDP is truncated, as one that is too long for a datagram, so that "
        "clients ask again over TCP",
    )
    tcp_connections: Whole | None = Field(
        None,
        ge=1,
        le=RESOLVER_TCP_CONNECTIONS,
        description="a name server has 1 to 20 TCP connections at a time from each network interface "
        "(leave it out for no limit)",
    )
    ttl_s: Timeout = Field(
        RESOLVER_TTL_S, alias="ttl", description=f"a TTL, how long a client may keep an answer, is {DURATION}"
    )

    @property
    def behind_eni(self) -> bool:
        """Whether a question crosses the ENI, and takes one of its connections."""
        return self.location == "vpc"

    @property
    def counts_sources(self) -> bool:
        """Whether it matters which interface a question comes from."""
        return self.behind_eni or self.truncate or self.packets_per_second is not None

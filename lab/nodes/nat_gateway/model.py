"""The NAT gateway as a user writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from lab.schema.base import DURATION, NAME, HalfOpenTimeout, IdleTimeout, Limit, PortHold, Whole, YesNo
from lab.schema.exits import Exit
from lab.schema.limits import (
    HALF_OPEN_TIMEOUT_S,
    NAT_CONNECTIONS_PER_DESTINATION,
    NAT_DRAIN_TIMEOUT_S,
    NAT_EIPS,
    NAT_IDLE_TIMEOUT_S,
    PORT_HOLD_S,
)
from lab.schema.names import node_name_of_nat_gateway
from lab.schema.words import Name, Timeout

if TYPE_CHECKING:
    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet

__all__ = ["NatGateway"]


class NatGateway(Exit):
    """Source NAT to 1 to 8 Elastic IPs, each with a port pool per unique destination."""

    KIND: ClassVar[str] = "nat_gateway"
    WORDS: ClassVar[str] = "NAT gateway"
    SENDS_THROUGH_SUBNET: ClassVar[bool] = True

    name: Name = Field(description=f"a NAT gateway's name is {NAME}")
    subnet: Name = Field(description="a NAT gateway lives in one of vpc.subnets, a public one")
    elastic_ips: Whole = Field(
        1,
        ge=1,
        le=NAT_EIPS,
        description="a NAT gateway has 1 to 8 Elastic IPs (1 primary, up to 7 secondary; AWS's default quota is 2)",
    )
    connections_per_destination: Limit = Field(
        NAT_CONNECTIONS_PER_DESTINATION,
        ge=1,
        le=NAT_CONNECTIONS_PER_DESTINATION,
        description="an Elastic IP carries 1 to 55,000 connections to each unique destination "
        "(address, port, protocol)",
    )
    idle_timeout_s: IdleTimeout = NAT_IDLE_TIMEOUT_S
    half_open_timeout_s: HalfOpenTimeout = HALF_OPEN_TIMEOUT_S
    port_hold_s: PortHold = PORT_HOLD_S
    drain_timeout_s: Timeout = Field(
        NAT_DRAIN_TIMEOUT_S,
        alias="drain_timeout",
        description=f"a drain timeout, after which a removed Elastic IP ends its connections, is {DURATION}",
    )
    spill_over: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="spill-over, trying the next Elastic IP when one is full, is true or false",
    )
    eip_selection: Literal["round_robin", "hash"] = Field(
        "round_robin",
        description="a new connection gets its Elastic IP by round_robin (in turn) or hash (of its tuple)",
    )

    @property
    def node(self) -> str:
        """`natgw` stays `natgw`, `blue` is `nat-blue`."""
        return node_name_of_nat_gateway(self.name)

    @property
    def in_subnet(self) -> str:
        """Its public subnet."""
        return self.subnet

    @property
    def capacity(self) -> int:
        """All Elastic IPs together."""
        return self.elastic_ips * self.connections_per_destination

    def certain_capacity(self, in_use: int) -> int | None:
        """Without spill-over one Elastic IP may be full long before the others: by hash, or by what it had before."""
        even = self.spill_over or self.elastic_ips == 1 or (self.eip_selection == "round_robin" and not in_use)
        return None if even else max(0, self.connections_per_destination - in_use)

    def takes(self, subnet: Subnet, server: Server) -> bool:  # noqa: ARG002 - any server
        """What a default route leads to it."""
        return subnet.default_route == self.name

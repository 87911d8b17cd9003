"""The NAT gateway as a user writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, WrapSerializer, model_validator

from lab.schema.base import DURATION, NAME, HalfOpenTimeout, IdleTimeout, Limit, Model, PortHold, Whole, YesNo
from lab.schema.exits import Exit
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import (
    HALF_OPEN_TIMEOUT_S,
    NAT_CONNECTIONS_PER_DESTINATION,
    NAT_DRAIN_TIMEOUT_S,
    NAT_EIPS,
    NAT_IDLE_TIMEOUT_S,
    PORT_HOLD_S,
)
from lab.schema.names import node_name_of_nat_gateway
from lab.schema.words import Name, Timeout, shown

if TYPE_CHECKING:
    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet

__all__ = ["NatGateway", "PortsPerClient"]


class PortsPerClient(Model):
    """How many ports each client has to each unique destination: `min` at first, doubled as they are used, to `max`."""

    least: Limit = Field(
        alias="min",
        ge=1,
        le=NAT_CONNECTIONS_PER_DESTINATION,
        description="the ports that each client has at first are 1 to 55,000",
    )
    most: Limit = Field(
        alias="max",
        ge=1,
        le=NAT_CONNECTIONS_PER_DESTINATION,
        description="the ports that each client may come to are 1 to 55,000, and not less than min",
    )

    @model_validator(mode="after")
    def _not_upside_down(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"min {self.least:,} is more than max {self.most:,}")
        return self

    @property
    def fixed(self) -> bool:
        """Whether a client has as many from the beginning as it may come to."""
        return self.least == self.most

    def for_each_of(self, clients: int, ports: int) -> int:
        """How many each of these clients comes to that share so many ports, all of them at the same time.

        A doubling for which there are not enough ports is one that no client gets.
        """
        each = self.least
        while each < self.most and clients * (wider := min(2 * each, self.most)) <= ports:
            each = wider
        return each


def _mapping(value: object) -> object:
    """A number alone is a minimum that is the maximum as well."""
    if isinstance(value, dict | PortsPerClient | None):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither a whole number nor a mapping")  # noqa: TRY004 - pydantic's way
    if not 1 <= value <= NAT_CONNECTIONS_PER_DESTINATION:
        word, bound = ("less", 1) if value < 1 else ("more", NAT_CONNECTIONS_PER_DESTINATION)
        raise ValueError(f"{value} is {word} than {bound}")
    return {"min": value, "max": value}


def _written(value: PortsPerClient | None, write: SerializerFunctionWrapHandler) -> object:
    return value.least if value is not None and value.fixed else write(value)


def _or_a_number(schema: dict[str, Any]) -> None:
    """What an editor may offer: a number, or a mapping."""
    number = {"type": "integer", "minimum": 1, "maximum": NAT_CONNECTIONS_PER_DESTINATION}
    schema["anyOf"] = [number, *(one for one in schema["anyOf"] if one != {"type": "null"})]
    del schema["default"]


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
    ports_per_client: Annotated[PortsPerClient | None, BeforeValidator(_mapping), WrapSerializer(_written)] = Field(
        None,
        description="ports per client, to each unique destination, are 1 to 55,000 or a mapping such as "
        "{min: 32, max: 1024}, doubled from min to max as they are used (leave it out to have clients share all ports)",
        json_schema_extra=_or_a_number,
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

    def clients_on_one_eip(self, clients: int) -> int:
        """How many of so many clients share an Elastic IP: they are dealt out in turn."""
        return -(-clients // self.elastic_ips)

    def ports_of_each(self, clients: int) -> int | None:
        """How many ports each of so many clients has to one server; None where they share all."""
        if self.ports_per_client is None:
            return None
        return self.ports_per_client.for_each_of(self.clients_on_one_eip(clients), self.connections_per_destination)

    def limit_of_each(self, clients: int) -> ConnectionLimit | None:
        """The same as the limit that a path meets."""
        ports = self.ports_of_each(clients)
        return None if ports is None else ConnectionLimit(ports)

    def takes(self, subnet: Subnet, server: Server) -> bool:  # noqa: ARG002 - any server
        """What a default route leads to it."""
        return subnet.default_route == self.name

"""The interface endpoint (AWS PrivateLink) as a user writes it: a server's private address in a subnet of the VPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from lab.schema.base import NAME, HalfOpenTimeout, IdleTimeout, PortHold, Whole
from lab.schema.exits import Exit
from lab.schema.faults import Fault
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import ENDPOINT_CONNECTIONS_PER_TARGET, ENDPOINT_IDLE_TIMEOUT_S, HALF_OPEN_TIMEOUT_S, PORT_HOLD_S
from lab.schema.references import twice, unknown
from lab.schema.scale import SCALES
from lab.schema.words import Name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.topology.draft import Draft

__all__ = ["CHECKS", "InterfaceEndpoint"]


class InterfaceEndpoint(Exit):
    """An interface endpoint: no NAT gateway is in its path, the functions' ENIs still are."""

    KIND: ClassVar[str] = "interface_endpoint"
    WORDS: ClassVar[str] = "interface endpoint"

    name: Name = Field(description=f"an interface endpoint's name is {NAME}")
    subnet: Name = Field(description="an interface endpoint lives in one of vpc.subnets, whichever functions use it")
    server: Name = Field(description="an interface endpoint is for one of servers, by its name")
    connections_per_target: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=1,
        le=ENDPOINT_CONNECTIONS_PER_TARGET,
        description="an endpoint's load balancer carries 1 to 55,000 connections to each address of its server; "
        "left out, any number",
    )
    idle_timeout_s: IdleTimeout = ENDPOINT_IDLE_TIMEOUT_S
    half_open_timeout_s: HalfOpenTimeout = HALF_OPEN_TIMEOUT_S
    port_hold_s: PortHold = PORT_HOLD_S

    @property
    def node(self) -> str:
        """`cache` is `vpce-cache`."""
        return f"vpce-{self.name}"

    @property
    def in_subnet(self) -> str:
        """The subnet of its network interface."""
        return self.subnet

    @property
    def capacity(self) -> int | None:
        """To its server; to others there is no way here."""
        return self.connections_per_target

    def limit_to(self, addresses: int) -> ConnectionLimit | None:
        """Its load balancer has each address of the server as a target."""
        return None if self.capacity is None else ConnectionLimit(self.capacity * addresses)

    @property
    def stands_for(self) -> str:
        """With private DNS the server's name means the endpoint."""
        return self.server

    def destination(self, server: IPv4Network, subnet: IPv4Network) -> IPv4Network:  # noqa: ARG002 - not its own
        """An address in the endpoint's subnet, which the plan chooses."""
        return subnet

    def takes(self, subnet: Subnet, server: Server) -> bool:  # noqa: ARG002 - from any subnet
        """All to its server: with private DNS the name means the endpoint, in the whole VPC."""
        return server.name == self.server


def _servers(draft: Draft) -> Iterator[Fault]:
    """An endpoint for nothing, and two for one server: its name can only mean one of them."""
    endpoints = draft.ways_out_of(InterfaceEndpoint)
    for item in endpoints:
        yield from unknown("server", item.value.server, draft.server_names, (*item.path, "server"))
    yield from twice("server", "interface endpoint", [(item.path, item.value.server) for item in endpoints])


def _functions_outside(draft: Draft) -> Iterator[Fault]:
    """One resolver answers everybody, and a private address is of no use outside the VPC."""
    if not draft.ways_out_of(InterfaceEndpoint):
        return
    for item in draft.functions:
        if not item.value.subnets:
            text = (
                f"{shown(item.value.name)} is outside the VPC, where the interface endpoint's private address leads "
                "nowhere; give it subnets, or a topology of its own"
            )
            yield Fault((*item.path, "name"), text)


CHECKS = (_servers, _functions_outside)

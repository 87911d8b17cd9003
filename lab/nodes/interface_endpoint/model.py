"""The interface endpoint (AWS PrivateLink) as a user writes it: private addresses in subnets that mean a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from lab.schema.base import NAME, HalfOpenTimeout, IdleTimeout, PortHold, Whole, YesNo
from lab.schema.exits import Exit, WayOut
from lab.schema.faults import Fault
from lab.schema.firewall import groups_at
from lab.schema.limit import ConnectionLimit
from lab.schema.limits import (
    ENDPOINT_CONNECTIONS_PER_TARGET,
    ENDPOINT_IDLE_TIMEOUT_S,
    HALF_OPEN_TIMEOUT_S,
    PORT_HOLD_S,
    SERVER_SECURITY_GROUPS,
)
from lab.schema.references import twice, unknown
from lab.schema.scale import SCALES
from lab.schema.words import Name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.schema.faults import Path
    from lab.topology.draft import Draft

__all__ = ["CHECKS", "EndpointInterface", "InterfaceEndpoint"]

_KIND, _WORDS = "interface_endpoint", "interface endpoint"


class InterfaceEndpoint(WayOut):
    """An interface endpoint: no NAT gateway is in its path, the functions' ENIs still are."""

    KIND: ClassVar[str] = _KIND
    WORDS: ClassVar[str] = _WORDS

    name: Name = Field(description=f"an interface endpoint's name is {NAME}")
    subnet: Name | None = Field(
        None,
        description="an interface endpoint lives in one of vpc.subnets, whichever functions use it; for several write "
        "subnets instead",
    )
    subnets: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        description="an interface endpoint has a network interface in each of a list of vpc.subnets, each in an "
        "availability zone of its own (for one write subnet instead)",
    )
    server: Name = Field(description="an interface endpoint is for one of servers, by its name")
    private_dns: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="private DNS, by which the server's name means the endpoint, is true or false; without it the name "
        "leads to the server's public address",
    )
    security_groups: tuple[Name, ...] = Field(
        (),
        max_length=SERVER_SECURITY_GROUPS,
        description="an interface endpoint has a list of up to 5 described security groups, whose ingress says what "
        "may connect to it (leave it out: anything may)",
    )
    connections_per_target: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=1,
        le=ENDPOINT_CONNECTIONS_PER_TARGET,
        description="behind each network interface of an endpoint a load balancer carries 1 to 55,000 connections to "
        "each address of its server; left out, any number",
    )
    idle_timeout_s: IdleTimeout = ENDPOINT_IDLE_TIMEOUT_S
    half_open_timeout_s: HalfOpenTimeout = HALF_OPEN_TIMEOUT_S
    port_hold_s: PortHold = PORT_HOLD_S

    @property
    def exits(self) -> tuple[EndpointInterface, ...]:
        """Its network interfaces."""
        if self.subnet is not None:
            return (EndpointInterface(name=self.name, subnet=self.subnet, endpoint=self),)
        return tuple(
            EndpointInterface(name=f"{self.name}-{subnet}", subnet=subnet, endpoint=self, number=number)
            for number, subnet in enumerate(self.subnets or ())
        )


class EndpointInterface(Exit):
    """A network interface of an endpoint, with a private address in a subnet, and a load balancer behind it.

    "For a specific Availability Zone, an interface endpoint establishes a connection with one load balancer only"
    (AWS PrivateLink guide), so each has the limit of its own.
    """

    KIND: ClassVar[str] = _KIND
    WORDS: ClassVar[str] = _WORDS

    name: str
    subnet: str
    endpoint: InterfaceEndpoint
    number: int | None = None
    """Its place in `subnets`; None where there is no list."""

    @property
    def node(self) -> str:
        """`cache` is `vpce-cache`; of several subnets that in `private-a` is `vpce-cache-private-a`."""
        return f"vpce-{self.name}"

    @property
    def in_subnet(self) -> str:
        """Its own."""
        return self.subnet

    @property
    def ingress_groups(self) -> tuple[str, ...]:
        """The endpoint's."""
        return self.endpoint.security_groups

    @property
    def subnet_key(self) -> Path:
        """At `subnet`, or in the list `subnets`."""
        return ("subnet",) if self.number is None else ("subnets", self.number)

    @property
    def capacity(self) -> int | None:
        """To its server; to others there is no way here."""
        return self.endpoint.connections_per_target

    def limit_to(self, addresses: int) -> ConnectionLimit | None:
        """Its load balancer has each address of the server as a target."""
        return None if self.capacity is None else ConnectionLimit(self.capacity * addresses)

    @property
    def stands_for(self) -> str | None:
        """With private DNS the server's name means the endpoint."""
        return self.endpoint.server if self.endpoint.private_dns else None

    def destination(self, server: IPv4Network, subnet: IPv4Network) -> IPv4Network:  # noqa: ARG002 - not its own
        """An address in the endpoint's subnet, which the plan chooses."""
        return subnet

    def takes(self, subnet: Subnet, server: Server) -> bool:  # noqa: ARG002 - from any subnet
        """All to its server, in the whole VPC, as long as the name means the endpoint."""
        return server.name == self.stands_for


def _subnets(draft: Draft) -> Iterator[Fault]:
    """An endpoint in no subnet, one that says so in two ways, and two network interfaces in one subnet."""
    for item in draft.ways_out_of(InterfaceEndpoint):
        one, several = item.value.subnet, item.value.subnets
        if one is None and several is None:
            yield Fault((*item.path, "subnet"), "missing; an interface endpoint has a subnet, or a list of subnets")
        if one is not None and several is not None:
            text = f"{shown(one)} stands under subnet already; write all under subnets"
            yield Fault((*item.path, "subnets"), text)
        for index, name in enumerate(several or ()):
            if name in (several or ())[:index]:
                text = f"{shown(name)} is listed twice; an endpoint has one network interface in a subnet"
                yield Fault((*item.path, "subnets", index), text)


def _zones(draft: Draft) -> Iterator[Fault]:
    """Two network interfaces in one availability zone, which AWS refuses: `DuplicateSubnetsInSameZone`."""
    for item in draft.ways_out_of(InterfaceEndpoint):
        first: dict[str, str] = {}
        for index, name in enumerate(item.value.subnets or ()):
            subnet = draft.subnets_by_name.get(name)
            if subnet is None or subnet.zone is None:
                continue
            if first.setdefault(subnet.zone, name) != name:
                text = (
                    f"{shown(name)} is in the zone {subnet.zone}, as {first[subnet.zone]} is; an endpoint has one "
                    "network interface in an availability zone (AWS: DuplicateSubnetsInSameZone)"
                )
                yield Fault((*item.path, "subnets", index), text)


def _security_groups(draft: Draft) -> Iterator[Fault]:
    """Groups that nothing describes, or of another VPC."""
    for item in draft.ways_out_of(InterfaceEndpoint):
        subnet = next((exit_.subnet for exit_ in item.value.exits), None)
        path = (*item.path, "security_groups")
        yield from groups_at(draft, path, item.value.security_groups, subnet, item.value.name)


def _servers(draft: Draft) -> Iterator[Fault]:
    """An endpoint for nothing, and two for one server: its name can only mean one of them."""
    endpoints = draft.ways_out_of(InterfaceEndpoint)
    for item in endpoints:
        yield from unknown("server", item.value.server, draft.server_names, (*item.path, "server"))
    meant = [(item.path, item.value.server) for item in endpoints if item.value.private_dns]
    yield from twice("server", "interface endpoint with private DNS", meant)


def _functions_outside(draft: Draft) -> Iterator[Fault]:
    """One resolver answers everybody, and a private address is of no use outside the VPC."""
    if not any(exit_.value.stands_for for exit_ in draft.exits):
        return
    for item in draft.functions:
        if not item.value.subnets:
            text = (
                f"{shown(item.value.name)} is outside the VPC, where the interface endpoint's private address leads "
                "nowhere; give it subnets, or a topology of its own"
            )
            yield Fault((*item.path, "name"), text)


CHECKS = (_subnets, _zones, _security_groups, _servers, _functions_outside)

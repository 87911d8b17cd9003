"""The customer VPC: a router with one port per network interface in a subnet, and one route table per subnet.

A VPC is no L2 network: its router answers for everyone (Amazon VPC user guide, "Route tables"), so each interface
has a point-to-point link and the router's subnet address at the far end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from lab.nodes import firewalls, parts
from lab.plan import addressing
from lab.plan.layout import Layout, Link
from lab.plan.objects import MAIN_TABLE, DropCounter, NodePlan, Route, Rule, Ruleset
from lab.schema.names import NO_ROUTE, VPC
from lab.slots import ruleset as slots
from lab.topology import Subnet

__all__ = ["TABLE", "plan"]

TABLE = "vpc"

_WITHIN_VPC = 50
_BY_SUBNET = 100
_FIRST_TABLE = 1000


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The router."""
    cidr = layout.topology.vpc.cidr
    yield from parts.router(layout.router)
    yield NodePlan(VPC, "vpc", layout.router, (str(cidr),))
    yield Rule(layout.router, _WITHIN_VPC, MAIN_TABLE, destination=cidr)
    # What no route table knows is dropped without a word, as in a VPC: no ICMP goes back.
    yield Route(layout.router, parts.ANYWHERE, type="blackhole")
    for subnet, link, address in _interfaces(layout):
        yield from _interface(subnet, link, address)
    for subnet in layout.topology.subnets:
        yield from _route_table(layout, subnet)
    yield from _drops(layout)


def _interfaces(layout: Layout) -> Iterator[tuple[Subnet, Link, IPv4Address]]:
    for eni in layout.enis:
        yield from ((eni.eni.subnet, eni.vpc, address) for address in eni.addresses)
    for each in layout.exits:
        yield each.subnet, each.vpc, each.address
    if layout.resolver.subnet is not None:
        yield layout.resolver.subnet, layout.resolver.link, layout.resolver.address


def _interface(subnet: Subnet, link: Link, address: IPv4Address) -> Iterator[parts.Part]:
    yield parts.own_address(link.far, addressing.subnet_router(subnet.cidr))
    yield from parts.host_behind(link, address)


def _route_table(layout: Layout, subnet: Subnet) -> Iterator[parts.Part]:
    if subnet.default_route in (None, NO_ROUTE):
        return
    nat = layout.nat_gateway(subnet.default_route)
    index = layout.subnet_index(subnet)
    table = _FIRST_TABLE + index
    yield Route(layout.router, parts.ANYWHERE, nat.vpc.far.interface, nat.address, table=table)
    for eni in layout.enis:
        if eni.eni.subnet == subnet:
            yield Rule(layout.router, _BY_SUBNET + index, table, input_interface=eni.vpc.far.interface)


def _drops(layout: Layout) -> Iterator[parts.Part]:
    """What drops packets here: missing routes first, for what is not routed crosses no border."""
    routes = tuple(_missing_routes(layout))
    acls = tuple(firewalls.network_acls(layout.topology.vpc, tuple(_ports(layout)), layout.router, TABLE))
    if routes or acls:
        yield Ruleset(
            layout.router,
            slots.table(
                TABLE,
                *_hooked("routes", "type filter hook prerouting priority filter; policy accept;", routes),
                *_hooked("network_acls", "type filter hook forward priority filter; policy accept;", acls),
            ),
        )
    yield from (gate.counter for gate in (*routes, *acls))


def _hooked(name: str, hook: str, gates: Sequence[firewalls.Gate]) -> Iterator[str]:
    """A base chain with the rules of these gates, after what they need; nothing without gates."""
    yield from (part for gate in gates for part in gate.definitions)
    if gates:
        yield slots.chain(name, hook, *(rule for gate in gates for rule in gate.rules))


def _ports(layout: Layout) -> Iterator[firewalls.SubnetPort]:
    clients = {eni.vpc.far.interface for eni in layout.enis}
    # One port, however many ENIs there are to be beside the first.
    for subnet, port in dict.fromkeys((subnet.name, link.far.interface) for subnet, link, _ in _interfaces(layout)):
        yield firewalls.SubnetPort(subnet, port, port in clients)


def _missing_routes(layout: Layout) -> Iterator[firewalls.Gate]:
    """The route that is not there drops as well; here it also counts. By subnet, the ENIs' ports."""
    inside = layout.topology.vpc.cidr
    ports: dict[str, list[str]] = {}
    for eni in layout.enis:
        if eni.eni.subnet.default_route == NO_ROUTE:
            ports.setdefault(eni.eni.subnet.name, []).append(eni.vpc.far.interface)
    for name, interfaces in ports.items():
        counter = f"no_route_{slots.identifier(name)}"
        rule = f"iifname {{ {_quoted(interfaces)} }} ip daddr != {inside} counter name {counter} drop"
        drop = DropCounter(VPC, "no_route", name, namespace=layout.router, table=TABLE, counter=counter)
        yield firewalls.Gate((f"counter {counter} {{ }}",), (rule,), drop)


def _quoted(interfaces: list[str]) -> str:
    return ", ".join(f'"{each}"' for each in interfaces)

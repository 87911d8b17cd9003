"""The customer VPC: a router with one port per network interface in a subnet, and one route table per subnet.

A VPC is no L2 network: its router answers for everyone (Amazon VPC user guide, "Route tables"), so each interface
has a point-to-point link and the router's subnet address at the far end.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lab.plan import addressing
from lab.plan.layout import Layout, Link
from lab.plan.nodes import parts, slots
from lab.plan.objects import MAIN_TABLE, Barrier, NodePlan, Route, Rule, Ruleset
from lab.topology import Subnet
from lab.topology.names import NO_ROUTE, VPC

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
    for subnet in layout.topology.vpc.subnets:
        yield from _route_table(layout, subnet)
    yield from _missing_routes(layout)


def _interfaces(layout: Layout) -> Iterator[tuple[Subnet, Link, IPv4Address]]:
    for eni in layout.enis:
        yield from ((eni.eni.subnet, eni.vpc, address) for address in eni.addresses)
    for each in layout.exits:
        yield each.subnet, each.vpc, each.address


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


def _missing_routes(layout: Layout) -> Iterator[parts.Part]:
    """The route that is not there drops as well; here it also counts. By subnet, the ENIs' ports."""
    inside = layout.topology.vpc.cidr
    ports: dict[str, list[str]] = {}
    for eni in layout.enis:
        if eni.eni.subnet.default_route == NO_ROUTE:
            ports.setdefault(eni.eni.subnet.name, []).append(eni.vpc.far.interface)
    if not ports:
        return
    counters = {name: f"no_route_{slots.identifier(name)}" for name in ports}
    yield Ruleset(
        layout.router,
        slots.table(
            TABLE,
            *(f"counter {counter} {{ }}" for counter in counters.values()),
            slots.chain(
                "routes",
                "type filter hook prerouting priority filter; policy accept;",
                *(
                    f"iifname {{ {_quoted(ports[name])} }} ip daddr != {inside} counter name {counter} drop"
                    for name, counter in counters.items()
                ),
            ),
        ),
    )
    for name, counter in counters.items():
        yield Barrier(VPC, "no_route", name, layout.router, TABLE, counter)


def _quoted(interfaces: list[str]) -> str:
    return ", ".join(f'"{each}"' for each in interfaces)

"""The customer VPC: a router with one port per network interface in a subnet, and one route table per subnet.

A VPC is no L2 network: its router answers for everyone (Amazon VPC user guide, "Route tables"), so each interface
has a point-to-point link and the router's subnet address at the far end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lab.nodes import firewalls, parts
from lab.plan import addressing
from lab.plan.layout import Layout, VpcInterface, VpcLayout
from lab.plan.objects import MAIN_TABLE, NodePlan, Route, Rule, Ruleset
from lab.schema.drops import DropPoint
from lab.schema.names import NO_ROUTE
from lab.slots import nft
from lab.topology import Subnet

__all__ = ["TABLE", "plan"]

TABLE = "vpc"

_WITHIN_VPC = 50
_BY_SUBNET = 100
_FIRST_TABLE = 1000


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The routers, one for each VPC."""
    for vpc in layout.vpcs:
        yield from _router(layout, vpc)


def _router(layout: Layout, at: VpcLayout) -> Iterator[parts.Part]:
    cidr = at.vpc.cidr
    yield from parts.router(at.namespace)
    yield NodePlan(at.node, "vpc", at.namespace, (str(cidr),))
    yield Rule(at.namespace, _WITHIN_VPC, MAIN_TABLE, destination=cidr)
    # What no route table knows is dropped without an ICMP error, as in a VPC.
    yield Route(at.namespace, parts.ANYWHERE, type="blackhole")
    interfaces = tuple(layout.interfaces(at.vpc))
    for interface in interfaces:
        for address in interface.addresses:
            yield parts.own_address(interface.link.far, addressing.subnet_router(interface.subnet.cidr))
            yield from parts.host_behind(interface.link, address)
    for subnet in at.vpc.subnets:
        yield from _route_table(layout, at, subnet, interfaces)
    for other, port in layout.joined(at.vpc):
        yield Route(at.namespace, other.cidr, port.link.far.interface, port.address)
    yield from _drops(layout, at, interfaces)


def _route_table(
    layout: Layout, at: VpcLayout, subnet: Subnet, interfaces: Sequence[VpcInterface]
) -> Iterator[parts.Part]:
    next_hop = layout.next_hop(subnet)
    if next_hop is None:
        return
    link, address = next_hop
    index = layout.subnet_index(subnet)
    table = _FIRST_TABLE + index
    yield Route(at.namespace, parts.ANYWHERE, link.far.interface, address, table=table)
    for interface in interfaces:
        if interface.clients and interface.subnet == subnet:
            yield Rule(at.namespace, _BY_SUBNET + index, table, input_interface=interface.link.far.interface)


def _drops(layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface]) -> Iterator[parts.Part]:
    """What drops packets here: missing routes first, for what is not routed crosses no border."""
    routes = tuple(_missing_routes(layout, at, interfaces))
    # One port, however many addresses are behind it.
    ports = tuple(
        firewalls.SubnetPort(interface.subnet.name, interface.link.far.interface, interface.clients)
        for interface in interfaces
    )
    acls = tuple(firewalls.network_acls(at.vpc, ports, at.namespace, TABLE))
    if routes or acls:
        yield Ruleset(
            at.namespace,
            nft.table(
                TABLE,
                *_hooked("routes", "type filter hook prerouting priority filter; policy accept;", routes),
                *_hooked("network_acls", "type filter hook forward priority filter; policy accept;", acls),
            ),
        )
    yield from (gate.counter for gate in (*routes, *acls))


def _hooked(name: str, hook: str, gates: Sequence[firewalls.Gate]) -> Iterator[nft.Part]:
    """A base chain with the rules of these gates, after what they need; nothing without gates."""
    yield from (part for gate in gates for part in gate.definitions)
    if gates:
        yield nft.chain(name, *(rule for gate in gates for rule in gate.rules), hook=hook)


def _missing_routes(layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface]) -> Iterator[firewalls.Gate]:
    """The route that is not there drops as well; here it also counts. By subnet, the ports of clients."""
    ending = [port for port in interfaces if port.clients and port.subnet.default_route == NO_ROUTE]
    for subnet in dict.fromkeys(port.subnet for port in ending):
        drop = DropPoint(at.node, "no_route", subnet.name)
        gates = []
        for of_other_vpcs, prefixes in ((False, layout.prefixes(subnet)), (True, ())):
            here = [port for port in ending if port.subnet == subnet and port.of_other_vpcs is of_other_vpcs]
            if here:
                names = [port.link.far.interface for port in here]
                inside = [at.vpc.cidr, *map(parts.host, prefixes)]
                gates.append(firewalls.missing_route(drop, names, inside, namespace=at.namespace, table=TABLE))
        yield replace(gates[0], rules=tuple(rule for gate in gates for rule in gate.rules))

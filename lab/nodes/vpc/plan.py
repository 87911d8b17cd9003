"""The customer VPC: a router with one port per network interface in a subnet, and one route table per subnet.

A VPC is no L2 network: its router answers for everyone (Amazon VPC user guide, "Route tables"), so each interface
has a point-to-point link and the router's subnet address at the far end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from lab.nodes import firewalls, parts
from lab.plan import addressing
from lab.plan.layout import Layout, Link, VpcInterface, VpcLayout
from lab.plan.objects import MAIN_TABLE, Neighbour, NodePlan, Route, Rule, Ruleset
from lab.schema.drops import DropPoint
from lab.schema.firewall import ingress_rules
from lab.schema.names import NO_ROUTE
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.topology import Subnet, Vpc

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
    for link in (port.link for peering in layout.peerings for port in peering.ports if port.vpc == at.vpc):
        yield parts.own_address(link.far, cidr.network_address + 1)
        yield Neighbour(at.namespace, link.far.interface, addressing.PEERING, link.near.mac)
    yield from _drops(layout, at, interfaces)


def _route_table(
    layout: Layout, at: VpcLayout, subnet: Subnet, interfaces: Sequence[VpcInterface]
) -> Iterator[parts.Part]:
    """What the subnet's own table has beyond the main one: its default route, and routes to other VPCs before that."""
    default = layout.next_hop(subnet)
    ways = [(parts.ANYWHERE, *default)] if default else []
    ways += [(vpc.cidr, link, address) for vpc, link, address in _onwards(layout, at, subnet)]
    if not ways:
        return
    index = layout.subnet_index(subnet)
    table = _FIRST_TABLE + index
    for destination, link, address in ways:
        yield Route(at.namespace, destination, link.far.interface, address, table=table)
    for interface in interfaces:
        if interface.sends and interface.subnet == subnet:
            yield Rule(at.namespace, _BY_SUBNET + index, table, input_interface=interface.link.far.interface)


def _onwards(layout: Layout, at: VpcLayout, subnet: Subnet) -> Iterator[tuple[Vpc, Link, IPv4Address]]:
    """The other VPCs to which a subnet has a route of its own, by a peering or else by a Transit Gateway."""
    peered = {vpc.name: (vpc, port) for vpc, port in layout.peered(at.vpc, subnet)}
    yield from ((vpc, port.link, addressing.PEERING) for vpc, port in peered.values())
    if layout.vpcs_of_servers:
        yield from ((vpc, port.link, port.address) for vpc, port in layout.joined(at.vpc) if vpc.name not in peered)


def _drops(layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface]) -> Iterator[parts.Part]:
    """What drops packets here: missing routes first, for what is not routed crosses no border."""
    routes = tuple(_missing_routes(layout, at, interfaces))
    # One port, however many addresses are behind it.
    ports = tuple(
        firewalls.SubnetPort(interface.subnet.name, interface.link.far.interface, interface.clients, interface.two_way)
        for interface in interfaces
    )
    servers = [server.address for server in layout.servers]
    acls = tuple(firewalls.network_acls(at.vpc, ports, servers, at.namespace, TABLE))
    groups = tuple(_ingress(layout, at, interfaces))
    if routes or acls or groups:
        yield Ruleset(
            at.namespace,
            nft.table(
                TABLE,
                *_hooked("routes", "type filter hook prerouting priority filter; policy accept;", routes),
                *_hooked("network_acls", "type filter hook forward priority filter; policy accept;", acls),
                # A packet that comes into a subnet has passed its network ACL before it is at a network interface.
                *_hooked("security_groups", "type filter hook forward priority filter + 1; policy accept;", groups),
            ),
        )
    yield from (gate.counter for gate in (*routes, *acls, *groups))


def _hooked(name: str, hook: str, gates: Sequence[firewalls.Gate]) -> Iterator[nft.Part]:
    """A base chain with the rules of these gates, after what they need; nothing without gates."""
    yield from (part for gate in gates for part in gate.definitions)
    if gates:
        yield nft.chain(name, *(rule for gate in gates for rule in gate.rules), hook=hook)


def _ingress(layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface]) -> Iterator[firewalls.Gate]:
    """What may connect to the network interfaces that have security groups."""
    groups = layout.topology.security_groups
    for interface in interfaces:
        names = interface.ingress_groups
        rules = ingress_rules(groups, names, lambda group: layout.addresses_with(group, at.vpc)) if names else None
        if rules is not None:
            drop = DropPoint(interface.node, interface.ingress_drop, ", ".join(names))
            port = interface.link.far.interface
            yield firewalls.ingress(drop, rules, port, at.namespace, TABLE)


def _missing_routes(layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface]) -> Iterator[firewalls.Gate]:
    """The route that is not there drops as well; here it also counts."""
    ranges = {
        subnet.name: {vpc.name: vpc.cidr for vpc, _, _ in _onwards(layout, at, subnet)} for subnet in at.vpc.subnets
    }
    # By a default route a packet goes on, and ends where that leads.
    ending = [port for port in interfaces if port.clients and port.subnet.default_route == NO_ROUTE]
    for vpc in layout.vpcs_of_servers:
        lost = [port.link.far.interface for port in ending if vpc.name not in ranges[port.subnet.name]]
        if lost and vpc != at.vpc:
            drop = DropPoint(at.node, "no_vpc_route", vpc.name)
            match = f"iifname {nft.names(lost)} ip daddr {vpc.cidr}"
            yield firewalls.dropping(drop, f"no_route_to_{slots.identifier(vpc.name)}", [match], at.namespace, TABLE)
    for subnet in dict.fromkeys(port.subnet for port in ending):
        drop = DropPoint(at.node, "no_route", subnet.name)
        gates = []
        for of_other_vpcs, prefixes in ((False, layout.prefixes(subnet)), (True, ())):
            here = [port for port in ending if port.subnet == subnet and port.of_other_vpcs is of_other_vpcs]
            if here:
                names = [port.link.far.interface for port in here]
                inside = [at.vpc.cidr, *ranges[subnet.name].values(), *map(parts.host, prefixes)]
                gates.append(firewalls.missing_route(drop, names, inside, namespace=at.namespace, table=TABLE))
        yield replace(gates[0], rules=tuple(rule for gate in gates for rule in gate.rules))
    yield from _missing_routes_back(layout, at, interfaces, ranges)


def _missing_routes_back(
    layout: Layout, at: VpcLayout, interfaces: Sequence[VpcInterface], ranges: Mapping[str, Mapping[str, IPv4Network]]
) -> Iterator[firewalls.Gate]:
    """Answers of servers to VPCs to which their subnet has no route."""
    for subnet in at.vpc.subnets:
        ports = [port.link.far.interface for port in interfaces if port.serves and port.subnet == subnet]
        others = [vpc for vpc in layout.topology.vpcs if vpc != at.vpc and vpc.name not in ranges[subnet.name]]
        if ports and others:
            drop = DropPoint(at.node, "no_route_back", subnet.name, answers=True)
            match = f"iifname {nft.names(ports)} ip daddr {{ {', '.join(str(vpc.cidr) for vpc in others)} }}"
            name = f"no_route_back_{slots.identifier(subnet.name)}"
            yield firewalls.dropping(drop, name, [match], at.namespace, TABLE)

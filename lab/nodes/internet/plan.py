"""The internet: a router that knows the Elastic IPs on one side, the remote servers on the other, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address

from lab.nodes import firewalls, parts
from lab.plan.addressing import INTERNET_ROUTER
from lab.plan.layout import Layout
from lab.plan.objects import Neighbour, NodePlan, Route, Rule, Ruleset
from lab.schema.drops import DropPoint
from lab.schema.names import INTERNET
from lab.slots import nft
from lab.slots import ruleset as slots

__all__ = ["TABLE", "plan"]

TABLE = "internet"

_FIRST_TABLE = 10_000
"""Routing tables of servers whose address others have as well; those of interface endpoints are below."""
_BY_PORT = 100
_PROTOCOLS: tuple[slots.Protocol, ...] = ("tcp", "udp")


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The router; what it does not know goes nowhere, so no packet of a lab can mean a real address."""
    yield from parts.router(layout.internet)
    yield NodePlan(INTERNET, "internet", layout.internet, (str(INTERNET_ROUTER),))
    yield Route(layout.internet, parts.ANYWHERE, type="blackhole")
    for nat in layout.nat_gateways:
        yield parts.own_address(nat.internet.far, INTERNET_ROUTER)
        for elastic_ip in nat.elastic_ips:
            yield from parts.host_behind(nat.internet, elastic_ip.address)
    yield from _servers(layout)
    yield from _private_addresses(layout)


def _private_addresses(layout: Layout) -> Iterator[parts.Part]:
    """What comes here for a server in a VPC has lost its way: it is counted, and dropped like all that is unknown."""
    strayed = [
        ("no_vpc_route", nat.node, nat.internet.far, layout.topology.vpc_of(nat.subnet.name))
        for nat in layout.nat_gateways
    ]
    outside = [("outside_vpc", egress.node, egress.internet.far, None) for egress in layout.egress]
    gates = [
        firewalls.dropping(
            DropPoint(node, kind, vpc.name, far_side=True),
            f"{slots.identifier(node)}_to_{slots.identifier(vpc.name)}",
            [f'iifname "{port.interface}" ip daddr {vpc.cidr}'],
            port.namespace,
            TABLE,
        )
        for kind, node, port, home in (*strayed, *outside)
        for vpc in layout.vpcs_of_servers
        if vpc != home
    ]
    if gates:
        hook = "type filter hook prerouting priority filter; policy accept;"
        rules = nft.chain("private_addresses", *(rule for gate in gates for rule in gate.rules), hook=hook)
        definitions = (part for gate in gates for part in gate.definitions)
        yield Ruleset(layout.internet, nft.table(TABLE, *definitions, rules))
    yield from (gate.counter for gate in gates)


def _servers(layout: Layout) -> Iterator[parts.Part]:
    """The way to each server's addresses; where several have one, by port, and all other packets to the first."""
    owners: set[IPv4Address] = set()
    for laid_out in layout.servers:
        if laid_out.subnet is not None:
            continue
        server, link = laid_out.server, laid_out.uplink
        yield parts.own_address(link.far, INTERNET_ROUTER)
        table = _FIRST_TABLE + layout.server_index(server)
        for address in server.addresses:
            if address not in owners:
                yield from parts.host_behind(link, address)
                continue
            yield Neighbour(link.far.namespace, link.far.interface, address, link.near.mac)
            yield Route(link.far.namespace, parts.host(address), link.far.interface, table=table)
            for protocol in _PROTOCOLS:
                yield Rule(
                    link.far.namespace,
                    _BY_PORT,
                    table,
                    destination=parts.host(address),
                    protocol=protocol,
                    destination_port=server.port,
                )
        owners.update(server.addresses)

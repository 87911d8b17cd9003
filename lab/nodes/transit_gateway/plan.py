"""A Transit Gateway: a router with one port in each attached VPC.

It neither translates nor tracks, and AWS publishes no limit of connections for it. So all limits are elsewhere: those
of the ENIs in each VPC, and of the NAT gateways in the egress VPC, which all attached VPCs share.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import firewalls, parts
from lab.plan.addressing import subnet_router
from lab.plan.layout import Layout, TransitGatewayLayout
from lab.plan.objects import NodePlan, Route, Ruleset
from lab.schema.drops import DropPoint
from lab.slots import nft
from lab.slots import ruleset as slots

__all__ = ["TABLE", "plan"]

TABLE = "transit_gateway"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all Transit Gateways."""
    for at in layout.transit_gateways:
        yield from parts.router(at.namespace)
        addresses = tuple(str(port.address) for port in at.attachments)
        yield NodePlan(at.node, "transit_gateway", at.namespace, addresses, alias=at.gateway.name)
        for port in at.attachments:
            yield parts.veth(port.link)
            yield parts.own_address(port.link.near, port.address)
            yield from parts.through(port.link, port.vpc.cidr, subnet_router(port.subnet.cidr))
            if port.is_egress:
                yield from parts.through(port.link, parts.ANYWHERE, subnet_router(port.subnet.cidr))
        for vpc, port in layout.beyond(at):
            yield from parts.through(port.link, vpc.cidr, subnet_router(port.subnet.cidr))
        if at.gateway.towards_the_internet is None:
            yield from _no_default_route(layout, at)


def _no_default_route(layout: Layout, at: TransitGatewayLayout) -> Iterator[parts.Part]:
    """What the attached VPCs send elsewhere is counted and dropped, without an ICMP error."""
    interfaces = [port.link.near.interface for port in at.attachments]
    inside = [*(port.vpc.cidr for port in at.attachments), *(vpc.cidr for vpc, _ in layout.beyond(at))]
    gates = [
        firewalls.dropping(
            DropPoint(at.node, "no_vpc_route", vpc.name),
            f"no_route_to_{slots.identifier(vpc.name)}",
            [f"ip daddr {vpc.cidr}"],
            at.namespace,
            TABLE,
        )
        for vpc in layout.vpcs_of_servers
        if vpc.cidr not in inside
    ]
    drop = DropPoint(at.node, "no_transit_route", at.gateway.name)
    gates.append(firewalls.missing_route(drop, interfaces, inside, namespace=at.namespace, table=TABLE))
    hook = "type filter hook prerouting priority filter; policy accept;"
    yield Route(at.namespace, parts.ANYWHERE, type="blackhole")
    definitions = (part for gate in gates for part in gate.definitions)
    rules = nft.chain("routes", *(rule for gate in gates for rule in gate.rules), hook=hook)
    yield Ruleset(at.namespace, nft.table(TABLE, *definitions, rules))
    yield from (gate.counter for gate in gates)

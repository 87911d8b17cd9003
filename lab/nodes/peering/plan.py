"""A VPC peering: a node between two VPCs' routers that lets pass what comes from one of them for the other.

In AWS it is no node, only a target of routes: it neither translates nor tracks, and has no limit of connections and no
bandwidth of its own (Amazon VPC Peering guide, "VPC peering limitations"). The node is where the lab keeps to its rule:
a packet of neither VPC, one that a Transit Gateway has brought, say, is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import firewalls, parts
from lab.plan import addressing
from lab.plan.layout import Layout, PeeringLayout
from lab.plan.objects import NodePlan, Ruleset
from lab.schema.drops import DropPoint
from lab.slots import nft

__all__ = ["TABLE", "plan"]

TABLE = "peering"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all peerings."""
    for at in layout.peerings:
        yield from parts.router(at.namespace)
        yield NodePlan(at.node, "peering", at.namespace, (), alias=at.peering.name)
        for port in at.ports:
            yield parts.veth(port.link)
            yield parts.own_address(port.link.near, addressing.PEERING)
            yield from parts.through(port.link, port.vpc.cidr, port.vpc.cidr.network_address + 1)
        yield from _not_transitive(at)


def _not_transitive(at: PeeringLayout) -> Iterator[parts.Part]:
    drop = DropPoint(at.node, "not_transitive", at.peering.name)
    strangers = [f'iifname "{port.link.near.interface}" ip saddr != {port.vpc.cidr}' for port in at.ports]
    gate = firewalls.dropping(drop, "strangers", strangers, at.namespace, TABLE)
    hook = "type filter hook prerouting priority filter; policy accept;"
    yield Ruleset(at.namespace, nft.table(TABLE, *gate.definitions, nft.chain("sources", *gate.rules, hook=hook)))
    yield gate.counter

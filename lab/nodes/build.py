"""From a topology to its plan: every node kind says its parts, and the parts are put in the order of their making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TypeVar, get_args

from lab.nodes import egress, fleet, internet, resolver, server, service_vpc
from lab.nodes.hyperplane_eni import plan as hyperplane_eni
from lab.nodes.interface_endpoint import plan as interface_endpoint
from lab.nodes.nat_gateway import plan as nat_gateway
from lab.nodes.parts import Part
from lab.nodes.vpc import plan as vpc
from lab.paths.ways import exit_nodes
from lab.plan.layout import Layout, lay_out
from lab.plan.objects import (
    Barrier,
    ConntrackMax,
    FleetPlan,
    KernelObject,
    NameRecord,
    NatNode,
    NodePlan,
    Plan,
    ServerPlan,
    Standing,
)
from lab.schema.names import require_lab_name
from lab.slots.limiter import Limiter
from lab.topology import Topology

__all__ = ["build"]

NODE_KINDS = (
    service_vpc,
    fleet,
    resolver,
    egress,
    hyperplane_eni,
    vpc,
    nat_gateway,
    internet,
    server,
    interface_endpoint,
)
"""The module of each node kind, in the order of the drawing."""

_STAGES: dict[type, int] = {kind: stage for stage, kind in enumerate(get_args(KernelObject))}

_CLOSED_ENTRIES = 2
"""Entries per live connection that conntrack may count: closed ones stay in the count until its collector comes by."""

T = TypeVar("T")


def build(topology: Topology, lab: str | None = None, standing: Standing | None = None) -> Plan:
    """The plan of a topology, under the lab's name (the topology's own unless given); the same input, the same plan.

    With what stood before, whatever stays keeps its addresses and marks.
    """
    standing = standing or Standing()
    layout = lay_out(topology, require_lab_name(topology.name if lab is None else lab), standing)
    by_kind = {kind: tuple(kind.plan(layout)) for kind in NODE_KINDS if kind is not resolver}
    names = {record.hostname: record.address for parts in by_kind.values() for record in _only(NameRecord, parts)}
    by_kind[resolver] = tuple(resolver.plan(layout, names))
    parts = [*(part for kind in NODE_KINDS for part in by_kind[kind]), ConntrackMax(_conntrack_entries(layout))]
    return Plan(
        lab=layout.lab,
        objects=tuple(_in_order_of_making(parts)),
        nodes=tuple(_only(NodePlan, parts)),
        limiters=tuple(_only(Limiter, parts)),
        fleets=tuple(_only(FleetPlan, parts)),
        servers=tuple(replace(each, address=names[each.hostname]) for each in _only(ServerPlan, parts)),
        barriers=tuple(_only(Barrier, parts)),
        nat_nodes=tuple(_only(NatNode, parts)),
        standing=Standing(layout.leases.given(), standing.draining),
    )


def _only(kind: type[T], parts: Iterable[Part]) -> Iterator[T]:
    return (part for part in parts if isinstance(part, kind))


def _in_order_of_making(parts: Iterable[Part]) -> list[KernelObject]:
    """By stage, and within a stage by node; an object that two pairs need is made once."""
    objects = [part for part in parts if isinstance(part, get_args(KernelObject))]
    return sorted(dict.fromkeys(objects), key=lambda each: _STAGES[type(each)])


def _conntrack_entries(layout: Layout) -> int:
    """How many entries the busiest namespace can hold: what leaves the VPC is no more than the ENIs let through."""
    topology, limit = layout.topology, hyperplane_eni.most_connections(layout)
    behind = Counter(node for eni in layout.enis for node in exit_nodes(topology, eni.eni.subnet))
    return _CLOSED_ENTRIES * limit * max(behind.values(), default=1)

"""From a topology to its plan: every node kind lists its parts, and the parts are put in the order of their making."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Protocol, TypeVar, cast, get_args

from lab.nodes.hyperplane_eni.plan import most_connections
from lab.nodes.parts import Part
from lab.nodes.registry import KINDS
from lab.paths.routes import exit_nodes
from lab.plan.layout import Layout, lay_out
from lab.plan.objects import (
    ConntrackMax,
    DropCounter,
    FleetPlan,
    KernelObject,
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

_STAGES: dict[type, int] = {kind: stage for stage, kind in enumerate(get_args(KernelObject))}

_CLOSED_ENTRIES = 2
"""Entries per live connection that conntrack may count: closed ones stay in the count until its collector comes by."""

T = TypeVar("T")


class Planner(Protocol):
    """The module `lab.nodes.KIND.plan` of each node kind."""

    def plan(self, layout: Layout) -> Iterator[Part]:
        """The parts of all nodes of the kind."""


def _planner(kind: str) -> Planner:
    return cast("Planner", import_module(f"lab.nodes.{kind}.plan"))


def build(topology: Topology, lab: str | None = None, standing: Standing | None = None) -> Plan:
    """The plan of a topology, under the lab's name (the topology's own unless given); the same input, the same plan.

    With what stood before, whatever stays keeps its addresses and marks.
    """
    standing = standing or Standing()
    layout = lay_out(topology, require_lab_name(topology.name if lab is None else lab), standing)
    parts = [part for kind in KINDS for part in _planner(kind.name).plan(layout)]
    parts.append(ConntrackMax(_conntrack_entries(layout)))
    return Plan(
        lab=layout.lab,
        objects=tuple(_in_order_of_making(parts)),
        nodes=tuple(_only(NodePlan, parts)),
        limiters=tuple(_only(Limiter, parts)),
        fleets=tuple(_only(FleetPlan, parts)),
        servers=tuple(_only(ServerPlan, parts)),
        barriers=tuple(_only(DropCounter, parts)),
        nat_nodes=tuple(_only(NatNode, parts)),
        standing=Standing(layout.leases.given(), standing.draining),
    )


def _only(kind: type[T], parts: Iterable[Part]) -> Iterator[T]:
    return (part for part in parts if isinstance(part, kind))


def _in_order_of_making(parts: Iterable[Part]) -> list[KernelObject]:
    """The objects by stage, and within a stage by node; one that two pairs need is made once."""
    objects = [part for part in parts if isinstance(part, get_args(KernelObject))]
    return sorted(dict.fromkeys(objects), key=lambda item: _STAGES[type(item)])


def _conntrack_entries(layout: Layout) -> int:
    """How many entries the busiest namespace can hold: what leaves the VPC is no more than the ENIs let through.

    A server that counts its connections may be before all of them.
    """
    topology, limit = layout.topology, most_connections(layout)
    behind = Counter(node for eni in layout.enis for node in exit_nodes(topology, eni.eni.subnet))
    at_servers = [len(layout.enis) for server in layout.servers if server.front]
    return _CLOSED_ENTRIES * limit * max((*behind.values(), *at_servers), default=1)

"""Views of labs for tests, of samples that are made up."""

from __future__ import annotations

from lab.graph import draw
from lab.nodes.build import build
from lab.observe.samples import NodeSample, Sample, Traffic
from lab.plan.objects import Plan
from lab.slots import counters as counting
from lab.topology import Topology
from lab.watch import View, Window, view

__all__ = ["sample", "seen"]

_AT_S = 1_795_342_325.0
"""22 November 2026, 10:12:05 UTC."""


def sample(plan: Plan, at_s: float, held: dict[tuple[str, str], int], **counters: dict[str, int]) -> Sample:
    """What NAT nodes say at one moment: (node, slot set) → held, node → counters."""
    nothing = Traffic(0, 0, 0, 0)
    nodes = {}
    for each in plan.nat_nodes:
        mine = {slots: n for (node, slots), n in held.items() if node == each.node}
        nodes[each.node] = NodeSample(counters.get(each.node, {}), mine, 0, nothing, nothing)
    return Sample(at_s, nodes)


def seen(topology: Topology, *, full: bool = False) -> View:
    """A lab a second after something began to happen: its first ENI is full and refuses, the second one is not yet."""
    plan = build(topology)
    before = sample(plan, _AT_S - 1, {})
    if not full:
        window = Window()
        window.add(before)
        window.add(sample(plan, _AT_S, {}))
        return view(plan, window)
    limiters = [each for each in plan.limiters if each.protocol != "udp" and each.of is None]
    enis = [each for each in limiters if each.kind == "hyperplane_eni"]
    held = {(each.place, each.slots): each.limit - number for number, each in enumerate(enis)}
    used = {out for _, out in draw(topology).into("exits")}
    others = [each for each in limiters if each.node in used]
    left = sum(held.values())
    for number, each in enumerate(others):
        held[each.place, each.slots] = min(each.limit, left // (len(others) - number))
        left -= held[each.place, each.slots]
    first = enis[0]
    counters = {each.place: {counting.ADMITTED: 30_000} for each in enis}
    counters[first.place][first.refused_connections] = 14_000
    window = Window()
    window.add(before)
    window.add(sample(plan, _AT_S, held, **counters))
    return view(
        plan,
        window,
        verdict="10:11:40 130,000 of 140,000 established; "
        "Hyperplane ENI connection limit reached: eni-private-a, 65,000 connections",
        impairments=("srv-cache inet: latency 100ms", "srv-cache inet: silence"),
    )

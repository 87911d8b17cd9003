"""The lab `tiny` as it might be while it is up: samples and readings of what is told, and their explanation."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address

from lab.burst.lacking import Lacking
from lab.diagnosis.explanation import Explanation, LabNow, of_lab
from lab.impair.faults import Impairment
from lab.kernel.interfaces import InterfaceCount
from lab.nodes.build import build
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.samples import NodeSample, Sample
from lab.plan.objects import Plan
from lab.slots.counters import ADMITTED, CLOSED, ESTABLISHED
from lab.slots.limiter import Limiter
from tests.support.topologies import shipped

__all__ = ["NOW_S", "PLAN", "TINY", "explained", "limiters", "reading", "sample"]

TINY = shipped("tiny")
PLAN = build(TINY)
NOW_S = 1_000.0


def limiters(node: str, protocol: str = "tcp", plan: Plan = PLAN) -> list[Limiter]:
    """Those of a node, for a protocol or any."""
    return [each for each in plan.limiters if each.node == node and each.protocol in ("any", protocol)]


def sample(at_s: float, packets: dict[str, int] | None = None, held: dict[str, int] | None = None) -> Sample:
    """All nodes; of those given, what their first limiter has refused and holds."""
    nodes = {}
    for node in PLAN.nat_nodes:
        first = limiters(node.node)[0]
        refused = (packets or {}).get(node.node, 0)
        counters = {first.refused_packets: refused, first.refused_connections: refused, ADMITTED: 9, ESTABLISHED: 7}
        nodes[node.node] = NodeSample(
            {**counters, CLOSED: 2},
            {first.slots: (held or {}).get(node.node, 0)},
            5,
            InterfaceCount(8, 0, 0, 0),
            InterfaceCount(0, 0, 6, 0),
        )
    return Sample(at_s, nodes)


def reading(limiter: Limiter, held: int = 0, refused: int = 0, age_s: float | None = None) -> Reading:
    """What the kernel says of it now; whoever was refused first came from the first environment."""
    first = None if age_s is None else FirstRefusal(age_s, IPv4Address("100.65.0.0"), 536)
    return Reading(limiter, held, 2 * refused, refused, first)


def explained(
    *changed: Reading,
    samples: Sequence[Sample] = (),
    impairments: tuple[Impairment, ...] = (),
    lost: tuple[str, ...] = (),
    lacking: Lacking | None = None,
) -> Explanation:
    """The lab `tiny`, of which nothing is in use but what is told."""
    told = {each.limiter: each for each in changed}
    readings = tuple(told.get(each, reading(each)) for each in PLAN.limiters)
    seen = samples or (sample(NOW_S),)
    return of_lab(LabNow(PLAN, TINY, readings, seen, {}, impairments, lost, lacking=lacking))

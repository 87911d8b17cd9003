"""What limiters hold, from a sample: a level for each of them, and one for each node of a drawing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.graph import Occupancy
from lab.observe.limits import limits_of
from lab.observe.samples import Sample
from lab.plan.objects import Plan
from lab.slots.limiter import Limiter

__all__ = ["Level", "levels", "occupancies"]


@dataclass(frozen=True, slots=True)
class Level:
    """How full one limiter is."""

    limiter: Limiter
    occupancy: Occupancy

    @property
    def quiet(self) -> bool:
        """Whether it holds nothing and has refused nothing."""
        return not self.occupancy.held and not self.occupancy.refused


def levels(plan: Plan, sample: Sample) -> Iterator[Level]:
    """Every limiter whose node is in the sample, in the plan's order."""
    for limiter in plan.limiters:
        node = sample.nodes.get(limiter.place)
        if node is not None:
            held, refused = node.held.get(limiter.slots, 0), node.counters.get(limiter.refused_connections, 0)
            yield Level(limiter, Occupancy(held, limiter.limit, refused))


def occupancies(plan: Plan, sample: Sample) -> dict[str, Occupancy]:
    """Node → what it holds, for `lab.graph.draw`; an ENI that is not there yet, and holds nothing, is left out.

    Where a node has a limit for each destination and protocol, those to the fullest one are counted, of all Elastic IPs
    that take new connections; what was refused is counted of all.
    """
    of_nodes: dict[str, list[Level]] = {}
    for level in levels(plan, sample):
        of_nodes.setdefault(level.limiter.node, []).append(level)
    occupied = {
        node: _of_node(of, sample)
        for node, of in of_nodes.items()
        if any(level.limiter.of is None or not level.quiet for level in of)
    }
    for node in plan.nat_nodes:  # endpoints without a limit
        if node.node not in occupied and node.node in sample.nodes:
            taken = sample.nodes[node.node]
            occupied[node.node] = Occupancy(sum(taken.held.values()), None, taken.refused_connections)
    return occupied


def _of_node(of: list[Level], sample: Sample) -> Occupancy:
    refused = sum(level.occupancy.refused for level in of)
    limits = limits_of(level.limiter for level in of)
    of_limits = (Occupancy(limit.held(sample), limit.size, refused) for limit in limits)
    return max(of_limits, key=lambda occupancy: (occupancy.share, occupancy.held))

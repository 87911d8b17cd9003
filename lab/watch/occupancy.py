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
    for each in plan.limiters:
        node = sample.nodes.get(each.place)
        if node is not None:
            held = node.held.get(each.slots, 0)
            yield Level(each, Occupancy(held, each.limit, node.counters.get(each.refused_connections, 0)))


def occupancies(plan: Plan, sample: Sample) -> dict[str, Occupancy]:
    """Node → what it holds, for `lab.graph.draw`; an ENI that is not there yet, and holds nothing, is left out.

    Where a node has a limit for each destination and protocol, those to the fullest one are counted, of all Elastic IPs
    that take new connections; what was refused is counted of all.
    """
    of_nodes: dict[str, list[Level]] = {}
    for each in levels(plan, sample):
        of_nodes.setdefault(each.limiter.node, []).append(each)
    found = {node: _of_node(of, sample) for node, of in of_nodes.items() if any(_there(each) for each in of)}
    for node in plan.nat_nodes:  # endpoints without a limit
        if node.node not in found and node.node in sample.nodes:
            taken = sample.nodes[node.node]
            found[node.node] = Occupancy(sum(taken.held.values()), None, taken.refused_connections)
    return found


def _there(level: Level) -> bool:
    return level.limiter.of is None or not level.quiet


def _of_node(of: list[Level], sample: Sample) -> Occupancy:
    refused = sum(each.occupancy.refused for each in of)
    limits = limits_of(each.limiter for each in of)
    return max(
        (Occupancy(each.held(sample), each.size, refused) for each in limits), key=lambda one: (one.share, one.held)
    )

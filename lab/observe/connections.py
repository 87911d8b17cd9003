"""The lives of TCP connections in a NAT node, counted: what came, was established, closed, and what fell idle.

Connections to destinations that the topology does not name have no slots, and are in all of these counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lab.observe.samples import NodeSample, Sample
from lab.slots import counters as counting
from lab.slots.limiter import Limiter

__all__ = ["ConnectionCounts", "count"]


@dataclass(frozen=True, slots=True)
class ConnectionCounts:
    """TCP connections of one NAT node since it was made."""

    node: str
    kind: str
    admitted: int
    """Initial SYNs that were let in; what was refused is in the readings of the node's limiters."""
    established: int
    """Handshakes completed."""
    closed: int
    """Of the established ones, those that ended with two FINs or an RST."""
    idle_timeouts: int
    """Of the established ones, those that were forgotten after the idle timeout.

    Exact while nothing is opened or closed as it is read; less, by no more than what was, otherwise.
    """
    resets_sent: int
    """Packets from the inner side that were answered with an RST, because their connection was forgotten."""

    @property
    def active(self) -> int:
        """Established, and neither closed nor fallen idle."""
        return self.established - self.closed - self.idle_timeouts


def count(sample: Sample, limiters: Iterable[Limiter]) -> tuple[ConnectionCounts, ...]:
    """The counts of each node that has one of these limiters, in their order; a node that is gone is left out."""
    kinds = {each.place: each.kind for each in limiters}  # ENIs that appear beside one share its namespace and counters
    return tuple(_counts(node, kind, sample.nodes[node]) for node, kind in kinds.items() if node in sample.nodes)


def _counts(node: str, kind: str, seen: NodeSample) -> ConnectionCounts:
    return ConnectionCounts(
        node=node,
        kind=kind,
        admitted=seen.counters[counting.ADMITTED],
        established=seen.established,
        closed=seen.closed,
        idle_timeouts=seen.idle_timeouts,
        resets_sent=seen.counters[counting.RESETS_SENT],
    )

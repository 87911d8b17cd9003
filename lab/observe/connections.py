"""The lives of TCP connections in a NAT node, counted: what came, was established, closed, and what fell idle.

Four of the counters are the kernel's own (`lab.plan.nodes.slots`). An idle timeout is no event that a rule could count:
the entry is gone, and no packet tells. But a connection is active from the end of its handshake until it is closed or
idle for too long, so what was established and neither closed nor is active now has fallen idle. That is what CloudWatch
calls IdleTimeoutCount: connections that went from active to idle, "not closed gracefully and … no activity for the last
350 seconds" (Amazon VPC user guide, "NAT gateway metrics").

What is active now takes the list of conntrack entries, some 2 us for each. The number of slots would be cheaper and
does not tell: a slot is also held half-open, in a port hold and by UDP. Only where nothing can be active, or have been,
is the list not read.

Connections to destinations that the topology does not name have no slots, and are in all of these counts as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lab import counting
from lab.kernel import conntrack, nfnetlink
from lab.kernel.namespaces import Namespaces
from lab.plan.objects import Limiter

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


def count(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[ConnectionCounts, ...]:
    """The counts of each node that has one of these limiters, in their order."""
    nodes = {each.place: each for each in limiters}  # ENIs that appear beside one share its namespace and counters
    return tuple(namespaces[each.namespace].run(_count_here, each) for each in nodes.values())


def _count_here(limiter: Limiter) -> ConnectionCounts:
    """Runs inside the node's namespace.

    What is established before and closed after the list is read makes the difference that can only be too small.
    """
    before = nfnetlink.counters(limiter.table)
    established = before[counting.ESTABLISHED].packets
    ended = established == before[counting.CLOSED].packets
    active = 0 if ended else conntrack.marked(counting.ACTIVE)
    after = before if ended else nfnetlink.counters(limiter.table)
    closed = after[counting.CLOSED].packets
    return ConnectionCounts(
        node=limiter.place,
        kind=limiter.kind,
        admitted=after[counting.ADMITTED].packets,
        established=after[counting.ESTABLISHED].packets,
        closed=closed,
        idle_timeouts=max(0, established - closed - active),
        resets_sent=after[counting.RESETS_SENT].packets,
    )

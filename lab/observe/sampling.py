"""Takes samples of NAT nodes: their counters, slots and interfaces, some 0.6 ms for each node.

An idle timeout is no event that a rule could count: the entry is gone, and no packet tells. But a connection is active
from the end of its handshake until it is closed or idle for too long, so what was established and neither closed nor is
active now has fallen idle. That is what CloudWatch calls IdleTimeoutCount: connections that went from active to idle,
"not closed gracefully and … no activity for the last 350 seconds" (Amazon VPC user guide, "NAT gateway metrics").

What is active now takes the list of conntrack entries, some 2 us for each. The number of slots would be cheaper and
does not tell: a slot is also held half-open, in a port hold and by UDP. So the list is read only when there are
connections as old as the idle timeout, and so seldom that it takes no more than a small share of the time; until then
those that have just fallen idle count as active. A sampler's first sample has read each list that it needs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
import time

from lab.kernel.interfaces import InterfaceCount, interface_counts
from lab.kernel.netfilter import conntrack, nftables
from lab.observe.samples import NodeSample, Sample, Traffic
from lab.slots import counters as counting
from lab.slots.counters import NatNode

__all__ = ["Sampler", "Visit"]

_SHARE_OF_TIME = 0.02
"""What reading lists may take, at most, once each has been read."""
_MOMENTS = 16
"""How finely is remembered what was established how long ago: in parts of the idle timeout."""
_NO_CONNECTIONS = (counting.REFUSED, counting.FIRST_REFUSED)
"""Sets that hold something else."""
_NOTHING = InterfaceCount(0, 0, 0, 0)

Visit = Callable[[str, Callable[[], NodeSample]], NodeSample]
"""Calls a function inside the namespace of that name; FileNotFoundError when it is gone."""


class Sampler:
    """Takes samples of the same nodes, one after the other."""

    def __init__(
        self, nodes: Iterable[NatNode], now: Callable[[], float] = time.monotonic, *, slots_only: bool = False
    ) -> None:
        """With `slots_only` no list is ever read, what has fallen idle counts as active, and no packets are counted."""
        self._pause = _Pause(now)
        self._nodes = tuple((each, None if slots_only else _IdleTimeouts(each, self._pause)) for each in nodes)

    def take(self, visit: Visit) -> Sample:
        """A sample now; nodes that `lab up` has taken away meanwhile are left out."""
        at_s = time.time()
        self._pause.look()
        found = {}
        for node, idle in self._nodes:
            with suppress(FileNotFoundError, KeyError):  # its namespace is gone, or its table
                found[node.node] = visit(node.namespace, partial(_take_here, node, idle))
        return Sample(at_s, found)


def _take_here(node: NatNode, idle: _IdleTimeouts | None) -> NodeSample:
    """Runs inside the node's namespace."""
    counters = {name: each.packets for name, each in nftables.counters(node.table).items()}
    established, closed = counters[counting.ESTABLISHED], counters[counting.CLOSED]
    held = {name: n for name, n in nftables.set_sizes(node.table).items() if name not in _NO_CONNECTIONS}
    if idle is None:
        return NodeSample(counters, held, established - closed, Traffic(*_NOTHING), Traffic(*_NOTHING))
    interfaces, drops = interface_counts(), conntrack.drops()
    return NodeSample(
        counters=counters | {counting.PORTS_NOT_FOUND: drops.ports_not_found, counting.CONNTRACK_DROPS: drops.all},
        held=held,
        # A connection that came and went while counters were read is perhaps only in the second of them.
        active=max(0, established - closed - idle.look(established, closed)),
        inner=Traffic(*interfaces.get(node.inner, _NOTHING)),
        outer=Traffic(*interfaces.get(node.outer, _NOTHING)),
    )


class _Pause:
    """How long to wait between reading lists, of whichever node."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.over = True
        """Whether lists may be read for this sample, those of all nodes."""
        self._over_s = 0.0

    def look(self) -> None:
        """At the beginning of a sample."""
        now_s = self.now()
        self.over = now_s >= self._over_s
        if self.over:
            self._over_s = now_s

    def lengthen(self, took_s: float) -> None:
        """By so much that the list that was just read takes no more than its share of the time."""
        self._over_s += took_s / _SHARE_OF_TIME


class _IdleTimeouts:
    """How many connections of a node have fallen idle, as far as its list has been read."""

    def __init__(self, node: NatNode, pause: _Pause) -> None:
        self._table, self._timeout_s, self._pause = node.table, node.idle_timeout_s, pause
        self._known: int | None = None
        """None until the list has been read for the first time."""
        self._moments: deque[tuple[float, int]] = deque()
        """When so many were established by then, the oldest first."""

    def look(self, established: int, closed: int) -> int:
        """Since the node was made; runs inside its namespace."""
        now_s, known = self._pause.now(), self._known or 0
        old = self._established_long_ago(now_s, established)
        if old and established > closed + known and (self._known is None or self._pause.over):
            active = conntrack.marked(counting.ACTIVE)
            # Read after the list: what is closed meanwhile, and no more in it, has not fallen idle.
            closed = nftables.counters(self._table)[counting.CLOSED].packets
            self._pause.lengthen(self._pause.now() - now_s)
            self._known = known = max(known, established - closed - active)
        return known

    def _established_long_ago(self, now_s: float, established: int) -> int:
        """How many are old enough to have fallen idle, or more: what was there at first may be of any age."""
        moments = self._moments
        if not moments:
            moments.append((-float("inf"), established))
        elif now_s >= moments[-1][0] + self._timeout_s / _MOMENTS:
            moments.append((now_s, established))
        while len(moments) > 1 and moments[1][0] <= now_s - self._timeout_s:
            moments.popleft()
        return moments[1][1] if len(moments) > 1 and moments[0][0] > -float("inf") else moments[0][1]

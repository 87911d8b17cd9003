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
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from operator import itemgetter
from struct import Struct
import time

from lab.kernel.interfaces import InterfaceCount, interface_counts
from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces
from lab.observe.readings import FirstRefusal
from lab.observe.samples import NodeSample, Sample
from lab.slots import counters as counting
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter

__all__ = ["Sampler", "Visit", "sample_now", "sample_slots"]

_SHARE_OF_TIME = 0.02
"""What reading lists may take, at most, once each has been read."""
_MOMENTS = 16
"""How finely is remembered what was established how long ago: in parts of the idle timeout."""
_NO_CONNECTIONS = (counting.REFUSED, counting.FIRST_REFUSED, counting.RESET, counting.FIRST_RESET)
"""Sets that do not hold connections."""
_NOTHING = InterfaceCount(0, 0, 0, 0)
_MS_PER_S = 1000
_AT_ONCE_S, _MOST_LOOKS = 0.002, 4
"""A look that took longer may be as wrong as half of that; and how often one is taken."""
_SOURCE = Struct("!4sH")
"""The head of a set's key: source address and source port."""

Visit = Callable[[str, Callable[[], NodeSample]], NodeSample]
"""Calls a function inside the namespace of that name; FileNotFoundError when it is gone."""


class Sampler:
    """Takes samples of the same nodes, one after the other."""

    def __init__(
        self, nodes: Iterable[NatNode], now: Callable[[], float] = time.monotonic, *, slots_only: bool = False
    ) -> None:
        """With `slots_only` no list is ever read, what has fallen idle counts as active, and no packets are counted."""
        self._pause = _Pause(now)
        self._nodes = tuple((node, None if slots_only else _IdleTimeouts(node, self._pause)) for node in nodes)

    def take(self, visit: Visit) -> Sample:
        """A sample now; nodes that `lab up` has taken away meanwhile are left out."""
        at_s = time.time()
        self._pause.look()
        nodes = {}
        for node, idle in self._nodes:
            with suppress(FileNotFoundError, KeyError):  # its namespace is gone, or its table
                take_here = (
                    partial(_slots_here, node.table, at_s) if idle is None else partial(_all_here, node, idle, at_s)
                )
                nodes[node.node] = visit(node.namespace, take_here)
        return Sample(at_s, nodes)


def sample_now(nodes: Iterable[NatNode]) -> Sample:
    """A sample of these nodes now, by a process that lives in none of the lab's namespaces."""
    with Namespaces() as namespaces:
        return Sampler(nodes).take(namespaces.call)


def sample_slots(namespaces: Namespaces, limiters: Iterable[Limiter], *, entries: bool = False) -> Sample:
    """What the nodes of these limiters hold and have refused, which connection first, and which ENIs are not there yet.

    Other slot sets of these nodes are left out, packets are not counted, and no list of connections is read unless
    conntrack `entries` are asked for.
    FileNotFoundError when a node's namespace is gone; a node whose table is gone is left out.
    """
    places: dict[tuple[str, str, str], list[Limiter]] = {}
    for limiter in limiters:
        places.setdefault((limiter.place, limiter.namespace, limiter.table), []).append(limiter)
    at_s, nodes = time.time(), {}
    for (node, namespace, table), there in places.items():
        with suppress(KeyError):
            nodes[node] = namespaces.call(namespace, partial(_slots_here, table, at_s, there, entries=entries))
    return Sample(at_s, nodes)


def _slots_here(table: str, at_s: float, limiters: Sequence[Limiter] = (), *, entries: bool = False) -> NodeSample:
    """Runs inside the node's namespace; KeyError when it has no such table. `at_s` is when the sample began."""
    # First: reading the list ends what has expired.
    tracked = conntrack.tracked() - conntrack.marked(counting.WITHOUT_SLOT) if entries else None
    counters = {name: counter.packets for name, counter in nftables.counters(table).items()}
    return NodeSample(
        counters,
        held=_held_by(limiters, counters) if limiters else _held_in(table),
        active=counters[counting.ESTABLISHED] - _ended(counters),
        inner=_NOTHING,
        outer=_NOTHING,
        first_refusal=_first(table, limiters[0].first_refused, at_s) if limiters else None,
        first_reset=_first(table, counting.FIRST_RESET, at_s) if counters.get(counting.RESET_HERE) else None,
        absent=frozenset(limiter.slots for limiter in limiters if _is_absent(limiter)),
        entries=tracked,
    )


def _all_here(node: NatNode, idle: _IdleTimeouts, at_s: float) -> NodeSample:
    """Runs inside the node's namespace; KeyError when it has no such table."""
    slots = _slots_here(node.table, at_s)
    interfaces, drops = interface_counts(), conntrack.drops()
    tracked = {counting.PORTS_NOT_FOUND: drops.ports_not_found, counting.CONNTRACK_DROPS: drops.all}
    return replace(
        slots,
        counters={**slots.counters, **tracked},
        # A connection that came and went while counters were read is perhaps only in the second of them.
        active=max(0, slots.active - idle.look(slots.established, _ended(slots.counters))),
        inner=interfaces.get(node.inner, _NOTHING),
        outer=interfaces.get(node.outer, _NOTHING),
    )


def _ended(counters: Mapping[str, int]) -> int:
    """Connections that were active and did not fall idle: they were closed, or `lab reset` has removed them."""
    return counters[counting.CLOSED] + counters.get(counting.FORGOTTEN, 0)


def _held_in(table: str) -> dict[str, int]:
    return {name: n for name, n in nftables.set_sizes(table).items() if name not in _NO_CONNECTIONS}


def _held_by(limiters: Sequence[Limiter], counters: Mapping[str, int]) -> dict[str, int]:
    """Slots held of these limiters only, in half the time of all sets; a limiter without counters has no set."""
    there = (limiter for limiter in limiters if limiter.refused_packets in counters)
    return {limiter.slots: nftables.set_size(limiter.table, limiter.slots) for limiter in there}


def _first(table: str, name: str, at_s: float) -> FirstRefusal | None:
    """What a set of one element remembers, and its age at `at_s`; None if it is empty.

    Nodes are read one after another, which takes tens of milliseconds on a busy machine, and the ages of all of them
    must compare. Where this process had to wait between the clock and the kernel's answer, both are asked again.
    """
    from lab.slots.ruleset import FIRST_REFUSED_TIMEOUT_S  # noqa: PLC0415  # the collector starts without rulesets

    def look() -> tuple[float, float, list[nftables.Element]]:
        began_s = time.time()
        found = list(nftables.elements(table, name))
        took_s = time.time() - began_s
        return took_s, began_s + took_s / 2, found

    looks = [look()]
    while looks[-1][0] > _AT_ONCE_S and len(looks) < _MOST_LOOKS:
        looks.append(look())
    _, now_s, found = min(looks, key=itemgetter(0))
    for element in found:
        age_s = FIRST_REFUSED_TIMEOUT_S - element.expires_ms / _MS_PER_S
        source, port = _SOURCE.unpack_from(element.key)
        return FirstRefusal(age_s - (now_s - at_s), IPv4Address(source), port)
    return None


def _is_absent(limiter: Limiter) -> bool:
    """An ENI that was asked for is there when the kernel has let its lag expire."""
    if limiter.asked is None or limiter.growing is None:
        return False
    return not _holds_any(limiter.table, limiter.asked) or _holds_any(limiter.table, limiter.growing)


def _holds_any(table: str, name: str) -> bool:
    """Whether a set has an element that has not expired: the kernel leaves expired ones out (nf_tables_api.c)."""
    return any(True for _ in nftables.elements(table, name))


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
        """Lengthen the pause, so that the list that was just read takes no more than its share of the time."""
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
            closed = _ended({name: counter.packets for name, counter in nftables.counters(self._table).items()})
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

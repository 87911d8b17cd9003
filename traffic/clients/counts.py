"""The counts of a burst: sums and histograms whose size does not grow with its length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from traffic.result import Percentiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Counts", "Latencies", "Marks", "Tally"]

_SMALLEST_S = 1e-5
_BINS_PER_OCTAVE = 16
"""A bin is 4.4 % wide, as fine as a percentile of a noisy machine deserves."""
_BINS = 24 * _BINS_PER_OCTAVE  # 10 µs · 2**24 is 168 s, longer than any client waits for a SYN
_MOST_SYNS = 16


class Latencies:
    """A histogram of latencies in logarithmic bins, 3 KB in all; seconds.

    Not an HdrHistogram: its Python library takes values one by one, this one a batch of 320 in 7 µs.
    """

    def __init__(self) -> None:
        self.bins: NDArray[np.int64] = np.zeros(_BINS, np.int64)
        self.largest_s = 0.0

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count these latencies."""
        if len(seconds):
            octaves = np.log2(np.maximum(seconds, _SMALLEST_S) / _SMALLEST_S)
            bins = np.minimum((octaves * _BINS_PER_OCTAVE).astype(np.int64), _BINS - 1)
            self.bins += np.bincount(bins, minlength=_BINS)
            self.largest_s = max(self.largest_s, float(seconds.max()))

    def merge(self, other: Latencies) -> None:
        """Count those of another histogram."""
        self.bins += other.bins
        self.largest_s = max(self.largest_s, other.largest_s)

    def percentiles(self) -> Percentiles | None:
        """The usual percentiles, each the upper edge of its bin; None if nothing was counted."""
        total = int(self.bins.sum())
        if not total:
            return None
        sums = np.cumsum(self.bins)
        p50, p90, p99, p999 = (self._edge_ms(int(np.searchsorted(sums, part * total))) for part in _PARTS)
        return Percentiles(total, p50, p90, p99, p999, round(self.largest_s * 1000, 3))

    def _edge_ms(self, place: int) -> float:
        edge_s = _SMALLEST_S * 2 ** ((place + 1) / _BINS_PER_OCTAVE)
        return round(min(edge_s, self.largest_s) * 1000, 3)


_PARTS = (0.5, 0.9, 0.99, 0.999)


class Marks:
    """How a sum grew with time: at most `most` points, the finer the shorter the burst."""

    def __init__(self, most: int = 4096) -> None:
        self._most = most
        self._sums, self._times_s = [0], [0.0]
        self._spacing = 1

    def add(self, total: int, now_s: float) -> None:
        """The sum at this moment."""
        if total - self._sums[-1] >= self._spacing:
            self._sums.append(total)
            self._times_s.append(now_s)
            if len(self._sums) > self._most:
                self._spacing = 2 * total // self._most
                self._sums, self._times_s = self._sums[::2], self._times_s[::2]

    def merge(self, other: Marks) -> None:
        """Add another sum, of the same time."""
        times_s = sorted({*self._times_s, *other._times_s})
        sums = np.interp(times_s, self._times_s, self._sums) + np.interp(times_s, other._times_s, other._sums)
        self._sums, self._times_s = sums.astype(np.int64).tolist(), times_s

    def reached_s(self, totals: NDArray[np.float64]) -> NDArray[np.float64]:
        """When the sum reached each of these."""
        times_s: NDArray[np.float64] = np.interp(totals, self._sums, self._times_s)
        return times_s

    def __len__(self) -> int:
        return len(self._sums)


class Tally:
    """Events of each fleet's connections apart; of one fleet alone nothing is kept, for all events are its."""

    def __init__(self, fleets: int = 1) -> None:
        self._fleets = fleets
        self._events: dict[str, NDArray[np.int64]] = {}

    def add(self, event: str, indices: NDArray[np.int64]) -> None:
        """The event has happened to these connections."""
        if self._fleets > 1 and len(indices):
            self.add_sums(event, np.bincount(indices % self._fleets, minlength=self._fleets))

    def add_sums(self, event: str, sums: NDArray[np.int64]) -> None:
        """The event has happened to so many of each fleet."""
        self._events[event] = self._events.get(event, np.zeros(self._fleets, np.int64)) + sums

    def merge(self, other: Tally) -> None:
        """Add those of another process's share of the same burst."""
        self._fleets = max(self._fleets, other._fleets)
        for event, sums in other._events.items():
            self.add_sums(event, sums)

    def of(self, fleet: int) -> dict[str, int]:
        """How often each event has happened to the connections of a fleet."""
        return {event: int(sums[fleet]) for event, sums in self._events.items()}

    def __len__(self) -> int:
        return self._fleets


@dataclass(slots=True)
class Counts:
    """Events so far; a connection that is used again counts again."""

    begun: int = 0
    """Invocations that have begun."""
    settled: int = 0
    """Invocations that have their outcome."""
    served: int = 0
    """Invocations with a connection and all their answers."""
    throttled: int = 0
    """Invocations that found their function's reserved concurrency in use."""
    reused: int = 0
    """Invocations that found an open connection."""
    waiting: int = 0
    """The most invocations that were due at one time and had to wait for a free connection."""
    asked: int = 0
    questions: int = 0
    """DNS queries sent, repetitions included."""
    replies: int = 0
    """Of those, answered."""
    answered: int = 0
    answered_late: int = 0
    """Invocations whose answer, of whatever kind, came after a repeated query."""
    dns_failed: int = 0
    dns_denied: int = 0
    """Failures that the resolver answered."""
    dns_emfile: int = 0
    tcp_emfile: int = 0
    """Look-ups, and connections to a known address, for which there was no descriptor."""
    attempted: int = 0
    syns: int = 0
    """SYNs sent, retransmissions included."""
    challenged_syns: int = 0
    challenged: int = 0
    established: int = 0
    half_open: int = 0
    timed_out: int = 0
    refused: int = 0
    reset: int = 0
    closed_by_server: int = 0
    tls_attempted: int = 0
    tls_failures: Counter[str] = field(default_factory=Counter)
    """Why TLS handshakes have failed → how many."""
    requests: int = 0
    responses: int = 0
    ended: int = 0
    """Connections that were established and are no longer."""
    leaving: int = 0
    """Connections that have begun to close, at either end, or were reset."""
    closed: int = 0
    abandoned: int = 0
    last_settled_s: float = 0.0
    """When a SYN was last sent for the first time, or answered."""
    established_at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_MOST_SYNS, np.int64))
    """Connections established by their first SYN, by their second …"""
    marks: Marks = field(default_factory=Marks)
    """How attempts grew with time."""
    dns: Latencies = field(default_factory=Latencies)
    connect: Latencies = field(default_factory=Latencies)
    tls: Latencies = field(default_factory=Latencies)
    request: Latencies = field(default_factory=Latencies)
    tally: Tally = field(default_factory=Tally)

    def merge(self, other: Counts) -> None:
        """Add those of another process's share of the same burst."""
        for field_ in fields(self):
            mine, theirs = getattr(self, field_.name), getattr(other, field_.name)
            if field_.name == "last_settled_s":
                self.last_settled_s = max(mine, theirs)
            elif isinstance(mine, (Latencies, Marks, Tally)):
                mine.merge(theirs)
            else:
                setattr(self, field_.name, mine + theirs)

    @property
    def open(self) -> int:
        """Connections that are established now."""
        return self.established - self.ended

    @property
    def emfile(self) -> int:
        """Invocations that found no descriptor."""
        return self.dns_emfile + self.tcp_emfile

    @property
    def live(self) -> int:
        """Connections that an environment has now, in whatever state."""
        begun = self.begun - self.throttled - self.reused
        return begun - self.dns_failed - self.emfile - self.timed_out - self.refused - self.ended

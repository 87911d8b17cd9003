"""What each metric is of one reading of a node: a count that runs, or a level of that moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from lab.observe.samples import NodeSample
from lab.slots.limiter import Limiter

__all__ = ["COUNTS", "LEVELS", "PEAKS", "Count", "Level"]

Count = Callable[[NodeSample], int]
"""How much there has been since the node was made."""
Level = Callable[[NodeSample, Sequence[Limiter]], int]
"""How much there is now; the limiters are the node's own."""


def _connections(reading: NodeSample, limiters: Sequence[Limiter]) -> int:
    return sum(reading.held.get(limiter.slots, 0) for limiter in limiters)


def _headroom(reading: NodeSample, limiters: Iterable[Limiter]) -> int:
    """Free slots: summed over ENIs that share connections, and of limits for different destinations the smallest."""
    free: dict[tuple[str | None, str], int] = defaultdict(int)
    for limiter in limiters:
        if _has_appeared(reading, limiter):
            free[limiter.towards, limiter.protocol] += limiter.limit - reading.held.get(limiter.slots, 0)
    return min(free.values(), default=0)


def _has_appeared(reading: NodeSample, limiter: Limiter) -> bool:
    """A further ENI is there once it was asked for and is not growing any more."""
    if limiter.asked is None or limiter.growing is None:
        return True
    return bool(reading.held.get(limiter.asked)) and not reading.held.get(limiter.growing)


COUNTS: Mapping[str, Count] = {
    "ConnectionAttemptCount": lambda reading: reading.attempted,
    "ConnectionEstablishedCount": lambda reading: reading.established,
    "ErrorPortAllocation": lambda reading: reading.without_port,
    "IdleTimeoutCount": lambda reading: reading.idle_timeouts,
    "PacketsDropCount": lambda reading: reading.dropped_packets,
    "BytesInFromSource": lambda reading: reading.inner.bytes_in,
    "BytesOutToDestination": lambda reading: reading.outer.bytes_out,
    "BytesInFromDestination": lambda reading: reading.outer.bytes_in,
    "BytesOutToSource": lambda reading: reading.inner.bytes_out,
    "PacketsInFromSource": lambda reading: reading.inner.packets_in,
    "PacketsOutToDestination": lambda reading: reading.outer.packets_out,
    "PacketsInFromDestination": lambda reading: reading.outer.packets_in,
    "PacketsOutToSource": lambda reading: reading.inner.packets_out,
    "ConnectionsRefused": lambda reading: reading.refused_connections,
    "PacketsRefused": lambda reading: reading.refused_packets,
}
"""Metric → its running count."""

PEAKS: Mapping[str, Count] = {
    "PeakBytesPerSecond": lambda reading: reading.inner.bytes_in + reading.outer.bytes_in,
    "PeakPacketsPerSecond": lambda reading: reading.inner.packets_in + reading.outer.packets_in,
}
"""Metric → the running count whose highest rate it is."""

LEVELS: Mapping[str, Level] = {
    "ActiveConnectionCount": lambda reading, _: reading.active,
    "Connections": _connections,
    "Headroom": _headroom,
}
"""Metric → how its level is read from a sample."""

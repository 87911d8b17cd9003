"""What a burst amounts to: counts, threshold and rates out of the arrays of its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from traffic.engines.client_state import State
from traffic.result import DnsCount, EngineResult, RingCount, Sample, TcpCount, Timing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traffic.engines.client_state import Connections

__all__ = ["drop_threshold", "progress", "result", "sample"]

_TENTHS = 10
_SHORTEST_S = 0.001
"""A batch shares one time stamp, so a tenth of a small burst may take no time at all."""


def progress(connections: Connections) -> dict[str, int]:
    """The counts of an event `progress`."""
    counts = connections.counts()
    named = {name: int(counts[State[name.upper()]]) for name in ("established", "timed_out", "refused", "reset")}
    return {
        "asked": connections.asked,
        "answered": connections.ready,
        "attempted": connections.attempted,
        **named,
        "offered": len(connections),
    }


def sample(connections: Connections, now_s: float) -> Sample:
    """One point of the series."""
    counts = connections.counts()
    established, timed_out = int(counts[State.ESTABLISHED]), int(counts[State.TIMED_OUT])
    return Sample(round(now_s, 3), connections.attempted, established, timed_out)


def drop_threshold(connections: Connections) -> int | None:
    """Established connections before the first that never got an answer, in the order of first SYNs."""
    states = connections.state[connections.order[: connections.attempted]]
    lost = np.flatnonzero(states == State.TIMED_OUT)
    return int(np.count_nonzero(states[: lost[0]] == State.ESTABLISHED)) if len(lost) else None


def result(connections: Connections, duration_s: float, series: Sequence[Sample], ring: RingCount) -> EngineResult:
    """The whole burst."""
    counts = connections.counts()
    return EngineResult(
        offered=len(connections),
        dns=DnsCount(connections.asked, connections.ready, int(counts[State.DNS_FAILED])),
        tcp=TcpCount(
            attempted=connections.attempted,
            established=int(counts[State.ESTABLISHED]),
            timed_out=int(counts[State.TIMED_OUT]),
            refused=int(counts[State.REFUSED]),
            reset=int(counts[State.RESET]),
            syn_retransmissions=connections.syn_retransmissions,
        ),
        drop_threshold=drop_threshold(connections),
        timing=_timing(connections, duration_s),
        series=tuple(series),
        ring=ring,
    )


def _timing(connections: Connections, duration_s: float) -> Timing:
    first_syns_s = connections.first_syn_s[connections.order[: connections.attempted]]
    phase_s = max(float(first_syns_s.max(initial=0.0)), connections.last_established_s)
    established = int(connections.counts()[State.ESTABLISHED])
    return Timing(
        connect_phase_s=round(phase_s, 3),
        duration_s=round(duration_s, 3),
        handshakes_per_s=_rate(established, phase_s),
        invocations_per_s=_rate(connections.attempted, phase_s),
        tenths_per_s=_tenths_per_s(first_syns_s),
    )


def _tenths_per_s(times_s: np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[float, ...]:
    """The rate in each tenth of events at these times, in their order."""
    edges = np.linspace(0, len(times_s), _TENTHS + 1).astype(int)
    ends_s = [0.0, *(float(times_s[edge - 1]) if edge else 0.0 for edge in edges[1:])]
    spans = zip(np.diff(edges), np.diff(ends_s), strict=True)
    return tuple(_rate(int(count), float(span_s)) for count, span_s in spans)


def _rate(count: int, span_s: float) -> float:
    return round(count / max(span_s, _SHORTEST_S), 1)

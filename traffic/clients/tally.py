"""What a burst amounts to: its result out of its counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from traffic.result import (
    DnsCount,
    EngineResult,
    InvocationCount,
    Latency,
    RequestCount,
    RingCount,
    Sample,
    TcpCount,
    Timing,
    UnansweredCount,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traffic.clients.counts import Counts, Marks

__all__ = ["progress", "result", "sample"]

_TENTHS = 10
_SHORTEST_S = 0.001
"""A batch shares one time stamp, so a tenth of a small burst may take no time at all."""


def progress(counts: Counts, offered: int) -> dict[str, int]:
    """The counts of an event `progress`."""
    return {
        "asked": counts.asked,
        "answered": counts.answered,
        "attempted": counts.attempted,
        "established": counts.established - counts.reset,
        "timed_out": counts.timed_out,
        "refused": counts.refused,
        "reset": counts.reset,
        "open": counts.open,
        "settled": counts.settled,
        "offered": offered,
    }


def sample(counts: Counts, now_s: float) -> Sample:
    """One point of the series."""
    return Sample(
        t_s=round(now_s, 3),
        attempted=counts.attempted,
        established=counts.established - counts.reset,
        timed_out=counts.timed_out,
        open=counts.open,
        served=counts.served,
        reused=counts.reused,
    )


def result(
    counts: Counts,
    offered: int,
    *,
    drop_threshold: int | None,
    duration_s: float,
    series: Sequence[Sample],
    ring: RingCount,
) -> EngineResult:
    """The whole burst."""
    return EngineResult(
        offered=offered,
        invocations=InvocationCount(
            offered, counts.served, counts.settled - counts.served, counts.reused, counts.waiting
        ),
        dns=DnsCount(counts.asked, counts.answered, counts.dns_failed),
        tcp=_tcp(counts),
        requests=RequestCount(counts.requests, counts.responses),
        drop_threshold=drop_threshold,
        latency=Latency(counts.dns.percentiles(), counts.connect.percentiles(), counts.request.percentiles()),
        timing=_timing(counts, duration_s),
        series=tuple(series),
        ring=ring,
        unanswered=_unanswered(counts),
    )


def _unanswered(counts: Counts) -> UnansweredCount:
    given_up = counts.dns_failed - counts.dns_denied
    return UnansweredCount(
        questions=counts.questions - counts.answered - counts.dns_denied,
        invocations=given_up + counts.answered_late,
    )


def _tcp(counts: Counts) -> TcpCount:
    at_syn = np.trim_zeros(counts.established_at, "b").tolist()
    return TcpCount(
        attempted=counts.attempted,
        established=counts.established - counts.reset,
        timed_out=counts.timed_out,
        refused=counts.refused,
        reset=counts.reset,
        syn_retransmissions=counts.syns - counts.attempted,
        established_at_syn=tuple(at_syn),
        half_open=counts.half_open,
        open=counts.open,
    )


def _timing(counts: Counts, duration_s: float) -> Timing:
    phase_s = counts.last_settled_s
    return Timing(
        connect_phase_s=round(phase_s, 3),
        duration_s=round(duration_s, 3),
        handshakes_per_s=_rate(counts.established, phase_s),
        invocations_per_s=_rate(counts.begun, phase_s),
        tenths_per_s=_tenths_per_s(counts.marks, counts.attempted),
    )


def _tenths_per_s(marks: Marks, attempted: int) -> tuple[float, ...]:
    """The rate of first SYNs in each tenth of them."""
    edges = np.linspace(0, attempted, _TENTHS + 1)
    spans = zip(np.diff(edges), np.diff(marks.reached_s(edges)), strict=True)
    return tuple(_rate(float(count), float(span_s)) for count, span_s in spans)


def _rate(count: float, span_s: float) -> float:
    return round(count / max(span_s, _SHORTEST_S), 1)

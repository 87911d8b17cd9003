"""Reports of a burst: its progress and samples several times a second, and its result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from traffic.events import emit
from traffic.result import (
    DnsCount,
    EngineResult,
    FleetCount,
    InvocationCount,
    Latency,
    RequestCount,
    RingCount,
    Sample,
    TcpCount,
    Timing,
    TlsCount,
    UnansweredCount,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from traffic.clients.counts import Counts, Marks
    from traffic.clients.threshold import Threshold

__all__ = ["EventReporter", "Reporter", "result"]

_PROGRESS_S = 0.2
_SAMPLE_S = 0.5
_TENTHS = 10
_SHORTEST_S = 0.001
"""A batch shares one time stamp, so a tenth of a small burst may take no time at all."""


class Reporter(Protocol):
    """Takes reports of a burst."""

    def progress(self, counts: Counts, now_s: float) -> None:
        """The counts so far; called at every tick."""

    def result(self, counts: Counts, threshold: Threshold, ring: RingCount, now_s: float) -> None:
        """The counts when every invocation has its outcome."""


class EventReporter:
    """Reports to the parent process: events `progress`, and `connected` with the result and its series."""

    def __init__(self, offered: int, emit: Callable[..., None] = emit) -> None:
        self._offered, self._emit = offered, emit
        self._next_progress_s = self._next_sample_s = 0.0
        self._series: list[Sample] = []

    def progress(self, counts: Counts, now_s: float) -> None:
        """An event every 0.2 s, a sample every 0.5 s."""
        if now_s >= self._next_progress_s:
            self._next_progress_s = now_s + _PROGRESS_S
            self._emit(
                "progress",
                t_s=round(now_s, 3),
                asked=counts.asked,
                answered=counts.answered,
                attempted=counts.attempted,
                established=counts.established - counts.reset,
                timed_out=counts.timed_out,
                refused=counts.refused,
                reset=counts.reset,
                open=counts.open,
                settled=counts.settled,
                offered=self._offered,
            )
        if now_s >= self._next_sample_s:
            self._next_sample_s = now_s + _SAMPLE_S
            self._series.append(_sample(counts, now_s))

    def result(self, counts: Counts, threshold: Threshold, ring: RingCount, now_s: float) -> None:
        """Emit the event `connected`, with the result and its series."""
        series = (*self._series, _sample(counts, now_s))
        whole = result(
            counts, self._offered, drop_threshold=threshold.value, duration_s=now_s, series=series, ring=ring
        )
        self._emit("connected", result=whole.to_json())


def _sample(counts: Counts, now_s: float) -> Sample:
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
    """The result that counts amount to."""
    return EngineResult(
        offered=offered,
        invocations=InvocationCount(
            offered,
            counts.served,
            counts.settled - counts.served - counts.throttled,
            counts.reused,
            counts.waiting,
            counts.throttled,
        ),
        dns=DnsCount(counts.asked, counts.answered, counts.dns_failed, counts.dns_emfile),
        tcp=TcpCount(
            attempted=counts.attempted + counts.tcp_emfile,
            established=counts.established - counts.reset,
            timed_out=counts.timed_out,
            refused=counts.refused,
            reset=counts.reset,
            syn_retransmissions=counts.syns - counts.attempted,
            established_at_syn=tuple(np.trim_zeros(counts.established_at, "b").tolist()),
            half_open=counts.half_open,
            open=counts.open,
            closed_by_server=counts.closed_by_server,
            challenged_syns=counts.challenged_syns,
            challenged=counts.challenged,
            emfile=counts.tcp_emfile,
        ),
        requests=RequestCount(counts.requests, counts.responses),
        drop_threshold=drop_threshold,
        latency=Latency(
            counts.dns.percentiles(),
            counts.connect.percentiles(),
            counts.request.percentiles(),
            counts.tls.percentiles(),
        ),
        timing=Timing(
            connect_phase_s=round(counts.last_settled_s, 3),
            duration_s=round(duration_s, 3),
            handshakes_per_s=_rate(counts.established, counts.last_settled_s),
            invocations_per_s=_rate(counts.begun, counts.last_settled_s),
            tenths_per_s=_tenths_per_s(counts.marks, counts.attempted),
        ),
        series=tuple(series),
        ring=ring,
        unanswered=UnansweredCount(
            questions=counts.questions - counts.replies,
            invocations=counts.dns_failed - counts.dns_denied + counts.answered_late,
        ),
        questions=counts.questions,
        tls=_tls(counts),
        fleets=tuple(_fleets(counts, offered)),
    )


def _fleets(counts: Counts, offered: int) -> Iterator[FleetCount]:
    """Each function's part of the counts, where there are several; a connection that was reset was established."""
    fleets = len(counts.tally)
    for fleet in range(fleets if fleets > 1 else 0):
        events = counts.tally.of(fleet)
        established = events.get("established", 0) - events.get("reset", 0)
        yield FleetCount(offered=(offered - fleet + fleets - 1) // fleets, **events | {"established": established})


def _tls(counts: Counts) -> TlsCount | None:
    if not counts.tls_attempted:
        return None
    failed = counts.tls_failures.total()
    return TlsCount(
        counts.tls_attempted, counts.tls_attempted - failed, failed, dict(counts.tls_failures.most_common())
    )


def _tenths_per_s(marks: Marks, attempted: int) -> tuple[float, ...]:
    """The rate of first SYNs in each tenth of them."""
    edges = np.linspace(0, attempted, _TENTHS + 1)
    tenths = zip(np.diff(edges), np.diff(marks.reached_s(edges)), strict=True)
    return tuple(_rate(float(count), float(span_s)) for count, span_s in tenths)


def _rate(count: float, span_s: float) -> float:
    return round(count / max(span_s, _SHORTEST_S), 1)

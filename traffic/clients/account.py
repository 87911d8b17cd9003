"""What is told of a burst: how far it is, several times a second, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from traffic.clients import tally
from traffic.events import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.clients.counts import Counts
    from traffic.clients.threshold import Threshold
    from traffic.result import RingCount, Sample

__all__ = ["Account", "Tells"]

_PROGRESS_S = 0.2
_SAMPLE_S = 0.5


class Tells(Protocol):
    """Who wants to know of a burst."""

    def observe(self, counts: Counts, now_s: float) -> None:
        """It is so far; called at every tick."""

    def report(self, counts: Counts, threshold: Threshold, ring: RingCount, now_s: float) -> None:
        """Every invocation has its outcome."""


class Account:
    """Tells the parent process: events `progress`, and `connected` with the result and its series."""

    def __init__(self, offered: int, say: Callable[..., None] = emit) -> None:
        self._offered, self._say = offered, say
        self._next_progress_s = self._next_sample_s = 0.0
        self._series: list[Sample] = []

    def observe(self, counts: Counts, now_s: float) -> None:
        """Tell now and then, and take samples."""
        if now_s >= self._next_progress_s:
            self._next_progress_s = now_s + _PROGRESS_S
            self._say("progress", t_s=round(now_s, 3), **tally.progress(counts, self._offered))
        if now_s >= self._next_sample_s:
            self._next_sample_s = now_s + _SAMPLE_S
            self._series.append(tally.sample(counts, now_s))

    def report(self, counts: Counts, threshold: Threshold, ring: RingCount, now_s: float) -> None:
        """Tell the result."""
        self._series.append(tally.sample(counts, now_s))
        result = tally.result(
            counts,
            self._offered,
            drop_threshold=threshold.value,
            duration_s=now_s,
            series=self._series,
            ring=ring,
        )
        self._say("connected", result=result.to_json())

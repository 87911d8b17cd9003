"""One time for a run's two accounts: the clients' series begins at 0, samples have the machine's own clock. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from lab.nodes.registry import kind_of
from lab.observe.samples import NodeSample, Sample
from lab.runs import Run

__all__ = ["Clock", "bar_width_s", "clock_of", "per_bar"]

_FEWEST = 2
"""Moments that a series of bars needs at least."""
_MOST_BARS = 120
_WIDTHS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)


@dataclass(frozen=True, slots=True)
class Clock:
    """When the burst began, by the clock of its samples."""

    began_s: float

    def t_s(self, sample: Sample) -> float:
        """Seconds since then; what was sampled before is at 0."""
        return max(0.0, sample.at_s - self.began_s)


def clock_of(run: Run) -> Clock:
    """When the first question was asked: the moment at which both accounts have as many connections attempted.

    It lies between the last sample in which nothing had passed and the first in which something had.
    """
    enis = [node.node for node in run.nodes if kind_of(node.kind).sees_environments]
    for before, after in pairwise(run.samples):
        if _passed(after) > _passed(run.samples[0]):
            attempted = _attempted(after, enis) - _attempted(run.samples[0], enis)
            began_s = after.at_s - _when_attempted(run, attempted)
            return Clock(min(max(began_s, before.at_s), after.at_s))
    return Clock(run.samples[0].at_s if run.samples else run.began_s)


def _passed(sample: Sample) -> int:
    return sum(node.inner.packets_in for node in sample.nodes.values())


def _attempted(sample: Sample, enis: Iterable[str]) -> int:
    return sum(sample.nodes[eni].attempted for eni in enis if eni in sample.nodes)


def _when_attempted(run: Run, attempted: int) -> float:
    """When the clients' series had so many, between two of its points."""
    series = run.result.series
    index = bisect_left(series, attempted, key=lambda moment: moment.attempted)
    if not 0 < index < len(series):
        return 0.0
    before, after = series[index - 1], series[index]
    share = (attempted - before.attempted) / (after.attempted - before.attempted)
    return before.t_s + share * (after.t_s - before.t_s)


def bar_width_s(run: Run) -> int:
    """So that there are not too many bars, and each has a sample of its own."""
    moments = [sample.at_s for sample in run.samples]
    if len(moments) < _FEWEST:
        return 1
    apart_s = median(later - earlier for earlier, later in pairwise(moments))
    least_s = max((moments[-1] - moments[0]) / _MOST_BARS, apart_s)
    return next((width_s for width_s in _WIDTHS_S if width_s >= least_s), _WIDTHS_S[-1])


def per_bar(
    run: Run, clock: Clock, width_s: int, nodes: Collection[str], count: Callable[[NodeSample], int]
) -> tuple[tuple[float, float], ...]:
    """What some nodes have counted, summed up for each bar; a bar reaches half its width to both sides of its time.

    So what clients do after 1, 3, 7 s stands there, though samples are taken some tenths of a second later.
    """
    sums: dict[int, int] = {}
    total = most = 0
    for before, after in pairwise(run.samples):
        both = [node for node in nodes if node in before.nodes and node in after.nodes]
        total += sum(count(after.nodes[node]) - count(before.nodes[node]) for node in both)
        # Between two samples that are far apart, it came in the middle or, if that is later, in the last half of a bar.
        at_s = max((clock.t_s(before) + clock.t_s(after)) / 2, clock.t_s(after) - width_s / 2)
        index = int(at_s / width_s + 0.5)
        # What is made of several counters may be short by a few while packets pass: it comes with the next sample.
        sums[index] = sums.get(index, 0) + max(total - most, 0)
        most = max(most, total)
    return tuple((index * width_s, float(sums.get(index, 0))) for index in range(max(sums, default=-1) + 1))

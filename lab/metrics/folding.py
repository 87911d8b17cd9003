"""Folds samples to periods, as CloudWatch has them: aligned in Unix time, a point in each from the first sample on.

A sample says what has come until it was taken, so what it has more than the one before belongs to the period that it
ends in, and a sample at 10:03:00 closes the minute before. Where no sample was
taken, levels carry on and sums are 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor

from lab.metrics.numbers import COUNTS, LEVELS, PEAKS, Count
from lab.metrics.table import METRICS, Metric
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter

__all__ = ["Point", "Series", "began_anew", "comparable", "fold", "fold_last", "since"]

LATE_S = 0.05
"""How late a sample may be and still close the period before: it is taken on the second, or some milliseconds later."""
_PEAK_WINDOW_S = 10
""""The highest 10-second bytes per second average in a given minute" (PeakBytesPerSecond)."""
_NOTHING = NodeSample({}, {}, 0, InterfaceCount(0, 0, 0, 0), InterfaceCount(0, 0, 0, 0))


@dataclass(frozen=True, slots=True)
class Point:
    """What a metric was in one period."""

    start_s: float
    """When the period began, in Unix time."""
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of one node over time."""

    node: str
    metric: Metric
    points: tuple[Point, ...]
    """The oldest first, none left out; the last period may not be over."""


def fold(
    samples: Iterable[Sample], nodes: Sequence[NatNode], limiters: Sequence[Limiter], period_s: float
) -> tuple[Series, ...]:
    """Every metric of these nodes, in periods of so many seconds; the first sample is the one to count from.

    A node that comes later is counted from its making. Without samples the series have no points.
    """
    folding = [
        _Folding(node, [limiter for limiter in limiters if limiter.place == node.node], period_s) for node in nodes
    ]
    first, at_s = True, -float("inf")
    for sample in samples:
        at_s = max(at_s, sample.at_s)  # a clock that is set back makes a period longer
        for of_node in folding:
            if (reading := sample.nodes.get(of_node.node)) is not None:
                of_node.add(at_s, reading, from_zero=not first)
        first = False
    return tuple(series for of_node in folding for series in of_node.series(at_s))


def fold_last(
    samples: Iterable[Sample],
    nodes: Sequence[NatNode],
    limiters: Sequence[Limiter],
    period_s: float,
    *,
    last: int,
    now_s: float,
) -> tuple[Series, ...]:
    """Fold only the last `last` periods, up to the one in which `now_s` is: older samples are not folded at all."""
    recent = since(samples, (now_s // period_s - last) * period_s)
    return tuple(replace(series, points=series.points[-last:]) for series in fold(recent, nodes, limiters, period_s))


def since(samples: Iterable[Sample], start_s: float) -> Iterator[Sample]:
    """How things were just before a moment, as far as that is known, and all samples that are later.

    Folded, they have the same points from then on as all samples, and one period more before.
    """
    before: Sample | None = None
    for sample in samples:
        if sample.at_s <= start_s + LATE_S:
            before = sample
            continue
        if before is not None:
            yield _just_before(start_s, before)
            before = None
        yield sample
    if before is not None:
        yield _just_before(start_s, before)


def _just_before(start_s: float, sample: Sample) -> Sample:
    return replace(sample, at_s=start_s - 2 * LATE_S)


class _Folding:
    """One node's metrics, sample after sample."""

    def __init__(self, node: NatNode, limiters: Sequence[Limiter], period_s: float) -> None:
        self.node = node.node
        self._limiters, self._period_s = limiters, period_s
        self._metrics = [metric for metric in METRICS if metric.kind == node.kind]
        window_s = _PEAK_WINDOW_S if period_s % _PEAK_WINDOW_S == 0 else period_s
        self._windows = round(period_s / window_s)
        names = [metric.name for metric in self._metrics]
        self._sums = {name: _Sums(COUNTS[name], period_s) for name in names if name in COUNTS}
        self._peaks = {name: _Sums(PEAKS[name], window_s) for name in names if name in PEAKS}
        self._levels = {
            metric.name: _Levels(_CHOICE[metric.statistic]) for metric in self._metrics if metric.name in LEVELS
        }
        self._begun_s = 0.0
        self._before: NodeSample | None = None

    def add(self, at_s: float, reading: NodeSample, *, from_zero: bool) -> None:
        """Take in the next reading; the first one is counted from zero, or is the one to count from."""
        if self._before is None:
            self._begun_s = at_s
            self._before = _NOTHING if from_zero else reading
        before = comparable(self._before, reading)
        for counted in (*self._sums.values(), *self._peaks.values()):
            counted.add(self._index(at_s, counted.width_s), before, reading)
        index = self._index(at_s, self._period_s)
        for name, levels in self._levels.items():
            levels.add(index, LEVELS[name](reading, self._limiters))
        self._before = reading

    def _index(self, at_s: float, width_s: float) -> int:
        """The number of the period that a sample closes or is in, never one from before the node's first sample."""
        return max(floor((at_s - LATE_S) / width_s), floor((self._begun_s + LATE_S) / width_s))

    def series(self, until_s: float) -> Iterator[Series]:
        """All of them, up to the period of that moment."""
        indices = range(0)
        if self._before is not None:
            indices = range(self._index(self._begun_s, self._period_s), self._index(until_s, self._period_s) + 1)
        for metric in self._metrics:
            values = self._values(metric.name, indices)
            points = tuple(Point(i * self._period_s, float(value)) for i, value in zip(indices, values, strict=True))
            yield Series(self.node, metric, points)

    def _values(self, name: str, indices: range) -> Iterable[float]:
        if name in self._levels:
            return self._levels[name].values(indices)
        if name in self._sums:
            return self._sums[name].values(indices)
        return self._peaks[name].rates(indices, self._windows)


class _Sums:
    """How much a count has grown in each period."""

    def __init__(self, count: Count, width_s: float) -> None:
        self.width_s = width_s
        self._count = count
        self._total = self._most = 0
        self._grown: dict[int, int] = defaultdict(int)

    def add(self, index: int, before: NodeSample, now: NodeSample) -> None:
        """Take in how much a count has grown between two readings.

        The kernel's counters are read one after the other while packets pass, so what is made of several of them may be
        short by a few for a moment. What is short comes with the next sample: no sum is negative, none is too large.
        """
        self._total += self._count(now) - self._count(before)
        if self._total > self._most:
            self._grown[index] += self._total - self._most
            self._most = self._total

    def values(self, indices: Iterable[int]) -> list[float]:
        """The sums of these periods."""
        return [self._grown.get(index, 0) for index in indices]

    def rates(self, indices: Iterable[int], windows: int) -> list[float]:
        """The highest per second in periods of so many windows each."""
        per_window = self._grown
        return [
            max(per_window.get(window, 0) for window in range(index * windows, (index + 1) * windows)) / self.width_s
            for index in indices
        ]


class _Levels:
    """The highest level in each period, or the lowest."""

    def __init__(self, choose: Callable[[int, int], int]) -> None:
        self._choose = choose
        self._chosen: dict[int, int] = {}
        self._last: dict[int, int] = {}

    def add(self, index: int, level: int) -> None:
        """Take in the level of a reading."""
        self._chosen[index] = self._choose(self._chosen.get(index, level), level)
        self._last[index] = level

    def values(self, indices: Iterable[int]) -> Iterator[float]:
        """The levels of these periods; a period without a reading has the level of the one before."""
        level = 0
        for index in indices:
            yield self._chosen.get(index, level)
            level = self._last.get(index, level)


_CHOICE: Mapping[str, Callable[[int, int], int]] = {"Maximum": max, "Minimum": min}


def began_anew(before: NodeSample, now: NodeSample) -> bool:
    """Whether a node has been made again between two readings."""
    return now.established < before.established


def comparable(before: NodeSample, now: NodeSample) -> NodeSample:
    """An earlier reading such that the difference to the later one is what has come between them.

    What has less than before began anew at 0 with its node or its interface, or has gone with an Elastic IP.
    """
    anew = began_anew(before, now)
    return NodeSample(
        counters={} if anew else {name: n for name, n in before.counters.items() if n <= now.counters.get(name, 0)},
        held=before.held,
        active=0 if anew else before.active,
        inner=_comparable_interface(before.inner, now.inner),
        outer=_comparable_interface(before.outer, now.outer),
    )


def _comparable_interface(before: InterfaceCount, now: InterfaceCount) -> InterfaceCount:
    return before if all(old <= new for old, new in zip(before, now, strict=True)) else _NOTHING.inner

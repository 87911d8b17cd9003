"""When invocations come, and how many environments there may be: arithmetic of seconds and counts."""

from __future__ import annotations

from bisect import bisect_right
from math import inf, sqrt

from hypothesis import assume, example, given
from hypothesis import strategies as st
import pytest

from traffic.arrivals import arrived, arrives_s, environments, most_at_once
from traffic.spec import Arrivals, Growth

_RATES = st.one_of(st.floats(0.1, 10_000), st.integers(1, 10_000).map(float))
_STEADY = _RATES.map(Arrivals)
_CLIMBING_FROM_0 = st.builds(Arrivals, st.just(0.0), _RATES, st.floats(0.1, 100))
_FALLING_TO_0 = st.builds(Arrivals, _RATES, st.just(0.0), st.floats(0.1, 100))
_RAMPS = st.builds(Arrivals, _RATES, _RATES, st.floats(0.1, 100))
ARRIVALS = st.one_of(_STEADY, _CLIMBING_FROM_0, _FALLING_TO_0, _RAMPS)

_MOMENT_S = 1e-6
_ROUNDING = 1e-9
"""What sums of rates are trusted to (`traffic.arrivals`)."""


def earlier_by_s(arrivals: Arrivals) -> float:
    """In this time a sum changes by more than its rounding, also where a ramp's rate is next to nothing."""
    if not arrivals.ramp_s or arrivals.per_s is None or arrivals.to_per_s != 0:
        return _MOMENT_S
    return max(_MOMENT_S, 2 * sqrt(2 * _ROUNDING * arrivals.ramp_s / arrivals.per_s))


@example(Arrivals(1.0, 0.0, 2.0), 1)
@given(ARRIVALS, st.integers(0, 1_000_000))
def test_one_is_the_other_backwards(arrivals: Arrivals, before: int) -> None:
    """Until an invocation comes those before it have, and from then on one more, whatever the rate does."""
    moment_s = arrives_s(arrivals, before)
    if moment_s == inf:
        assert arrivals.to_per_s == 0
        assert arrived(arrivals, 1e9) <= before
    else:
        assert arrived(arrivals, moment_s + _MOMENT_S) >= before + 1
        assert arrived(arrivals, moment_s - earlier_by_s(arrivals)) <= before or before == 0


@given(ARRIVALS)
def test_the_first_comes_at_once(arrivals: Arrivals) -> None:
    """The first invocation comes at 0 s, also where the rate climbs from 0."""
    assert arrives_s(arrivals, 0) == 0
    assert arrived(arrivals, 0.0) == 1


def test_all_at_once() -> None:
    """Without a rate all have come when the burst begins."""
    assert arrived(Arrivals(), 0.0) == inf
    assert arrives_s(Arrivals(), 999_999) == 0


@pytest.mark.parametrize(
    ("arrivals", "before", "at_s"),
    [
        (Arrivals(100.0), 50, 0.5),
        (Arrivals(0.0, 100.0, 10.0), 125, 5.0),  # half the rate, a quarter of the ramp's invocations
        (Arrivals(0.0, 100.0, 10.0), 500, 10.0),
        (Arrivals(0.0, 100.0, 10.0), 700, 12.0),  # and steady afterwards
        (Arrivals(100.0, 0.0, 10.0), 375, 5.0),
        (Arrivals(100.0, 0.0, 10.0), 500, 10.0),
        (Arrivals(100.0, 0.0, 10.0), 501, inf),
        (Arrivals(100.0, 50.0, 10.0), 750, 10.0),
        (Arrivals(100.0, 50.0, 10.0), 800, 11.0),
        (Arrivals(100.0, 100.0, 10.0), 800, 8.0),
    ],
)
def test_ramps(arrivals: Arrivals, before: int, at_s: float) -> None:
    """A ramp's invocations are the area below it; after it the rate stays."""
    assert arrives_s(arrivals, before) == pytest.approx(at_s)


def _counted(arrivals: Arrivals, invocations: int, lasting_s: float) -> int:
    """The most at a time, by looking at each moment when one comes."""
    moments = [arrives_s(arrivals, before) for before in range(invocations)]
    return max(come - bisect_right(moments, now_s - lasting_s) for come, now_s in enumerate(moments, start=1))


@given(ARRIVALS, st.integers(1, 500), st.floats(0.01, 20))
def test_most_at_once(arrivals: Arrivals, invocations: int, lasting_s: float) -> None:
    """The most that are under way at a time are those that counting finds, or one more or less where two touch."""
    assume(arrives_s(arrivals, invocations - 1) < inf)
    assert abs(most_at_once(arrivals, invocations, lasting_s) - _counted(arrivals, invocations, lasting_s)) <= 1


@pytest.mark.parametrize(
    ("arrivals", "invocations", "lasting_s", "most"),
    [
        (Arrivals(), 1000, 0.5, 1000),
        (Arrivals(8000.0), 200_000, 11.0, 88_000),
        (Arrivals(8000.0), 50_000, 11.0, 50_000),
        (Arrivals(0.0, 1000.0, 10.0), 100_000, 2.0, 2000),
        (Arrivals(1000.0, 10.0, 10.0), 5050, 2.0, 1802),  # 1,000 a second at first: the most are there at 2 s
    ],
)
def test_most_at_once_by_example(arrivals: Arrivals, invocations: int, lasting_s: float, most: int) -> None:
    """A steady rate has its rate times the duration under way, a burst all, a falling one the most at first."""
    assert most_at_once(arrivals, invocations, lasting_s) in (most, most + 1)


def test_growth() -> None:
    """Lambda's environments: 1,000 at once, and then 100 more each second, without a jump."""
    growth = Growth(1000, 100.0)
    assert [environments(growth, now_s) for now_s in (0.0, 0.5, 1.0, 10.0)] == [1000, 1050, 1100, 2000]

"""What is counted: histograms within a bin of the truth, marks close to it, in memory that does not grow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from traffic.clients.counts import Counts, Latencies, Marks

_BIN = 2 ** (1 / 16)
_SECONDS = st.lists(st.floats(1e-5, 150), min_size=1, max_size=300)


@given(_SECONDS)
def test_percentiles(seconds: list[float]) -> None:
    """Each percentile is numpy's, or up to a bin above it."""
    latencies = Latencies()
    latencies.add(np.array(seconds))
    percentiles = latencies.percentiles()
    assert percentiles is not None
    assert percentiles.count == len(seconds)
    assert percentiles.max_ms == pytest.approx(max(seconds) * 1000, abs=0.001)
    for part, value_ms in (
        (50, percentiles.p50_ms),
        (90, percentiles.p90_ms),
        (99, percentiles.p99_ms),
        (99.9, percentiles.p999_ms),
    ):
        true_ms = float(np.percentile(seconds, part, method="inverted_cdf")) * 1000
        assert true_ms - 0.001 <= value_ms <= true_ms * _BIN + 0.001


def test_percentiles_of_nothing() -> None:
    """Without latencies there are no percentiles."""
    assert Latencies().percentiles() is None


@given(_SECONDS, _SECONDS)
def test_parts_together(one: list[float], other: list[float]) -> None:
    """Latencies that were counted apart and merged are those that were counted together."""
    first, second, both = Latencies(), Latencies(), Latencies()
    first.add(np.array(one))
    second.add(np.array(other))
    both.add(np.array(one + other))
    first.merge(second)
    assert first.percentiles() == both.percentiles()


@pytest.mark.parametrize(("seconds", "p50_ms"), [(0.0, 0.0), (1e-9, 0.0), (3600.0, 168_000)])
def test_extremes(seconds: float, p50_ms: float) -> None:
    """What is shorter or longer than all bins counts in the first or last one."""
    latencies = Latencies()
    latencies.add(np.array([seconds]))
    percentiles = latencies.percentiles()
    assert percentiles is not None
    assert percentiles.p50_ms == pytest.approx(p50_ms, rel=0.01, abs=0.001)
    assert percentiles.max_ms == round(seconds * 1000, 3)


@given(st.lists(st.tuples(st.integers(1, 300), st.floats(0.0001, 0.1)), min_size=1, max_size=400))
def test_marks_of_a_short_burst(steps: list[tuple[int, float]]) -> None:
    """While there is room each mark is remembered as it was."""
    marks, total, now_s = Marks(), 0, 0.0
    for more, seconds in steps:
        total, now_s = total + more, now_s + seconds
        marks.add(total, now_s)
        assert marks.reached_s(np.array([float(total)]))[0] == now_s


def test_marks_of_a_long_burst() -> None:
    """A million marks take the room of 4,096, and each moment is told to a thousandth of the whole."""
    marks = Marks()
    for batch in range(1, 1_000_001):
        marks.add(batch * 256, (batch / 1_000_000) ** 2)  # ever slower
    assert len(marks) <= 4097
    parts = np.linspace(0.05, 1, 20)
    assert marks.reached_s(parts * 256e6) == pytest.approx(parts**2, abs=0.001)


def test_histograms_do_not_grow() -> None:
    """A million latencies take as much memory as one."""
    one, million = Latencies(), Latencies()
    one.add(np.array([0.001]))
    for _ in range(100):
        million.add(np.full(10_000, 0.001))
    assert one.bins.nbytes == million.bins.nbytes < 5000


@pytest.mark.parametrize(
    ("counts", "is_open", "live"),
    [
        (Counts(), 0, 0),
        (Counts(begun=3), 0, 3),
        (Counts(begun=3, established=2, timed_out=1), 2, 2),
        (Counts(begun=3, dns_failed=1, refused=1, established=1, ended=1), 0, 0),
        (Counts(begun=5, reused=4, established=1), 1, 1),
    ],
)
def test_open_and_live(counts: Counts, is_open: int, live: int) -> None:
    """A connection is live from its question to its end, and open while it is established."""
    assert (counts.open, counts.live) == (is_open, live)

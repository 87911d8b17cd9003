"""A burst in parts, and their counts in one."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from traffic.clients.counts import Counts, Latencies, Marks
from traffic.clients.threshold import Threshold
from traffic.engines.socket.shares import shares
from traffic.engines.socket.turns import Turns
from traffic.spec import Arrivals, BurstSpec, EniPath, FleetSpec, Growth

PATHS = tuple(EniPath(f"eni-{name}", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 1000) for name in "abc")
SPEC = BurstSpec(
    fleets=(FleetSpec("eth0", "02:00:00:00:00:01", PATHS, first_connection=300),),
    resolver_address=IPv4Address("100.64.0.3"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=1,
    engine="socket",
)


@given(st.integers(1, 100_000), st.integers(10, 20_000), st.integers(0, 50_000))
def test_parts_are_the_whole(connections: int, most: int, more: int) -> None:
    """None is too large, and connections and invocations add up."""
    whole = replace(SPEC, connections=connections, invocations=connections + more)
    parts = shares(whole, most)
    assert sum(part.connections for part in parts) == connections
    assert sum(part.offered for part in parts) == whole.offered
    assert all(0 < part.connections <= most for part in parts)


def test_one_part() -> None:
    """A burst that one process can make is the same burst."""
    assert shares(replace(SPEC, connections=18_000), 18_000) == [replace(SPEC, connections=18_000, invocations=18_000)]


def test_what_goes_with_time() -> None:
    """Rates, growth and concurrency are divided; nobody is left without an invocation at a time."""
    whole = replace(SPEC, connections=306, invocations=612, at_a_time=2)
    whole = replace(whole, arrivals=Arrivals(9.0, 30.0, 5.0), growth=Growth(9.0, 3.0))
    parts = shares(whole, 102)
    assert [part.arrivals for part in parts] == [Arrivals(3.0, 10.0, 5.0)] * 3
    assert [part.growth for part in parts] == [Growth(3.0, 1.0)] * 3
    assert [part.at_a_time for part in parts] == [1, 1, 1]


def _held(attempts: list[str]) -> int | None:
    """The definition: who held a connection when the first that was never answered was attempted."""
    if "lost" not in attempts:
        return None
    return attempts[: attempts.index("lost")].count("held")


@given(st.lists(st.tuples(st.sampled_from(["held", "refused", "lost"]), st.integers(0, 2))))
def test_threshold_of_parts(attempts: list[tuple[str, int]]) -> None:
    """Whoever made an attempt, the threshold is the whole burst's."""
    parts = [Threshold() for _ in range(3)]
    for place, (outcome, part) in enumerate(attempts):
        number, none = np.array([place], np.uint32), np.zeros(1, np.uint32)
        if outcome == "refused":
            parts[part].refused(number)
        if outcome == "lost":
            parts[part].lost(number, none, none)
    merged = Threshold()
    for threshold in parts:
        merged.merge(threshold)
    assert merged.value == _held([outcome for outcome, _ in attempts])


def test_threshold_over_time() -> None:
    """Once connections have begun to leave, those count that were open."""
    threshold = Threshold()
    threshold.lost(np.array([70, 50], np.uint32), np.array([9, 5], np.uint32), np.array([40, 30], np.uint32))
    assert threshold.value == 30


def test_counts_add_up() -> None:
    """Sums, histograms and the latest time."""
    parts = [Counts(attempted=3, established=2, last_settled_s=0.5), Counts(attempted=4, last_settled_s=0.2)]
    parts[0].established_at[0] = 2
    parts[1].connect.add(np.array([0.001, 0.1]))
    merged = Counts()
    for part in parts:
        merged.merge(part)
    assert (merged.attempted, merged.established, merged.last_settled_s) == (7, 2, 0.5)
    assert merged.established_at[0] == 2
    assert (merged.connect.bins.sum(), merged.connect.largest_s) == (2, 0.1)
    assert merged.dns.percentiles() is None


def test_merging_leaves_the_other_alone() -> None:
    """What is merged can be merged again, with what has come since."""
    part, merged = Counts(), Counts()
    part.dns.add(np.array([0.001]))
    merged.merge(part)
    merged.merge(part)
    assert (part.dns.bins.sum(), merged.dns.bins.sum()) == (1, 2)
    assert Latencies().bins.sum() == 0


def test_marks_of_two() -> None:
    """Two sums that grow at the same time grow together."""
    one, other = Marks(), Marks()
    for step in range(1, 5):
        one.add(step * 10, step * 1.0)
        other.add(step * 20, step * 2.0)
    one.merge(other)
    assert one.reached_s(np.array([20.0, 60.0])).tolist() == pytest.approx([1.0, 3.0])


def test_turns() -> None:
    """A turn tells how much all processes had attempted before, and what each reported in its last one."""
    turns = Turns(2)
    with turns.take(256, 256, leaving=3, established=100) as turn:
        assert turn == (0, 0, 3, 100)
    turns.process = 1
    with turns.take(10, 4, leaving=1, established=5) as turn:
        assert turn == (256, 256, 4, 105)
    turns.process = 0
    with turns.take(1, 0, leaving=9, established=90) as turn:
        assert turn == (266, 260, 10, 95)

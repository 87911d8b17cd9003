"""When clients send again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from traffic.schedule import fin_retries, look_up, request_retries, syn_count, syn_retransmissions

if TYPE_CHECKING:
    from traffic.spec import ResolverSchedule, SynSchedule


@pytest.mark.parametrize(
    ("schedule", "deadline_s", "syns"), [("classic", 30.0, 5), ("linear", 30.0, 9), ("classic", 127.0, 7)]
)
def test_syns_before_a_deadline(schedule: SynSchedule, deadline_s: float, syns: int) -> None:
    """A client of 30 s sends five SYNs on the classic schedule and nine on the linear one."""
    assert 1 + len(syn_retransmissions(schedule, deadline_s)) == syns


def test_the_deadline_comes_first() -> None:
    """A retransmission that falls on the deadline is not sent."""
    assert syn_retransmissions("classic", 3.0) == (1.0,)


def test_linear_is_the_kernel_s_own() -> None:
    """Linux 6.5 repeats the first timeout four times before it doubles, up to 67 s."""
    assert syn_retransmissions("linear", 131.0) == (1, 2, 3, 4, 5, 7, 11, 19, 35, 67)


@pytest.mark.parametrize(
    ("schedule", "patience_s", "times_s"),
    [
        ("single", 10.0, (1.0, 2.0, 4.0, 8.0, 10.0)),
        ("musl", 30.0, (2.5, 5.0)),
        ("musl", 2.0, (2.0,)),
        ("lambda-python", 30.0, (2.0, 4.0, 6.0, 8.0, 10.0)),
        ("node", 5.0, (2.0, 4.0, 5.0)),
    ],
)
def test_look_ups(schedule: ResolverSchedule, patience_s: float, times_s: tuple[float, ...]) -> None:
    """Questions are repeated at the library's times, the last of which, or the client's patience, ends the look-up."""
    assert look_up(schedule, patience_s).times_s == times_s


def test_requests_double_from_the_least_rto() -> None:
    """Requests are repeated 0.2 s after the first, and then after twice as long as before, up to the deadline."""
    assert request_retries(7.0) == pytest.approx((0.2, 0.6, 1.4, 3.0, 6.2))
    assert request_retries(0.2) == ()


def test_fins_are_repeated_soon() -> None:
    """FINs are repeated within the time that closing may take."""
    assert fin_retries() == (0.5, 1.0)


@pytest.mark.parametrize("schedule", ["classic", "linear"])
@pytest.mark.parametrize("deadline_s", [0.5, 1.0, 2.9, 3.0, 3.1, 7.0, 8.0, 15.0, 30.0, 63.0, 100.0])
def test_syn_count(schedule: SynSchedule, deadline_s: float) -> None:
    """The kernel stops at none of the retransmissions before the deadline, and at one before the second after it."""
    times_s = syn_retransmissions(schedule, 1e9)
    stops_s = next((time_s for time_s in times_s if time_s >= 2 ** (syn_count(schedule, deadline_s) + 1) - 1), 127.0)
    assert stops_s >= deadline_s
    assert syn_count(schedule, deadline_s) == 1 or stops_s <= 2 * deadline_s + 5


@pytest.mark.parametrize(("deadline_s", "count"), [(1, 1), (3, 1), (3.5, 2), (7, 2), (15, 3), (30, 4), (1000, 6)])
def test_syn_count_of_the_classic_schedule(deadline_s: float, count: int) -> None:
    """It is the number of retransmissions, where there is one at all."""
    assert syn_count("classic", deadline_s) == count

"""When each limit refused, and which one leads, out of made-up readings and samples."""

from __future__ import annotations

import pytest

from lab.diagnosis.limits import LimitAccount, RefusalHistory, in_order, leading
from lab.diagnosis.live import course
from lab.nodes.build import build
from lab.observe.limits import limits_of
from tests.support.tiny_lab import NOW_S, explained, limiters, reading, sample
from tests.support.topologies import shipped


def refusals(*packets: tuple[float, int]) -> tuple[float | None, float | None, int]:
    """When an ENI's refusals began, when the last was, and how many packets there were lately."""
    (limit,) = limits_of(limiters("eni-private-a"))
    history = RefusalHistory((limit,))
    for at_s, refused in packets:
        history.see(sample(at_s, {"eni-private-a": refused}))
    found = history.of(limit)
    return found.began_s, found.last_s, sum(n for _, n in found.lately)


@pytest.mark.parametrize(
    ("packets", "expected"),
    [
        (((1, 0), (2, 0)), (None, None, 0)),  # nothing
        (((1, 0), (2, 5), (3, 5)), (2, 2, 5)),  # at once
        (((1, 5), (2, 5)), (1, 1, 5)),  # before the first sample was taken
        (((1, 0), (2, 5), (4, 9), (8, 12)), (2, 8, 12)),  # retransmissions go on
        (((1, 0), (2, 5), (60, 9), (75, 9)), (2, 60, 0)),  # the last SYN of a patient client; over
        (((1, 0), (2, 5), (100, 9)), (100, 100, 4)),  # a pause: it began anew
    ],
)
def test_course(packets: tuple[tuple[float, int], ...], expected: tuple[float | None, float | None, int]) -> None:
    """Refusals belong together when no longer apart than a client's SYNs."""
    assert refusals(*packets) == expected


def test_the_kernel_s_clock_is_exact() -> None:
    """Samples are a second apart; the first refused tuple's age is not."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 2), sample(NOW_S - 1, {eni.node: 4}), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=1.25), samples=samples).refusing
    assert (account.began_s, account.last_s, account.recent_packets) == (NOW_S - 1.25, NOW_S, 8)


def test_while_nobody_took_samples() -> None:
    """What began meanwhile began when the kernel says, not when samples were taken again."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 600), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=300), samples=samples).refusing
    assert account.began_s == NOW_S - 300
    (account,) = explained(reading(eni, 20, 4, age_s=300), samples=samples[1:]).refusing
    assert account.began_s == NOW_S - 300


def test_a_first_refusal_of_another_time() -> None:
    """A tuple that is remembered from a load long ago does not date a new one."""
    eni = limiters("eni-private-a")[0]
    samples = (sample(NOW_S - 500, {eni.node: 4}), sample(NOW_S - 1, {eni.node: 4}), sample(NOW_S, {eni.node: 8}))
    (account,) = explained(reading(eni, 20, 4, age_s=500), samples=samples).refusing
    assert account.began_s == NOW_S


def test_what_refuses_now_comes_before_what_is_over() -> None:
    """Of limits that refused lately the one that began leads; one that has refused nothing since comes after them."""
    limit, *_ = limits_of(build(shipped("tiny")).limiters)
    times = ((100.0, 110.0), (160.0, 171.0), (150.0, 170.0))
    past, second, first = (LimitAccount(limit, 0, 5, 10, 20, began_s, last_s) for began_s, last_s in times)
    unasked = LimitAccount(limit, 0, 0, 0, 20)
    assert in_order([past, second, first, unasked]) == [first, second, past]
    assert leading([first, second, past]) == [first, second]


def test_limits_of_another_kind_do_not_lead() -> None:
    """Beside an ENI that was full first, another ENI is named, and no NAT gateway that was full after it."""
    of_node = {limit.first.node: limit for limit in limits_of(build(shipped("tiny")).limiters)}
    eni, other, natgw = (
        LimitAccount(of_node[node], 0, 5, 10, 20, began_s, 170.0)
        for node, began_s in (("eni-private-a", 150.0), ("eni-private-b", 160.0), ("natgw", 155.0))
    )
    assert leading(in_order([natgw, other, eni])) == [eni, other]


@pytest.mark.parametrize(
    ("held", "last_s", "told"),
    [
        (20, 3, "it is still full: 8 packets refused in the last 10 s, the last one 3 s ago"),
        (20, 40, "it is still full, and nothing has come for 40 s"),
        (19, 3, "it is over for now: the last refusal was 3 s ago, and 1 of 20 slots is free"),
        (7, 40, "it is over for now: the last refusal was 40 s ago, and 13 of 20 slots are free"),
        (
            *(7, 125),
            (
                "it is over for now: the last refusal was 2 min 5 s ago, and 13 of 20 slots are free; half-open "
                "connections that held slots then would have left them by now, so whether there were any only the "
                "burst's record tells (lab why last)"
            ),
        ),
    ],
)
def test_whether_it_is_over(held: int, last_s: float, told: str) -> None:
    """What was refused lately does not go on where there is room now, and where nothing comes it is told."""
    eni = limiters("eni-private-a")[0]
    samples = sample(NOW_S - 200), sample(NOW_S - last_s, {eni.node: 8}), sample(NOW_S, {eni.node: 8})
    (account,) = explained(reading(eni, held, 4, age_s=last_s), samples=samples).refusing
    assert course(account, NOW_S) == told

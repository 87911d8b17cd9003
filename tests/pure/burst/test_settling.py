"""Which slots are still taken when a burst's connections are closed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.burst.load import Load
from lab.burst.settling import still_taken
from lab.burst.spec import participants_of
from lab.nodes.build import build
from lab.observe.readings import Reading
from lab.slots.fill import Fill, HalfOpen
from lab.slots.limiter import Limiter
from tests.support.bursts import reading, seen
from tests.support.topologies import shipped

TINY = shipped("tiny")
PARTICIPANTS = participants_of(build(TINY), TINY, Load(40))


def held(limiter: Limiter, established: int, half_open: int, earlier: int) -> Reading:
    """A limiter that holds so many when the last invocation has its outcome."""
    fill = Fill(established, (HalfOpen("cache", half_open, 1, 119, 120, earlier),))
    return replace(reading(limiter, established + half_open), fill=fill)


@pytest.mark.parametrize(("timed_out", "left"), [(10, [5, 5, 0, 0]), (0, [0, 0, 0, 0])])
def test_half_open(timed_out: int, left: list[int]) -> None:
    """Each limiter's own half-open connections, less earlier ones; none of clients that were all answered."""
    enis = [held(limiter, 12, 8, 3) for limiter in PARTICIPANTS.limiters if limiter.destination is None]
    eips = [held(limiter, 15, 0, 0) for limiter in PARTICIPANTS.limiters if limiter.destination]
    remaining = still_taken(PARTICIPANTS, seen(30, timed_out), [*enis, *eips])
    assert (list(remaining.at_most.values()), remaining.in_enis) == (left, None)

"""Which connection is next: turns of the paths, rests, and nobody twice."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
import numpy as np
import pytest

from tests.support.examples import examples
from traffic.clients.free_list import FreeList


def _take(free_list: FreeList, limit: int, now_s: float) -> list[int]:
    return [int(index) for index in free_list.take(limit, now_s)]


def test_paths_take_turns() -> None:
    """Connections are taken in the order of their numbers, each next one behind the next ENI."""
    free_list = FreeList(connections=10, paths=3, rest_s=1.0)
    assert _take(free_list, 4, 0.0) == [0, 1, 2, 3]
    assert _take(free_list, 100, 0.0) == [4, 5, 6, 7, 8, 9]
    assert _take(free_list, 100, 0.0) == []


@pytest.mark.parametrize(("now_s", "free"), [(2.4, []), (2.499, []), (2.5, [0, 1, 2]), (9.0, [0, 1, 2])])
def test_who_has_ended_rests(now_s: float, free: list[int]) -> None:
    """A connection that was given back is taken again after its rest, not before."""
    free_list = FreeList(connections=3, paths=1, rest_s=2.0)
    free_list.release(free_list.take(3, 0.0), 0.5)
    assert _take(free_list, 3, now_s) == free


def test_what_was_not_used_needs_no_rest() -> None:
    """A connection of which no packet was sent is free at once, also while others rest."""
    free_list = FreeList(connections=4, paths=2, rest_s=2.0)
    free_list.release(free_list.take(2, 0.0), 0.0)
    free_list.give_back(free_list.take(2, 0.0))
    assert _take(free_list, 4, 0.0) == [2, 3]


def test_who_has_rested_longest_is_next() -> None:
    """Those that were never taken go first, then those that were given back, in that order."""
    free_list = FreeList(connections=6, paths=2, rest_s=1.0)
    first, second = free_list.take(2, 0.0), free_list.take(2, 0.0)
    free_list.release(second, 0.0)
    free_list.release(first, 0.1)
    assert _take(free_list, 2, 5.0) == [4, 5]
    assert _take(free_list, 4, 5.0) == [2, 3, 0, 1]


def test_a_path_without_free_connections_holds_the_others_back() -> None:
    """While the path whose turn it is has nothing free nobody goes: the ENIs' shares stay equal."""
    free_list = FreeList(connections=4, paths=2, rest_s=1.0)
    free_list.take(4, 0.0)
    free_list.release(np.array([0, 2]), 0.0)
    assert _take(free_list, 4, 1.0) == [0]
    assert _take(free_list, 4, 1.0) == []
    free_list.release(np.array([1]), 1.0)
    assert _take(free_list, 4, 2.0) == [1, 2]


class Comings(RuleBasedStateMachine):
    """Connections taken and given back at any time."""

    CONNECTIONS, PATHS, REST_S = 12, 3, 2.0

    def __init__(self) -> None:
        super().__init__()
        self.free_list = FreeList(self.CONNECTIONS, self.PATHS, self.REST_S)
        self.now_s = 0.0
        self.turn = 0
        self.used: list[int] = []
        self.ended_s: dict[int, float] = {}

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now_s += seconds

    @rule(limit=st.integers(0, 14))
    def take(self, limit: int) -> None:
        """Nobody who is in use or has not rested is taken, never too many, and each path in its turn."""
        taken = _take(self.free_list, limit, self.now_s)
        assert len(taken) == len(set(taken)) <= limit
        for index in taken:
            assert index not in self.used
            assert self.now_s >= self.ended_s.get(index, -self.REST_S) + self.REST_S
            assert index % self.PATHS == self.turn
            self.turn = (self.turn + 1) % self.PATHS
            self.used.append(index)
        if len(taken) < limit:
            assert not any(index % self.PATHS == self.turn for index in self._rested())

    def _rested(self) -> list[int]:
        idle = set(range(self.CONNECTIONS)) - set(self.used)
        return [index for index in idle if self.ended_s.get(index, -self.REST_S) + self.REST_S <= self.now_s]

    @precondition(lambda self: self.used)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Some have ended."""
        count = data.draw(st.integers(1, len(self.used)))
        ended, self.used = self.used[:count], self.used[count:]
        self.free_list.release(np.array(ended), self.now_s)
        self.ended_s.update(dict.fromkeys(ended, self.now_s))


TestComings = Comings.TestCase
TestComings.settings = settings(examples(30), stateful_step_count=25)

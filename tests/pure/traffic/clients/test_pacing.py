"""Windows: how many requests are on their way, each counted once, and written off when it has waited too long."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
import numpy as np

from tests.support.examples import examples
from traffic.clients.pacing import Pace, Window

_INDICES = st.lists(st.integers(0, 19), max_size=10)


class Traffic(RuleBasedStateMachine):
    """Requests and answers in any order, answers twice, or to nothing, or never."""

    SIZE, PATIENCE_S = 8, 1.0

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(20, Pace(self.SIZE, self.PATIENCE_S))
        self.now_s = 0.0
        self.outstanding: set[int] = set()
        self.sent: list[tuple[float, set[int]]] = []

    @rule(indices=st.sets(st.integers(0, 19), min_size=1, max_size=4))
    def send(self, indices: set[int]) -> None:
        """Requests go out; one that is on its way is sent again."""
        self.window.sent(np.array(sorted(indices)), self.now_s)
        self.outstanding |= indices
        self.sent.append((self.now_s + self.PATIENCE_S, indices))

    @rule(indices=_INDICES)
    def answer(self, indices: list[int]) -> None:
        """Answers come, perhaps the same one twice in a batch."""
        self.window.answered(np.array(indices, np.int64))
        self.outstanding -= set(indices)

    @rule(seconds=st.sampled_from((0.0, 0.4, 2.0)))
    def wait(self, seconds: float) -> None:
        """What has waited too long counts no more."""
        self.now_s += seconds
        self.window.expire(self.now_s)
        for due_s, indices in self.sent:
            self.outstanding -= indices if due_s <= self.now_s else set()
        self.sent = [request for request in self.sent if request[0] > self.now_s]

    @invariant()
    def counts(self) -> None:
        """What is free is what is not on its way."""
        assert self.window.free == self.SIZE - len(self.outstanding)
        assert self.window.next_expiry_s() == min((due_s for due_s, _ in self.sent), default=float("inf"))


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(examples(50), stateful_step_count=25)

"""What the packet engine remembers of each connection: arrays and transitions, no packets, clock or kernel.

    UNASKED → ASKING → ANSWERED → SYN_SENT → ESTABLISHED → CLOSING → CLOSED
                 ↓                   ↓  ↓         ↓            ↓
            DNS_FAILED       TIMED_OUT  REFUSED  RESET      ABANDONED

In ASKING, SYN_SENT and CLOSING a connection waits for an answer: its request is repeated at the times of the
state's schedule, and the last of them is when it gives up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["GIVEN_UP", "OUTCOMES", "Connections", "Due", "Indices", "State"]


class State(IntEnum):
    """Where a connection is in its life."""

    UNASKED = 0
    ASKING = 1
    ANSWERED = 2
    SYN_SENT = 3
    ESTABLISHED = 4
    CLOSING = 5
    CLOSED = 6
    DNS_FAILED = 7
    TIMED_OUT = 8
    REFUSED = 9
    RESET = 10
    ABANDONED = 11


GIVEN_UP: Final = {
    State.ASKING: State.DNS_FAILED,
    State.SYN_SENT: State.TIMED_OUT,
    State.CLOSING: State.ABANDONED,
}
"""Where waiting in vain leads."""

_AFTER_RST: Final = np.arange(len(State), dtype=np.uint8)
_AFTER_RST[State.SYN_SENT] = State.REFUSED
_AFTER_RST[State.ESTABLISHED] = State.RESET
_AFTER_RST[State.CLOSING] = State.CLOSED

OUTCOMES: Final = (
    State.ESTABLISHED,
    State.DNS_FAILED,
    State.TIMED_OUT,
    State.REFUSED,
    State.RESET,
)
"""States that end an invocation."""

_NEVER = np.float32(np.inf)

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Due:
    """Connections whose wait in one state has reached a time of its schedule."""

    state: State
    again: Indices
    """Those whose request is to be repeated."""
    given_up: Indices
    """Those that have just changed to the state of `GIVEN_UP`."""


class Connections:
    """All connections of a burst, 27 bytes each; methods take the indices of a batch.

    Times are seconds since the burst began; as 32-bit floats they are good to a millisecond for two hours.
    """

    def __init__(self, count: int, schedules_s: Mapping[State, Sequence[float]]) -> None:
        """Each waiting state's schedule ends with the time when to give up."""
        self.state = np.zeros(count, np.uint8)
        self.tries = np.zeros(count, np.uint8)
        self.destination = np.zeros(count, np.uint32)
        self.peer_sequence = np.zeros(count, np.uint32)
        self.first_syn_s = np.full(count, np.nan, np.float32)
        self.order = np.zeros(count, np.uint32)
        """Connections in the order of their answers, which is that of their first SYNs."""
        self.ready = 0
        """How many of `order` have an answer."""
        self.attempted = 0
        """How many of `order` have sent a SYN."""
        self.asked = 0
        self.syn_retransmissions = 0
        self.last_established_s = 0.0
        self._schedules_s = {state: np.asarray(times, np.float32) for state, times in schedules_s.items()}
        self._since_s = np.zeros(count, np.float32)
        self._due_s = np.full(count, _NEVER, np.float32)
        self._scratch = np.zeros(count, np.uint32)

    def __len__(self) -> int:
        return len(self.state)

    def counts(self) -> NDArray[np.int64]:
        """How many connections are in each state."""
        return np.bincount(self.state, minlength=len(State))

    def unfinished(self) -> int:
        """How many invocations have no outcome yet."""
        counts = self.counts()
        return len(self) - int(sum(counts[state] for state in OUTCOMES))

    def next_unasked(self, limit: int) -> Indices:
        """The next invocations that have not begun."""
        return np.arange(self.asked, min(self.asked + limit, len(self)))

    def next_ready(self, limit: int) -> Indices:
        """The next connections that know their server's address and have not called it."""
        return self.order[self.attempted : min(self.attempted + limit, self.ready)].astype(np.int64)

    def ask(self, indices: Indices, now_s: float) -> None:
        """The first queries go out."""
        self.asked += len(indices)
        self._begin(State.ASKING, indices, now_s)

    def answer(self, indices: Indices, addresses: NDArray[np.uint32]) -> None:
        """Answers came: remember the addresses, queue for the first SYN."""
        asking = self.state[indices] == State.ASKING
        self.destination[indices[asking]] = addresses[asking]
        fresh = self._distinct(indices[asking])
        self._settle(fresh, State.ANSWERED)
        self.order[self.ready : self.ready + len(fresh)] = fresh
        self.ready += len(fresh)

    def fail(self, indices: Indices) -> None:
        """The resolver said no."""
        self._settle(indices[self.state[indices] == State.ASKING], State.DNS_FAILED)

    def call(self, indices: Indices, now_s: float) -> None:
        """The first SYNs go out."""
        self.attempted += len(indices)
        self.first_syn_s[indices] = now_s
        self._begin(State.SYN_SENT, indices, now_s)

    def establish(self, indices: Indices, peer_sequences: NDArray[np.uint32], now_s: float) -> None:
        """SYN-ACKs came; those for connections that wait for none change nothing."""
        waiting = self.state[indices] == State.SYN_SENT
        fresh = indices[waiting]
        if len(fresh):
            self.peer_sequence[fresh] = peer_sequences[waiting] + np.uint32(1)
            self._settle(fresh, State.ESTABLISHED)
            self.last_established_s = now_s

    def reset(self, indices: Indices) -> None:
        """RSTs came: refused or reset, by state."""
        after = _AFTER_RST[self.state[indices]]
        moved = after != self.state[indices]
        self._settle(indices[moved], after[moved])

    def close(self, indices: Indices, now_s: float) -> None:
        """The first FINs go out."""
        self._begin(State.CLOSING, indices, now_s)

    def closed(self, indices: Indices) -> None:
        """FINs were answered."""
        self._settle(indices[self.state[indices] == State.CLOSING], State.CLOSED)

    def repeated(self, state: State, indices: Indices) -> None:
        """Requests went out again."""
        self.tries[indices] += 1
        if state is State.SYN_SENT:
            self.syn_retransmissions += len(indices)
        self._due_s[indices] = self._since_s[indices] + self._schedules_s[state][self.tries[indices] - 1]

    def due(self, now_s: float) -> list[Due]:
        """Whose time has come by now; each is named once, until its request is repeated."""
        indices = np.flatnonzero(self._due_s <= now_s)
        self._due_s[indices] = _NEVER
        states = self.state[indices]
        return [self._due_in(state, indices[states == state]) for state in GIVEN_UP if (states == state).any()]

    def _due_in(self, state: State, indices: Indices) -> Due:
        last = self.tries[indices] == len(self._schedules_s[state])
        given_up = indices[last]
        self._settle(given_up, GIVEN_UP[state])
        return Due(state, again=indices[~last], given_up=given_up)

    def _begin(self, state: State, indices: Indices, now_s: float) -> None:
        self.state[indices] = state
        self.tries[indices] = 1
        self._since_s[indices] = now_s
        self._due_s[indices] = now_s + self._schedules_s[state][0]

    def _settle(self, indices: Indices, state: State | NDArray[np.uint8]) -> None:
        self.state[indices] = state
        self._due_s[indices] = _NEVER

    def _distinct(self, indices: Indices) -> Indices:
        """The same indices without repetitions, in their order: one frame can come twice in a batch."""
        places = np.arange(len(indices), dtype=np.uint32)
        self._scratch[indices] = places
        kept: Indices = indices[self._scratch[indices] == places]
        return kept

"""The state of each connection: arrays and transitions, without packets, sockets, clock or kernel.

    FREE → ASKING → ANSWERED → SYN_SENT → ESTABLISHED ⇄ REQUESTING → CLOSING → CLOSED
             ↓                  ↓  ↓  ↓       ⇅  IDLE       ↓            ↓
        DNS_FAILED      TIMED_OUT  │  HALF_OPEN      RESET, CLOSED_BY_SERVER
                                REFUSED, WITHOUT_PORT                ABANDONED (of CLOSING)

With TLS its handshake, SECURING, comes between ESTABLISHED and the first request. In ASKING, SYN_SENT, SECURING,
REQUESTING and CLOSING a connection waits for an answer: its request is repeated at the times of
the state's schedule, and the last of them is when it gives up. ESTABLISHED and IDLE end with their schedule, if they
have one. With UDP a connection is a flow, and its first datagram is what it has for a SYN.

One whose environment has no descriptor left goes from FREE to NO_DESCRIPTOR, and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from traffic.clients.counts import Counts, Tally
from traffic.clients.threshold import Threshold
from traffic.result import CONNECTION_ENDED
from traffic.schedule import LookUp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "AAAA",
    "GIVEN_UP",
    "IS_OPEN",
    "OPEN",
    "UNDER_WAY",
    "WAITING",
    "A",
    "Connections",
    "Due",
    "Indices",
    "State",
    "among",
]


class State(IntEnum):
    """States of a connection."""

    FREE = 0
    ASKING = 1
    ANSWERED = 2
    SYN_SENT = 3
    ESTABLISHED = 4
    REQUESTING = 5
    IDLE = 6
    CLOSING = 7
    CLOSED = 8
    DNS_FAILED = 9
    TIMED_OUT = 10
    REFUSED = 11
    RESET = 12
    ABANDONED = 13
    HALF_OPEN = 14
    CLOSED_BY_SERVER = 15
    SECURING = 16
    NO_DESCRIPTOR = 17
    WITHOUT_PORT = 18


def among(*states: State) -> NDArray[np.bool_]:
    """A table to look states up in, `among(…)[states]`: ten times as fast as `np.isin` on a batch."""
    table = np.zeros(len(State), np.bool_)
    table[list(states)] = True
    return table


WAITING: Final = (State.ASKING, State.SYN_SENT, State.SECURING, State.REQUESTING, State.CLOSING)
OPEN: Final = (State.ESTABLISHED, State.SECURING, State.REQUESTING, State.IDLE)

GIVEN_UP: Final = {
    State.ASKING: State.DNS_FAILED,
    State.SYN_SENT: State.TIMED_OUT,
    State.SECURING: State.ESTABLISHED,  # the caller closes it
    State.REQUESTING: State.ESTABLISHED,  # the same
    State.CLOSING: State.ABANDONED,
    State.ESTABLISHED: State.ESTABLISHED,  # the caller decides what follows
    State.IDLE: State.IDLE,
}
"""The state after a deadline has passed."""

IS_OPEN: Final = among(*OPEN)
UNDER_WAY: Final = among(
    State.ASKING, State.ANSWERED, State.SYN_SENT, State.ESTABLISHED, State.SECURING, State.REQUESTING, State.HALF_OPEN,
    State.CLOSING,
)  # fmt: skip
"""An invocation has the connection; an idle one waits for another."""
_HAS_BEGUN: Final = among(*OPEN, State.CLOSING)

_AFTER_RST: Final = np.arange(len(State), dtype=np.uint8)
_AFTER_RST[State.SYN_SENT] = State.REFUSED
_AFTER_RST[State.ESTABLISHED] = State.RESET
_AFTER_RST[State.SECURING] = State.RESET
_AFTER_RST[State.REQUESTING] = State.RESET
_AFTER_RST[State.IDLE] = State.RESET
_AFTER_RST[State.CLOSING] = State.CLOSED

_NEVER = np.inf
_COUNTLESS = np.uint16(0xFFFF)

A, AAAA = 1, 2
"""A look-up's questions, as bits of `Connections.missing`."""
_SINGLE = LookUp((), 0.0)

Indices = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Due:
    """Connections whose time in a state has reached a time of the state's schedule."""

    state: State
    again: Indices
    """Connections whose request is to be repeated."""
    given_up: Indices
    """Connections whose deadline has passed; they are in the state of `GIVEN_UP` now."""
    half_answered: Indices
    """Connections whose look-up ends with the A record alone; they are in ANSWERED now."""


class Connections:
    """All connections of a burst, 52 bytes each; methods take the indices of a batch.

    Times are seconds since the burst began.
    """

    def __init__(
        self,
        count: int,
        schedules_s: Mapping[State, Sequence[float]],
        requests: int | None = 0,
        look_up: LookUp = _SINGLE,
        fleets: int = 1,
    ) -> None:
        """The last time of a waiting state's schedule is its deadline; a state without a schedule lasts."""
        self.counts = Counts(tally=Tally(fleets))
        self.state = np.zeros(count, np.uint8)
        self.tries = np.zeros(count, np.uint8)
        self.missing = np.zeros(count, np.uint8)
        """Which questions of its look-up have no answer yet: `A` and `AAAA`."""
        self.destination = np.zeros(count, np.uint32)
        self._addresses = np.zeros((count, 1), np.uint32)
        """The addresses that its name has, in numeric order; fewer than the row has room for come after zeros."""
        self.attempt = np.zeros(count, np.uint32)
        """Which attempt of the burst it is, in the order of first SYNs."""
        self.since_s = np.zeros(count)
        """When it entered its state."""
        self.requests_left = np.zeros(count, np.uint16)
        self.left_before = np.zeros(count, np.uint32)
        """How many had ended, or begun to, when it was attempted."""
        self.open_before = np.zeros(count, np.uint32)
        """How many were established then."""
        self._requests = _COUNTLESS if requests is None else np.uint16(requests)
        self._schedules_s = {state: np.asarray(times, np.float64) for state, times in schedules_s.items()}
        self._look_up, self._questions = look_up, np.uint8(A | AAAA if look_up.pair else A)
        self._by_tcp = np.zeros(count, np.bool_)
        """Which look-ups go on over TCP."""
        self._due_s = np.full(count, _NEVER)
        self._scratch = np.zeros(count, np.uint32)
        self.threshold = Threshold()

    def __len__(self) -> int:
        return len(self.state)

    def in_state(self, *states: State) -> Indices:
        """Which connections are in one of these states."""
        return np.flatnonzero(among(*states)[self.state])

    def throttle(self, fleet: int, invocations: int) -> None:
        """Invocations of a fleet found its reserved concurrency in use: they have their outcome."""
        self.counts.throttled += invocations
        self.counts.settled += invocations
        self.counts.tally.add("throttled", np.full(invocations, fleet))

    # DNS

    def ask(self, indices: Indices, now_s: float) -> None:
        """The first queries are sent."""
        self.counts.asked += len(indices)
        self.counts.tally.add("asked", indices)
        self.missing[indices] = self._questions
        self._by_tcp[indices] = False
        self.counts.questions += self._count_missing(indices)
        self._begin(State.ASKING, indices, now_s)

    def answer(self, indices: Indices, addresses: NDArray[np.uint32], now_s: float) -> Indices:
        """A records came, a row of addresses for each; returns the connections that waited for nothing else."""
        asking = self.state[indices] == State.ASKING
        self._learn(indices[asking], addresses[asking])
        return self._answered(indices[asking], A, now_s)

    def _learn(self, indices: Indices, addresses: NDArray[np.uint32]) -> None:
        wanted = addresses.shape[1]
        if wanted > self._addresses.shape[1]:
            self._addresses = np.pad(self._addresses, ((0, 0), (wanted - self._addresses.shape[1], 0)))
        self._addresses[indices] = 0
        self._addresses[indices, -wanted:] = np.sort(addresses, axis=1)
        self.destination[indices] = self._addresses[indices, -1]

    def choose(self, indices: Indices, turns: Indices) -> None:
        """Of several addresses, each calls the one whose turn it is.

        Not the first of its answer: which answer has which order depends on who asked when, and who asked again.
        """
        addresses = self._addresses[indices]
        width = addresses.shape[1]
        if width > 1:
            known = np.maximum(np.count_nonzero(addresses, axis=1), 1)
            self.destination[indices] = addresses[np.arange(len(indices)), width - known + turns % known]

    def no_data(self, indices: Indices, now_s: float) -> Indices:
        """There is no AAAA record (RFC 2308: NODATA); returns the connections that waited for nothing else."""
        return self._answered(indices[self.state[indices] == State.ASKING], AAAA, now_s)

    def _answered(self, indices: Indices, question: int, now_s: float) -> Indices:
        waiting = self._distinct(indices[(self.missing[indices] & question) != 0])
        self.counts.replies += int(np.count_nonzero(~self._by_tcp[waiting]))
        self.missing[waiting] ^= question
        fresh: Indices = waiting[self.missing[waiting] == 0]
        self._know_names(fresh, now_s)
        return fresh

    def truncated(self, indices: Indices) -> Indices:
        """Truncated answers came, each answering a datagram; returns the look-ups that are to go on over TCP.

        Nothing is repeated any more but what the kernel's TCP repeats, for as long as the client waits.
        """
        self.counts.replies += len(indices)
        fresh = self._distinct(indices[(self.state[indices] == State.ASKING) & ~self._by_tcp[indices]])
        self._by_tcp[fresh] = True
        self._due_s[fresh] = self.since_s[fresh] + self._look_up.patience_s
        return fresh

    def asked_over_tcp(self, index: int, again: int) -> None:
        """A look-up has sent its SYN, and repeated it so many times."""
        self.tries[index] += again
        self.counts.questions += 1 + again

    def no_descriptor(self, indices: Indices, *, for_questions: bool) -> None:
        """The socket for their questions, or else for their SYN, was not opened: EMFILE."""
        if for_questions:
            self.counts.asked += len(indices)
            self.counts.dns_emfile += len(indices)
        else:
            self.counts.tcp_emfile += len(indices)
        self.counts.tally.add("asked" if for_questions else "attempted", indices)
        self.counts.tally.add("emfile", indices)
        self._settle(indices, State.NO_DESCRIPTOR)

    def _know_names(self, indices: Indices, now_s: float) -> None:
        self.counts.dns.add(now_s - self.since_s[indices])
        self.counts.answered += len(indices)
        self.counts.tally.add("answered", indices)
        self.counts.answered_late += int((self.tries[indices] > 1).sum())
        self._settle(indices, State.ANSWERED)

    def _count_missing(self, indices: Indices) -> int:
        missing = self.missing[indices]
        return int(np.count_nonzero(missing & A) + np.count_nonzero(missing & AAAA))

    def know(self, indices: Indices, addresses: Sequence[int]) -> None:
        """The addresses are known without a query."""
        self._learn(indices, np.tile(np.array(addresses, np.uint32), (len(indices), 1)))
        self._settle(indices, State.ANSWERED)

    def fail(self, indices: Indices) -> Indices:
        """The resolver answered without an address; returns the connections that waited for it."""
        fresh = self._distinct(indices[self.state[indices] == State.ASKING])
        self._settle(fresh, State.DNS_FAILED)
        # The other question has the same answer, and no client waits for it.
        self.counts.replies += self._count_missing(fresh[~self._by_tcp[fresh]])
        self.counts.dns_failed += len(fresh)
        self.counts.tally.add("dns_failed", fresh)
        self.counts.dns_denied += len(fresh)
        self.counts.answered_late += int((self.tries[fresh] > 1).sum())
        return fresh

    # Connecting

    def call(self, indices: Indices, now_s: float) -> None:
        """The first SYNs are sent."""
        counts = self.counts
        self.number(indices, counts.attempted, counts.leaving, counts.open)
        self.requests_left[indices] = self._requests
        counts.attempted += len(indices)
        counts.tally.add("attempted", indices)
        counts.syns += len(indices)
        counts.last_settled_s = now_s
        counts.marks.add(counts.attempted, now_s)
        self._begin(State.SYN_SENT, indices, now_s)

    def number(self, indices: Indices, attempted: int, leaving: int, established: int) -> None:
        """The counts before these first SYNs: of all processes, where each has a share of the burst."""
        self.attempt[indices] = attempted + np.arange(len(indices))
        self.left_before[indices] = leaving
        self.open_before[indices] = established

    def sent_again(self, indices: Indices, times: NDArray[np.int64], challenges: NDArray[np.int64]) -> None:
        """The kernel has repeated the SYNs so many times, in answer to so many challenge ACKs."""
        self.tries[indices] = 1 + times
        self.counts.syns += int(times.sum())
        self.counts.challenged_syns += int(challenges.sum())
        waits = self.state[indices] == State.SYN_SENT
        self.counts.challenged += int((waits & (times > 0) & (challenges == times)).sum())

    def establish(self, indices: Indices, now_s: float) -> Indices:
        """SYN-ACKs came; returns the connections that waited for one."""
        fresh = self._distinct(indices[self.state[indices] == State.SYN_SENT])
        if len(fresh):
            counts = self.counts
            counts.connect.add(now_s - self.since_s[fresh])
            counts.established += len(fresh)
            counts.tally.add("established", fresh)
            counts.last_settled_s = now_s
            places = np.minimum(self.tries[fresh], len(counts.established_at)) - 1
            counts.established_at += np.bincount(places, minlength=len(counts.established_at))
            self.engage(fresh)
        return fresh

    def half_open(self, indices: Indices, now_s: float) -> Indices:
        """SYN-ACKs came that are not to be acknowledged; returns the connections that waited for one."""
        fresh = self._distinct(indices[self.state[indices] == State.SYN_SENT])
        self.counts.half_open += len(fresh)
        self.counts.tally.add("half_open", fresh)
        self.counts.last_settled_s = now_s
        self._settle(fresh, State.HALF_OPEN)
        return fresh

    def without_port(self, indices: Indices) -> Indices:
        """No SYN could be sent; returns the connections that were to send one."""
        fresh = self._distinct(indices[self.state[indices] == State.SYN_SENT])
        self.counts.without_port += len(fresh)
        self.counts.syns -= len(fresh)
        self.threshold.lost(self.attempt[fresh], self.left_before[fresh], self.open_before[fresh])
        self._settle(fresh, State.WITHOUT_PORT)
        return fresh

    # Established

    def secure(self, indices: Indices, now_s: float) -> None:
        """ESTABLISHED → SECURING: TLS handshakes begin."""
        self.counts.tls_attempted += len(indices)
        self._begin(State.SECURING, indices, now_s)

    def secured(self, indices: Indices, now_s: float) -> Indices:
        """Handshakes are complete; returns the connections that waited for it."""
        fresh = self._distinct(indices[self.state[indices] == State.SECURING])
        self.counts.tls.add(now_s - self.since_s[fresh])
        self.engage(fresh)
        return fresh

    def insecure(self, indices: Indices, reason: str) -> Indices:
        """Handshakes have failed for a reason; returns the connections that waited for them, which are still open."""
        fresh = self._distinct(indices[self.state[indices] == State.SECURING])
        self.counts.tls_failures[reason] += len(fresh)
        self.engage(fresh)
        return fresh

    def request(self, indices: Indices, now_s: float) -> None:
        """ESTABLISHED → REQUESTING: requests are sent."""
        self.counts.requests += len(indices)
        self._begin(State.REQUESTING, indices, now_s)

    def respond(self, indices: Indices, now_s: float) -> Indices:
        """Responses came; returns the connections that waited for one."""
        fresh = self._distinct(indices[self.state[indices] == State.REQUESTING])
        self.counts.responses += len(fresh)
        self.counts.request.add(now_s - self.since_s[fresh])
        self.requests_left[fresh] -= self.requests_left[fresh] != _COUNTLESS
        self.engage(fresh)
        return fresh

    def engage(self, indices: Indices) -> None:
        """They are established and in use, which no schedule ends."""
        self._settle(indices, State.ESTABLISHED)

    def stay(self, state: State, indices: Indices, now_s: float) -> None:
        """They are in a state that waits for nothing, for as long as its schedule says."""
        self.state[indices] = state
        self.since_s[indices] = now_s
        self._due_s[indices] = now_s + self._schedules_s[state][0] if state in self._schedules_s else _NEVER

    # Ending

    def reset(self, indices: Indices) -> tuple[Indices, Indices]:
        """RSTs came; returns the connections that were refused, and those that were open or closing."""
        indices = self._distinct(indices)
        before = self.state[indices]
        after = _AFTER_RST[before]
        refused = indices[before == State.SYN_SENT]
        ended = indices[_HAS_BEGUN[before]]
        if securing := int((before == State.SECURING).sum()):
            self.counts.tls_failures[CONNECTION_ENDED] += securing
        moved = after != before
        self._settle(indices[moved], after[moved])
        self.counts.refused += len(refused)
        self.counts.tally.add("refused", refused)
        self.threshold.refused(self.attempt[refused])
        were_open = int(np.count_nonzero(IS_OPEN[before]))
        self.counts.tally.add("reset", indices[IS_OPEN[before]])
        self.counts.reset += were_open
        self.counts.leaving += were_open
        self.counts.closed += int((before == State.CLOSING).sum())
        self.counts.ended += len(ended)
        return refused, ended

    def close_by_server(self, indices: Indices) -> Indices:
        """The server's FINs came first; returns the connections that were open."""
        ended = self._distinct(indices[IS_OPEN[self.state[indices]]])
        if securing := int((self.state[ended] == State.SECURING).sum()):
            self.counts.tls_failures[CONNECTION_ENDED] += securing
        self.counts.closed_by_server += len(ended)
        self.counts.tally.add("closed_by_server", ended)
        self.counts.leaving += len(ended)
        self.counts.ended += len(ended)
        self._settle(ended, State.CLOSED_BY_SERVER)
        return ended

    def close(self, indices: Indices, now_s: float) -> None:
        """The first FINs are sent."""
        self.counts.leaving += len(indices)
        self._begin(State.CLOSING, indices, now_s)

    def closed(self, indices: Indices) -> Indices:
        """FINs were answered; returns the connections that waited for that."""
        fresh = self._distinct(indices[self.state[indices] == State.CLOSING])
        self.counts.closed += len(fresh)
        self.counts.ended += len(fresh)
        self._settle(fresh, State.CLOSED)
        return fresh

    # Time

    def repeated(self, state: State, indices: Indices) -> None:
        """Requests were sent again: wait for their schedule's next time."""
        self.tries[indices] += 1
        if state is State.SYN_SENT:
            self.counts.syns += len(indices)
        elif state is State.ASKING:
            if not self._look_up.keeps_half:
                self.missing[indices] = self._questions
            self.counts.questions += self._count_missing(indices)
        self._due_s[indices] = self.since_s[indices] + self._schedules_s[state][self.tries[indices] - 1]

    def due(self, now_s: float) -> list[Due]:
        """Connections with something due by now; each is returned once, until its request is repeated."""
        indices = np.flatnonzero(self._due_s <= now_s)
        self._due_s[indices] = _NEVER
        states = self.state[indices]
        return [self._due_in(state, indices[states == state], now_s) for state in GIVEN_UP if (states == state).any()]

    def _due_in(self, state: State, indices: Indices, now_s: float) -> Due:
        waits, half = state in WAITING, np.zeros(len(indices), np.bool_)
        last = self.tries[indices] == len(self._schedules_s[state]) if waits else np.ones(len(indices), np.bool_)
        if state is State.ASKING:
            half = self._takes_half(indices)
            last = (last | self._by_tcp[indices] | self._has_asked_in_vain(indices)) & ~half
            self._know_names(indices[half], now_s)
        given_up = indices[last]
        self._settle(given_up, GIVEN_UP[state])
        match state:
            case State.ASKING:
                self.counts.dns_failed += len(given_up)
                self.counts.tally.add("dns_failed", given_up)
            case State.SYN_SENT:
                self.counts.timed_out += len(given_up)
                self.counts.tally.add("timed_out", given_up)
                self.threshold.lost(self.attempt[given_up], self.left_before[given_up], self.open_before[given_up])
            case State.CLOSING:
                self.counts.abandoned += len(given_up)
                self.counts.ended += len(given_up)
        return Due(state, again=indices[~last & ~half], given_up=given_up, half_answered=indices[half])

    def _has_asked_in_vain(self, indices: Indices) -> NDArray[np.bool_]:
        """Which look-ups end because none of their questions was answered, so many times."""
        attempts = self._look_up.attempts
        if attempts is None:
            return np.zeros(len(indices), np.bool_)
        return np.asarray((self.tries[indices] >= attempts) & (self.missing[indices] == self._questions))

    def _takes_half(self, indices: Indices) -> NDArray[np.bool_]:
        """Which look-ups end with an A record, and without an answer to the other question."""
        attempts = self._look_up.half_attempts
        if attempts is None:
            return np.zeros(len(indices), np.bool_)
        return np.asarray((self.tries[indices] >= attempts) & (self.missing[indices] == AAAA))

    def _begin(self, state: State, indices: Indices, now_s: float) -> None:
        self.state[indices] = state
        self.tries[indices] = 1
        self.since_s[indices] = now_s
        self._due_s[indices] = now_s + self._schedules_s[state][0]

    def _settle(self, indices: Indices, state: State | NDArray[np.uint8]) -> None:
        self.state[indices] = state
        self._due_s[indices] = _NEVER

    def _distinct(self, indices: Indices) -> Indices:
        """The same indices without repetitions, in their order: a frame can come twice in a batch."""
        places = np.arange(len(indices), dtype=np.uint32)
        self._scratch[indices] = places
        kept: Indices = indices[self._scratch[indices] == places]
        return kept

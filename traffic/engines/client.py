"""The clients of a burst: frames in, frames out, at times that the caller tells; no kernel, no clock.

Three exchanges follow one another: a DNS question, a SYN and, at the end, a FIN. They differ in the state in
which they wait, in their frames and in where fresh connections come from; pacing and repetition are the same.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from traffic import frames as f
from traffic.engines.client_state import Connections, Indices, State
from traffic.engines.pacing import Rate, Window
from traffic.schedule import dns_retries, fin_retries, syn_retransmissions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from traffic.engines.wire import Segments, Wire
    from traffic.frames import Batch
    from traffic.spec import BurstSpec

__all__ = ["BATCH", "Client"]

BATCH = 256
"""Frames sent at once: a quarter of the smallest queue on the way (net.core.netdev_max_backlog = 1000)."""

_DNS_WINDOW = 1024
_TCP_WINDOW = 4096
_PATIENCE_S = 0.05
"""Many round trips of the lab, even on a busy machine, and far less than the first retransmission."""

_CLOSE_DEADLINE_S = 2.0


@dataclass(slots=True)
class _Exchange:
    """One kind of request: what waits, what goes out next."""

    state: State
    window: Window
    fresh: Callable[[int, float], Indices]
    """The next connections to make this request for the first time, at most so many."""
    begin: Callable[[Indices, float], None]
    build: Callable[[Indices], Batch]
    again: deque[Indices] = field(default_factory=deque)
    """Connections that are to repeat it, unless an answer comes first."""

    def take_again(self, limit: int, states: NDArray[np.uint8]) -> Indices:
        taken = [np.zeros(0, np.int64)]
        while self.again and limit > 0:
            indices = self.again.popleft()
            indices = indices[states[indices] == self.state]
            if len(indices) > limit:
                self.again.appendleft(indices[limit:])
            taken.append(indices[:limit])
            limit -= len(taken[-1])
        return np.concatenate(taken)


class Client:
    """Every client of one burst."""

    def __init__(self, spec: BurstSpec, wire: Wire) -> None:
        self.connections = Connections(spec.connections, _schedules(spec))
        self._wire = wire
        self._rate = Rate(spec.rate_per_s)
        self._to_close: Indices = np.zeros(0, np.int64)
        self._exchanges = {exchange.state: exchange for exchange in self._make_exchanges(spec.connections)}

    def _make_exchanges(self, count: int) -> Iterator[_Exchange]:
        """Later steps first: what has begun goes on before anything new begins."""
        known = self.connections
        closing = Window(count, _TCP_WINDOW, _PATIENCE_S)
        yield _Exchange(State.CLOSING, closing, self._next_to_close, known.close, self._fins)
        calling = Window(count, _TCP_WINDOW, _PATIENCE_S)
        yield _Exchange(State.SYN_SENT, calling, lambda limit, _: known.next_ready(limit), known.call, self._syns)
        asking = Window(count, _DNS_WINDOW, _PATIENCE_S)
        yield _Exchange(State.ASKING, asking, self._next_unasked, known.ask, self._wire.queries)

    # Sending

    def transmit(self, now_s: float) -> Iterator[Batch]:
        """What may go out now: at most one batch of each kind."""
        for exchange in self._exchanges.values():
            exchange.window.expire(now_s)
            limit = min(BATCH, exchange.window.free)
            if limit > 0 and (batch := self._request(exchange, limit, now_s)) is not None:
                yield batch

    def _request(self, exchange: _Exchange, limit: int, now_s: float) -> Batch | None:
        again = exchange.take_again(limit, self.connections.state)
        fresh = exchange.fresh(limit - len(again), now_s)
        indices = np.concatenate((again, fresh))
        if not len(indices):
            return None
        if len(again):
            self.connections.repeated(exchange.state, again)
        if len(fresh):
            exchange.begin(fresh, now_s)
        exchange.window.sent(indices, now_s)
        return exchange.build(indices)

    def _next_unasked(self, limit: int, now_s: float) -> Indices:
        allowed = self._rate.allowed(now_s) - self.connections.asked
        return self.connections.next_unasked(int(min(limit, max(allowed, 0))))

    def _next_to_close(self, limit: int, _now_s: float) -> Indices:
        some, self._to_close = self._to_close[:limit], self._to_close[limit:]
        still: Indices = some[self.connections.state[some] == State.ESTABLISHED]
        return still

    def next_wake_s(self) -> float:
        """When `transmit` may have something to do although nothing came in."""
        full = (each.window.next_expiry_s() for each in self._exchanges.values() if each.window.free <= 0)
        begun = self.connections.asked
        fresh = self._rate.next_s(begun) if begun < len(self.connections) else float("inf")
        if self._exchanges[State.ASKING].window.free <= 0:
            fresh = float("inf")
        return min(fresh, *full, float("inf"))

    # Time

    def tick(self, now_s: float) -> Iterator[Batch]:
        """Queue the repetitions whose time has come; give up where it has run out."""
        for due in self.connections.due(now_s):
            if len(due.again):
                self._exchanges[due.state].again.append(due.again)
            if due.state is State.CLOSING:
                yield from self._resets(due.given_up, sent=2)

    # Receiving

    def receive(self, batch: Batch, lengths: NDArray[np.uint32], now_s: float) -> Iterator[Batch]:
        """Take in frames; yield those that answer them."""
        answered, segments = self._wire.read(batch, lengths)
        if len(answered.good):
            self.connections.answer(answered.good, answered.addresses)
            self._exchanges[State.ASKING].window.answered(answered.good)
        if len(answered.bad):
            self.connections.fail(answered.bad)
            self._exchanges[State.ASKING].window.answered(answered.bad)
        if len(segments.indices):
            from_server = segments.source == self.connections.destination[segments.indices]
            yield from self._segments(segments.where(from_server), now_s)

    def _segments(self, segments: Segments, now_s: float) -> Iterator[Batch]:
        for flags, acknowledged, handle in (
            (f.SYN | f.ACK, 1, self._syn_acks),
            (f.FIN | f.ACK, 2, self._fin_acks),
        ):
            chosen = (segments.flags == flags) & (segments.acknowledged == acknowledged)
            if chosen.any():
                yield from handle(segments.where(chosen), now_s)
        reset = (segments.flags & f.RST) != 0
        if reset.any():
            self._rsts(segments.where(reset))

    def _rsts(self, segments: Segments) -> None:
        """Refused or reset; while a SYN waits, only a RST that acknowledges it counts (RFC 9293, SYN-SENT)."""
        waiting = self.connections.state[segments.indices] == State.SYN_SENT
        indices = segments.indices[~waiting | (segments.acknowledged == 1)]
        self.connections.reset(indices)
        self._exchanges[State.SYN_SENT].window.answered(indices)
        self._exchanges[State.CLOSING].window.answered(indices)

    def _syn_acks(self, segments: Segments, now_s: float) -> Iterator[Batch]:
        """ACK for those that wait, and for repetitions; RST for those that have given up."""
        known = self.connections
        known.establish(segments.indices, segments.sequence, now_s)
        self._exchanges[State.SYN_SENT].window.answered(segments.indices)
        established = known.state[segments.indices] == State.ESTABLISHED
        if established.any():
            yield self._acks(segments.indices[established], sent=1)
        if not established.all():
            late = segments.indices[~established]
            late = late[np.isin(known.state[late], (State.TIMED_OUT, State.REFUSED, State.RESET))]
            yield from self._plain_resets(late)

    def _fin_acks(self, segments: Segments, _now_s: float) -> Iterator[Batch]:
        known = self.connections
        known.closed(segments.indices)
        self._exchanges[State.CLOSING].window.answered(segments.indices)
        closed = segments.indices[known.state[segments.indices] == State.CLOSED]
        if len(closed):
            yield self._acks(closed, sent=2, received=1)

    # Frames

    def _syns(self, indices: Indices) -> Batch:
        return self._wire.syns(indices, self.connections.destination[indices])

    def _fins(self, indices: Indices) -> Batch:
        return self._segment(indices, f.FIN | f.ACK, sent=1)

    def _acks(self, indices: Indices, sent: int, received: int = 0) -> Batch:
        return self._segment(indices, f.ACK, sent, received)

    def _segment(self, indices: Indices, flags: int, sent: int, received: int = 0) -> Batch:
        known = self.connections
        acknowledged = known.peer_sequence[indices] + np.uint32(received)
        return self._wire.segments(indices, known.destination[indices], flags, sent, acknowledged)

    def _resets(self, indices: Indices, sent: int) -> Iterator[Batch]:
        for chunk in _chunks(indices):
            yield self._segment(chunk, f.RST | f.ACK, sent)

    def _plain_resets(self, indices: Indices) -> Iterator[Batch]:
        """RSTs without an ACK, for connections whose peer is unknown (RFC 9293 section 3.5.2)."""
        for chunk in _chunks(indices):
            nothing = np.zeros(len(chunk), np.uint32)
            yield self._wire.segments(chunk, self.connections.destination[chunk], f.RST, 1, nothing)

    # The end

    def begin_closing(self) -> None:
        """From now on, `transmit` closes what is established."""
        self._to_close = np.flatnonzero(self.connections.state == State.ESTABLISHED)

    def is_closing(self) -> bool:
        """Whether anything is still to be closed."""
        return bool(len(self._to_close)) or bool((self.connections.state == State.CLOSING).any())

    def abort(self) -> Iterator[Batch]:
        """A RST for all that is open or half-open."""
        state = self.connections.state
        yield from self._plain_resets(np.flatnonzero(state == State.SYN_SENT))
        yield from self._resets(np.flatnonzero(state == State.ESTABLISHED), sent=1)
        yield from self._resets(np.flatnonzero(state == State.CLOSING), sent=2)


def _schedules(spec: BurstSpec) -> Mapping[State, Sequence[float]]:
    """When each request is repeated, and when it is given up."""
    deadline_s = spec.connect_timeout_s
    return {
        State.ASKING: (*dns_retries(deadline_s), deadline_s),
        State.SYN_SENT: (*syn_retransmissions(spec.syn_schedule, deadline_s), deadline_s),
        State.CLOSING: (*fin_retries(), _CLOSE_DEADLINE_S),
    }


def _chunks(indices: Indices) -> Iterator[Indices]:
    return (indices[start : start + BATCH] for start in range(0, len(indices), BATCH))

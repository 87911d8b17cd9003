"""The clients of a burst: which connection sends a query, SYN, request or FIN when; the caller passes the time.

Exchanges follow one another: a DNS query, a SYN, perhaps a TLS handshake, requests, a FIN. They differ in the state in
which a connection waits for the answer, and in where new ones come from; pacing and repetition are the same. A
transport sends them.

    invocation ──┬── an open connection is idle ────────────────────────┐
                 └── question → SYN → established (→ TLS) ──→ requests ─┴→ held or idle → closed
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.callers import callers_of, in_turn
from traffic.clients.descriptors import Descriptors, descriptors_of
from traffic.clients.pacing import Pace, Window
from traffic.clients.state import IS_OPEN, OPEN, Connections, Indices, State, among
from traffic.clients.turn_queue import TurnQueue
from traffic.schedule import fin_retries, look_up, request_retries, syn_retransmissions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from traffic.clients.transport import Handshakes, Transport
    from traffic.schedule import LookUp
    from traffic.spec import BurstSpec

__all__ = ["BATCH", "Client", "connections_of"]

BATCH = 320
"""Requests sent at once: a third of the smallest queue on the way (net.core.netdev_max_backlog = 1000)."""

_PATIENCE_S = 0.05
"""Many round trips of the lab, even on a busy machine, and far less than the first retransmission."""
_QUESTIONS = Pace(1024, _PATIENCE_S)
_CALLS = Pace(4096, _PATIENCE_S)
_HANDSHAKES = Pace(256, 1.0)
"""So few that a server in Python answers them before clients give up: 5,000 TLS handshakes a second on a processor."""

_ANSWERED_WITHIN_S = 1.0
"""Where functions take turns, a SYN waits so long for those before it: no longer than until a question is repeated."""
_CLOSE_DEADLINE_S = 2.0
_KERNEL_GIVES_UP_S = 0.1
"""A client whose kernel repeats the SYN gives up this much before its deadline: kernel timers may be late, so that a
retransmission that would fall on the deadline is not sent."""

_NONE: Indices = np.zeros(0, np.int64)


def _concatenated(*parts: Indices) -> Indices:
    """All in one array; most often only one part is not empty, and nothing is copied."""
    filled = [part for part in parts if len(part)]
    if len(filled) == 1:
        return filled[0]
    return np.concatenate(filled) if filled else _NONE


@dataclass(slots=True)
class _Queue:
    """Connections that wait to send, in batches."""

    batches: deque[Indices] = field(default_factory=deque)

    def add(self, indices: Indices) -> None:
        if len(indices):
            self.batches.append(indices)

    def take(self, limit: int, wanted: Callable[[Indices], NDArray[np.bool_]]) -> Indices:
        """The first ones that are still `wanted`, at most so many."""
        taken = []
        while self.batches and limit > 0:
            indices = self.batches.popleft()
            if len(indices) > limit:
                self.batches.appendleft(indices[limit:])
            taken.append(indices[:limit][wanted(indices[:limit])])
            limit -= len(taken[-1])
        return _concatenated(*taken)

    def __bool__(self) -> bool:
        return bool(self.batches)


@dataclass(slots=True)
class _Exchange:
    """One kind of request: where connections for it come from, and how it is sent."""

    state: State
    window: Window
    fresh: Callable[[int, float], Indices]
    """Takes the next connections to send it for the first time, at most so many."""
    begin: Callable[[Indices, float], None]
    send: Callable[[Indices], None]
    at_once: int = BATCH
    """Connections of one batch."""
    again: _Queue = field(default_factory=_Queue)
    """Connections that are to repeat it, unless the answer comes first."""


def connections_of(spec: BurstSpec, *, repeats: bool) -> Connections:
    """A burst's connections, all of them free; `repeats` as in `Transport`."""
    schedules_s = _schedules(spec, repeats=repeats)
    return Connections(spec.connections, schedules_s, spec.requests, _look_up(spec), len(spec.fleets))


class Client:
    """The clients of one burst; its `Callbacks`."""

    def __init__(
        self,
        spec: BurstSpec,
        connections: Connections,
        transport: Transport,
        *,
        handshakes: Handshakes | None = None,
        descriptors: Descriptors | None = None,
        questions: Pace = _QUESTIONS,
        calls: Pace = _CALLS,
    ) -> None:
        self.connections = connections
        self.counts = connections.counts
        self._spec, self._transport, self._handshakes = spec, transport, handshakes
        self._callers = callers_of(spec, connections)
        self._descriptors = descriptors or descriptors_of(spec)
        self._invoked = np.zeros(spec.connections, np.bool_)
        """Connections whose invocation has no outcome yet."""
        several = len(spec.fleets) > 1
        self._to_call = TurnQueue(connections, _ANSWERED_WITHIN_S) if several else _Queue()
        self._to_secure, self._to_request, self._to_close = _Queue(), _Queue(), _Queue()
        self._stopped = False
        self._exchanges = {exchange.state: exchange for exchange in self._make_exchanges(questions, calls)}

    def _make_exchanges(self, questions: Pace, calls: Pace) -> Iterator[_Exchange]:
        """Later steps first: invocations that have begun go on before new ones begin."""
        connections, transport, count = self.connections, self._transport, len(self.connections)
        if self._spec.destinations:
            calls = Pace(count, calls.patience_s)  # SYNs alone have no answers to wait for
        to_close, to_request = self._taking(self._to_close, IS_OPEN), self._taking(self._to_request, IS_OPEN)
        waiting = self._to_call
        to_call = waiting.take if isinstance(waiting, TurnQueue) else self._taking(waiting, among(State.ANSWERED))
        yield _Exchange(State.CLOSING, Window(count, _CALLS), to_close, self._begin_close, transport.close)
        yield _Exchange(State.REQUESTING, Window(count, _CALLS), to_request, connections.request, transport.request)
        if self._handshakes is not None:
            window, fresh = Window(count, _HANDSHAKES), self._taking(self._to_secure, IS_OPEN)
            yield _Exchange(State.SECURING, window, fresh, connections.secure, self._handshakes.begin)
        yield _Exchange(State.SYN_SENT, Window(count, calls), to_call, connections.call, transport.call)
        each = _look_up(self._spec).questions
        asking = Window(count, questions._replace(at_once=max(questions.at_once // each, 1)))
        yield _Exchange(
            State.ASKING, asking, self._next_invocations, connections.ask, transport.ask, at_once=BATCH // each
        )

    # Sending

    def transmit(self, now_s: float) -> bool:
        """Send what may be sent now, at most one batch of each exchange; whether there was any."""
        sent = False
        for exchange in self._exchanges.values():
            exchange.window.expire(now_s)
            limit = min(exchange.at_once, exchange.window.free)
            sent |= limit > 0 and self._request(exchange, limit, now_s)
        return sent

    def _request(self, exchange: _Exchange, limit: int, now_s: float) -> bool:
        again = exchange.again.take(limit, lambda indices: self.connections.state[indices] == exchange.state)
        fresh = exchange.fresh(limit - len(again), now_s)
        indices = _concatenated(again, fresh)
        if not len(indices):
            return False
        if len(again):
            self.connections.repeated(exchange.state, again)
        if len(fresh):
            exchange.begin(fresh, now_s)
        exchange.window.sent(indices, now_s)
        exchange.send(indices)
        if exchange.state is State.CLOSING and not self._transport.close_is_answered:
            self.closed(indices, now_s)
        return True

    def _taking(self, queue: _Queue, states: NDArray[np.bool_]) -> Callable[[int, float], Indices]:
        """Takes connections that are still in one of these states."""
        return lambda limit, _: queue.take(limit, lambda indices: states[self.connections.state[indices]])

    def _begin_close(self, indices: Indices, now_s: float) -> None:
        self._descriptors.give_back(indices)
        self.connections.close(indices, now_s)

    # Invocations

    def _next_invocations(self, limit: int, now_s: float) -> Indices:
        """Invocations that are due: warm ones use an idle connection, cold ones a new one."""
        cold = self._begin_invocations(self._most_at_a_time(limit), now_s)
        if self._spec.arrivals.per_s is not None and any(caller.lacks_connections for caller in self._callers):
            self.counts.waiting = max(self.counts.waiting, sum(caller.due(now_s) for caller in self._callers))
        cold = self._opened(cold, now_s)
        if self._spec.destinations is None:
            return cold
        self.connections.know(cold, [int(address) for address in self._spec.destinations])
        self._to_call.add(cold)
        return _NONE

    def _opened(self, indices: Indices, now_s: float) -> Indices:
        """Those with a descriptor for their first socket; the others' invocations have failed."""
        if not len(indices):
            return indices
        succeed = self._descriptors.take(indices)
        failed = indices[~succeed]
        if len(failed):
            self.connections.no_descriptor(failed, for_questions=self._spec.destinations is None)
            self._free_again(failed, now_s, unused=True)
            self._settle(failed, served=False)
        return indices[succeed]

    def _most_at_a_time(self, limit: int) -> int:
        """How many more invocations may begin now, at most `limit`."""
        if self._stopped:
            return 0
        if self._spec.at_a_time is None:
            return limit
        return max(min(limit, self._spec.at_a_time - (self.counts.begun - self.counts.settled)), 0)

    def _begin_invocations(self, limit: int, now_s: float) -> Indices:
        """Begin what is due, each function's in turn; the connections that are to be made, in that order."""
        numbers, made = [_NONE], [_NONE]
        for place, count in enumerate(in_turn(self._callers, limit, now_s)):
            if not count:
                continue
            caller = self._callers[place]
            mine = caller.numbers(count)
            begun = caller.begin(count, now_s)
            warm, cold = begun.warm, begun.cold
            self._invoked[warm] = self._invoked[cold] = True
            self.connections.engage(warm)
            self._to_request.add(warm)
            self.connections.throttle(place, begun.throttled)
            self.counts.begun += len(warm) + len(cold) + begun.throttled
            self._fail_without_port(begun.without_port)
            self.counts.reused += len(warm)
            numbers.append(mine[len(warm) : len(warm) + len(cold)])
            made.append(cold)
        cold = _concatenated(*made)
        return cold if len(self._callers) == 1 else cold[np.argsort(_concatenated(*numbers))]

    def _fail_without_port(self, count: int) -> None:
        """So many invocations have come while all ports of their host were in use."""
        self.counts.begun += count
        self.counts.settled += count
        self.counts.attempted += count
        self.counts.without_port += count

    def _free_again(self, indices: Indices, now_s: float, *, unused: bool = False) -> None:
        """Connections have ended: each function may use its own again."""
        if not len(indices):
            return
        if len(self._callers) == 1:
            self._callers[0].release(indices, now_s, unused=unused)
            return
        for place, caller in enumerate(self._callers):
            caller.release(indices[indices % len(self._callers) == place], now_s, unused=unused)

    def _settle(self, indices: Indices, *, served: bool) -> None:
        """Invocations that these connections have now, if any, have their outcome."""
        settled = indices[self._invoked[indices]]
        self._invoked[settled] = False
        count = len(settled)
        self.counts.settled += count
        self.counts.served += count if served else 0
        if served:
            self.counts.tally.add("served", settled)

    @property
    def unfinished(self) -> int:
        """How many invocations have no outcome yet."""
        return self._spec.offered - self.counts.settled

    def next_wake_s(self) -> float:
        """When `transmit` may have something to do although nothing was received."""
        windows = [exchange.window for exchange in self._exchanges.values()]
        full = (window.next_expiry_s() for window in windows if window.free <= 0)
        asking = self._exchanges[State.ASKING].window.free > 0
        return min(self._next_arrival_s() if asking else float("inf"), *full, float("inf"))

    def _next_arrival_s(self) -> float:
        if not self._most_at_a_time(1):
            return float("inf")
        return min(caller.next_arrival_s() for caller in self._callers)

    # Time

    def tick(self, now_s: float) -> None:
        """Queue the repetitions that are due, and give up connections whose deadline has passed."""
        for due in self.connections.due(now_s):
            if len(due.again):
                self._exchanges[due.state].again.add(due.again)
            if len(due.half_answered):
                self._transport.forget(due.half_answered)
                self._looked_up(due.half_answered)
            if len(due.given_up):
                self._expired(due.state, due.given_up, now_s)

    def _expired(self, state: State, indices: Indices, now_s: float) -> None:
        match state:
            case State.ASKING | State.SYN_SENT:
                self._transport.forget(indices)
                self._release(indices, now_s)
                self._settle(indices, served=False)
            case State.SECURING:
                for reason, unanswered in self._handshakes.why_unanswered(indices) if self._handshakes else ():
                    self.counts.tls_failures[reason] += len(unanswered)
                self._settle(indices, served=False)
                self._close(indices)
            case State.REQUESTING:
                self._settle(indices, served=False)
                self._close(indices)
            case State.CLOSING:
                self._transport.drop(indices)
                self._release(indices, now_s)
            case State.ESTABLISHED if self._spec.reuse:
                self._make_idle(indices, now_s)
            case _:
                self._close(indices)

    # Callbacks

    def answered(self, indices: Indices, addresses: NDArray[np.uint32], now_s: float) -> None:
        """The address is known: queue the SYN, unless another question waits for its answer."""
        self._looked_up(self.connections.answer(indices, addresses, now_s))

    def no_data(self, indices: Indices, now_s: float) -> None:
        """There is no other address: queue the SYN, unless the question for this one waits for its answer."""
        self._looked_up(self.connections.no_data(indices, now_s))

    def _looked_up(self, indices: Indices) -> None:
        self._exchanges[State.ASKING].window.answered(indices)
        self._to_call.add(indices)

    def unanswerable(self, indices: Indices, now_s: float) -> None:
        """The resolver knows no address: the invocations have failed."""
        self._exchanges[State.ASKING].window.answered(indices)
        failed = self.connections.fail(indices)
        self._release(failed, now_s)
        self._settle(failed, served=False)

    def connected(self, indices: Indices, now_s: float) -> None:
        """The connection is established: queue its first request, if it makes any."""
        self._exchanges[State.SYN_SENT].window.answered(indices)
        if self._spec.destinations is not None:
            self._settle(self.connections.half_open(indices, now_s), served=True)
            return
        fresh = self.connections.establish(indices, now_s)
        if self._handshakes is not None:
            self._to_secure.add(fresh)
        else:
            self._ready(fresh, now_s)

    def without_port(self, indices: Indices, now_s: float) -> None:
        """No SYN was sent, for the host has no port left: the invocations have failed at once."""
        self._exchanges[State.SYN_SENT].window.answered(indices)
        self._over(self.connections.without_port(indices), now_s)

    def secured(self, indices: Indices, now_s: float) -> None:
        """The TLS handshake is complete: queue the first request, if it makes any."""
        self._exchanges[State.SECURING].window.answered(indices)
        self._ready(self.connections.secured(indices, now_s), now_s)

    def insecure(self, indices: Indices, reason: str) -> None:
        """The TLS handshake has failed: the invocation has, too, and the connection is closed."""
        self._exchanges[State.SECURING].window.answered(indices)
        failed = self.connections.insecure(indices, reason)
        self._settle(failed, served=False)
        self._close(failed)

    def _ready(self, indices: Indices, now_s: float) -> None:
        """Requests can be made: queue the first one, or the invocation is served."""
        if self._spec.requests == 0:
            self._done(indices, now_s)
        else:
            self._to_request.add(indices)

    def responded(self, indices: Indices, now_s: float) -> None:
        """A response is complete: queue the next request, or the invocation is served."""
        self._exchanges[State.REQUESTING].window.answered(indices)
        fresh = self.connections.respond(indices, now_s)
        if self._spec.reuse:
            self._done(fresh, now_s)
            return
        more = self.connections.requests_left[fresh] > 0
        self._to_request.add(fresh[more])
        self._done(fresh[~more], now_s)

    def _done(self, indices: Indices, now_s: float) -> None:
        """The invocations are served; their connections are held, or busy for the duration."""
        self._settle(indices, served=True)
        if self._spec.reuse and not self._spec.duration_s:
            self._make_idle(indices, now_s)
        else:
            self.connections.stay(State.ESTABLISHED, indices, now_s)

    def _make_idle(self, indices: Indices, now_s: float) -> None:
        """The environment is free for another invocation, unless the connection has made all its requests."""
        spent = self.connections.requests_left[indices] == 0
        self._close(indices[spent])
        idle = indices[~spent]
        self.connections.stay(State.IDLE, idle, now_s)
        for place, caller in enumerate(self._callers):
            caller.idle(idle[idle % len(self._callers) == place])

    def reset(self, indices: Indices, now_s: float) -> None:
        """The connections were refused, or have ended."""
        if not len(indices):
            return
        for exchange in self._exchanges.values():
            exchange.window.answered(indices)
        refused, ended = self.connections.reset(indices)
        self._over(np.concatenate((refused, ended)), now_s)

    def _over(self, indices: Indices, now_s: float) -> None:
        self._settle(indices, served=False)
        self._transport.forget(indices)
        self._release(indices, now_s)

    def closed_by_server(self, indices: Indices, now_s: float) -> None:
        """The connections have ended; an invocation that still waits for an answer, or is to ask, has failed."""
        if not len(indices):
            return
        for exchange in self._exchanges.values():
            exchange.window.answered(indices)
        self._over(self.connections.close_by_server(indices), now_s)

    def closed(self, indices: Indices, now_s: float) -> None:
        """FINs were answered: the connections have ended."""
        self._exchanges[State.CLOSING].window.answered(indices)
        self._release(self.connections.closed(indices), now_s)

    def _release(self, indices: Indices, now_s: float) -> None:
        """The connections have ended, and their sockets are closed."""
        self._descriptors.give_back(indices)
        self._free_again(indices, now_s)

    # The end

    def begin_closing(self) -> None:
        """Begin nothing any more; from now on `transmit` closes what is established."""
        self._stopped = True
        self._drop(self.connections.in_state(State.HALF_OPEN))
        self._to_close.batches.clear()
        self._close(self.connections.in_state(*OPEN))

    def _close(self, indices: Indices) -> None:
        """Queue FINs; the end of a hold or another invocation does not apply any more."""
        self.connections.engage(indices)
        self._to_close.add(indices)

    def is_closing(self) -> bool:
        """Whether connections are still to be closed."""
        return bool(self._to_close) or bool((self.connections.state == State.CLOSING).any())

    def abort(self) -> int:
        """Drop all connections that are open or half-open; how many there were."""
        self._stopped = True
        indices = self.connections.in_state(State.SYN_SENT, State.HALF_OPEN, *OPEN, State.CLOSING)
        self._drop(indices)
        return len(indices)

    def _drop(self, indices: Indices) -> None:
        for start in range(0, len(indices), BATCH):
            self._transport.drop(indices[start : start + BATCH])


def _look_up(spec: BurstSpec) -> LookUp:
    return look_up(spec.resolver_schedule, spec.connect_timeout_s)


def _schedules(spec: BurstSpec, *, repeats: bool) -> Mapping[State, Sequence[float]]:
    """When each request is repeated and given up; how long a state lasts in which nothing is waited for."""
    deadline_s = spec.connect_timeout_s
    schedules: dict[State, Sequence[float]] = {
        State.ASKING: _look_up(spec).times_s,
        State.SYN_SENT: (*syn_retransmissions(spec.syn_schedule, deadline_s), deadline_s),
        State.SECURING: (deadline_s,),
        State.REQUESTING: (*request_retries(deadline_s), deadline_s),
        State.CLOSING: (*fin_retries(), _CLOSE_DEADLINE_S),
    }
    if not repeats:
        schedules[State.SYN_SENT] = (max(deadline_s - _KERNEL_GIVES_UP_S, deadline_s / 2),)
        schedules[State.REQUESTING] = (deadline_s,)
        schedules[State.CLOSING] = (_CLOSE_DEADLINE_S,)
    if spec.reuse:
        schedules[State.ESTABLISHED] = (spec.duration_s,)
    elif spec.hold_s is not None:
        schedules[State.ESTABLISHED] = (spec.hold_s,)
    if spec.reuse and spec.hold_s is not None:
        schedules[State.IDLE] = (spec.hold_s,)
    return schedules

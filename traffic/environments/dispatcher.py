"""Which environment gets which invocation, and when one is started or killed: a state machine without processes.

Time is an argument, in seconds since the beginning. What follows from an event is asked of an `Executor`; whatever its
processes do is told by a method. An invocation for which no environment is idle causes a start, and waits for that
environment alone; if there may be no further one, it waits for the first that is free.
"""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Literal, Protocol

from traffic.arrivals import arrived, arrives_s, environments
from traffic.environments.result import EnvironmentUse, ErrorCount, Failure, InvokeSample

if TYPE_CHECKING:
    from traffic.environments.spec import InvokeSpec

__all__ = ["Dispatcher", "Executor"]

_FAILED_INITS = 3
"""After so many starts, all without success, the function is taken for one that never starts."""
_LEAST_S = 0.1
"""How often at most the processor time of a start is looked at."""
_ERROR_TYPES = 100
"""Further types, which a function can make up, are counted as one."""


class Executor(Protocol):
    """Carries out what the dispatcher decides; environments are numbered as in the spec."""

    def start(self, number: int) -> None:
        """Start the processes of an environment."""

    def hand_over(self, number: int, invocation: int) -> None:
        """Answer the environment's oldest request for its next invocation."""

    def freeze(self, number: int) -> None:
        """Stop an environment that waits for its next invocation."""

    def kill(self, number: int) -> None:
        """End an environment; `ended` tells when it has."""

    def starved_s(self, number: int) -> float:
        """How long an environment has been ready to run while no processor was free."""


@dataclass(slots=True)
class _Slot:
    """One environment of the spec."""

    state: Literal["absent", "starting", "running", "ending"] = "absent"
    began_s: float = 0.0
    starts: int = 0
    invocations: int = 0
    """Of all its starts."""
    is_warm: bool = False
    caused_by: int | None = None
    """The invocation that waits for this start."""
    asking: int = 0
    """Requests for a next invocation that wait."""
    under_way: dict[int, float] = field(default_factory=dict)
    """Invocation → when it was handed over."""
    unasked: int | None = None
    """The invocation that was answered last, while no next one has been asked for."""


class Dispatcher:
    """All invocations of one spec."""

    def __init__(self, spec: InvokeSpec, executor: Executor) -> None:
        self._spec, self._executor = spec, executor
        self._slots = [_Slot() for _ in spec.environments]
        self._absent = list(range(len(self._slots)))
        """A heap: the first environments of the spec are made first."""
        self._idle: dict[int, None] = {}
        """Environments that ask for an invocation; the one that asked last stands last, and gets it."""
        self._waiting: deque[int] = deque()
        self._deadlines: list[tuple[float, int, int]] = []
        """A heap of deadline, environment, and the invocation or, negative, the start that it belongs to."""
        self._arrived = self._in_progress = 0
        self._errors: dict[str, ErrorCount] = {}
        self._failed_inits = 0
        self._ever_ready = False
        self._never_starts: Failure | None = None
        self.ok = self.failed = self.timed_out = self.throttled = self.cold_starts = self.warm = 0
        self.peak_environments = 0
        self.durations_s, self.inits_s, self.waits_s = array("d"), array("d"), array("d")

    # ── What has come of it ─────────────────────────────────────────────────────────────────────────────────

    @property
    def done(self) -> int:
        """Invocations with an outcome."""
        return self.ok + self.failed + self.timed_out + self.throttled

    @property
    def in_flight(self) -> int:
        """Invocations that environments have."""
        return self._in_progress - len(self._waiting)

    @property
    def alive(self) -> int:
        """Environments that are there."""
        return len(self._slots) - len(self._absent)

    @property
    def is_finished(self) -> bool:
        """Whether every invocation has its outcome, and all environments wait for a next one."""
        return self.done == self._spec.invocations and all(
            slot.state == "absent" or (slot.state == "running" and slot.unasked is None) for slot in self._slots
        )

    def errors(self) -> tuple[ErrorCount, ...]:
        """By type, the most frequent first."""
        return tuple(sorted(self._errors.values(), key=lambda each: -each.count))

    def uses(self) -> tuple[EnvironmentUse, ...]:
        """Environments that were started."""
        numbered = enumerate(self._slots)
        return tuple(EnvironmentUse(number, slot.starts, slot.invocations) for number, slot in numbered if slot.starts)

    def sample(self, now_s: float) -> InvokeSample:
        """The counts now."""
        return InvokeSample(round(now_s, 3), self.done, self.ok, self.in_flight, self.alive)

    # ── Time ────────────────────────────────────────────────────────────────────────────────────────────────

    def advance(self, now_s: float) -> None:
        """Do what is due by now: invocations arrive, deadlines pass, further environments may be started."""
        arrived_by_now = min(arrived(self._spec.arrivals, now_s), self._spec.invocations)
        while self._arrived < arrived_by_now:
            self._arrive(self._arrived)
            self._arrived += 1
        while self._deadlines and self._deadlines[0][0] <= now_s:
            _, number, what = heappop(self._deadlines)
            self._expire(number, what, now_s)
        self._assign(now_s)

    def next_event_s(self) -> float:
        """When `advance` has something to do again, if nothing is told before."""
        arrival = inf if self._arrived >= self._spec.invocations else arrives_s(self._spec.arrivals, self._arrived)
        while self._deadlines and not self._is_due(*self._deadlines[0][1:]):
            heappop(self._deadlines)
        deadline = self._deadlines[0][0] if self._deadlines else inf
        return min(arrival, deadline, self._next_growth_s())

    def _next_growth_s(self) -> float:
        growth = self._spec.growth
        if growth is None or not self._waiting or not self._absent or growth.per_s <= 0:
            return inf
        return (self.alive + 1 - growth.at_once) / growth.per_s

    def _arrive(self, invocation: int) -> None:
        if self._never_starts is not None:
            self._fail(self._never_starts)
        elif self._spec.reserved_concurrency is not None and self._in_progress >= self._spec.reserved_concurrency:
            self.throttled += 1
        else:
            self._in_progress += 1
            self._waiting.append(invocation)

    def _is_due(self, number: int, what: int) -> bool:
        """Whether a deadline still has a meaning: its start is not over, its environment not ready for the next one."""
        slot = self._slots[number]
        return (slot.state == "starting" and slot.starts == -what) or what in slot.under_way or slot.unasked == what

    def _expire(self, number: int, what: int, now_s: float) -> None:
        if not self._is_due(number, what):
            return
        slot = self._slots[number]
        if what < 0:
            self._expire_init(number, now_s)
            return
        if slot.under_way.pop(what, None) is not None:
            self._in_progress -= 1
            self.timed_out += 1
        self._kill(number)

    def _expire_init(self, number: int, now_s: float) -> None:
        """A start has taken too long, unless hundreds at once share the processors that AWS has for each of them."""
        slot, timeout_s = self._slots[number], self._spec.handler.init_timeout_s
        left_s = slot.began_s + timeout_s + self._executor.starved_s(number) - now_s
        if left_s > 0:
            heappush(self._deadlines, (now_s + max(left_s, _LEAST_S), number, -slot.starts))
        else:
            message = f"The initialization timed out after {timeout_s:.2f} seconds"
            self._end_init(number, Failure("Sandbox.Timedout", message))

    # ── What environments do ────────────────────────────────────────────────────────────────────────────────

    def asks(self, number: int, now_s: float) -> bool:
        """An environment asks for its next invocation; False: it has as many already as it may have."""
        slot = self._slots[number]
        if slot.state not in ("starting", "running") or slot.asking + len(slot.under_way) >= self._spec.concurrency:
            return False
        slot.unasked = None
        slot.asking += 1
        self._idle.pop(number, None)
        self._idle[number] = None
        if slot.state == "starting":
            slot.state = "running"
            self._ever_ready = True
            self.inits_s.append(now_s - slot.began_s)
            if slot.caused_by is not None:
                self._hand_over(number, slot.caused_by, now_s)
                slot.caused_by = None
        self._assign(now_s)
        if slot.asking and not slot.under_way:
            self._executor.freeze(number)
        return True

    def leaves(self, number: int) -> None:
        """A request for a next invocation has gone before there was one: its connection was closed."""
        slot = self._slots[number]
        slot.asking = max(slot.asking - 1, 0)
        if not slot.asking:
            self._idle.pop(number, None)

    def answers(self, number: int, invocation: int, now_s: float, failure: Failure | None = None) -> bool:
        """An environment answers an invocation; False: it has no such one."""
        slot = self._slots[number]
        handed_over_s = slot.under_way.pop(invocation, None)
        if handed_over_s is None:
            return False
        self._in_progress -= 1
        self.durations_s.append(now_s - handed_over_s)
        if failure is None:
            self.ok += 1
        else:
            self._fail(failure)
        if not slot.asking and not slot.under_way:
            slot.unasked = invocation
        return True

    def init_fails(self, number: int, failure: Failure) -> bool:
        """A runtime client reports that it cannot start; False: it has started before."""
        if self._slots[number].state != "starting":
            return False
        self._end_init(number, failure)
        return True

    def ended(self, number: int, now_s: float, failure: Failure) -> None:
        """The processes of an environment are gone, with all that was under way in it."""
        slot = self._slots[number]
        if slot.state == "starting":
            self._end_init(number, failure)
        for _ in slot.under_way:
            self._in_progress -= 1
            self._fail(failure)
        slot.under_way.clear()
        slot.unasked = None
        slot.asking = 0
        slot.state = "absent"
        self._idle.pop(number, None)
        heappush(self._absent, number)
        self._assign(now_s)

    # ── Decisions ───────────────────────────────────────────────────────────────────────────────────────────

    def _assign(self, now_s: float) -> None:
        while self._waiting:
            if self._idle:
                self._hand_over(next(reversed(self._idle)), self._waiting.popleft(), now_s)
            elif self._absent and self.alive < self._allowed(now_s):
                self._start(heappop(self._absent), self._waiting.popleft(), now_s)
            else:
                return

    def _allowed(self, now_s: float) -> float:
        growth = self._spec.growth
        return inf if growth is None else int(environments(growth, now_s) + 1e-9)  # sums of fractions miss by less

    def _start(self, number: int, invocation: int, now_s: float) -> None:
        slot = self._slots[number]
        slot.state, slot.began_s, slot.caused_by, slot.is_warm = "starting", now_s, invocation, False
        slot.starts += 1
        self.cold_starts += 1
        self.peak_environments = max(self.peak_environments, self.alive)
        heappush(self._deadlines, (now_s + self._spec.handler.init_timeout_s, number, -slot.starts))
        self._executor.start(number)

    def _hand_over(self, number: int, invocation: int, now_s: float) -> None:
        slot = self._slots[number]
        slot.asking -= 1
        if not slot.asking:
            del self._idle[number]
        self.warm += slot.is_warm
        slot.is_warm = True
        slot.invocations += 1
        slot.under_way[invocation] = now_s
        self.waits_s.append(max(now_s - arrives_s(self._spec.arrivals, invocation), 0.0))
        heappush(self._deadlines, (now_s + self._spec.handler.timeout_s, number, invocation))
        self._executor.hand_over(number, invocation)

    def _end_init(self, number: int, failure: Failure) -> None:
        """A start has failed, and with it the invocation that caused it."""
        slot = self._slots[number]
        self._failed_inits += 1
        if slot.caused_by is not None:
            slot.caused_by = None
            self._in_progress -= 1
            self._fail(failure)
        self._kill(number)
        if not self._ever_ready and self._failed_inits == _FAILED_INITS:
            self._give_up(failure)

    def _give_up(self, failure: Failure) -> None:
        """Nothing of this function ever starts: all invocations end as the last one did."""
        self._never_starts = failure
        for number, slot in enumerate(self._slots):
            if slot.state == "starting":
                self._end_init(number, failure)
        while self._waiting:
            self._waiting.popleft()
            self._in_progress -= 1
            self._fail(failure)
        while self._arrived < self._spec.invocations:
            self._arrived += 1
            self._fail(failure)

    def _kill(self, number: int) -> None:
        slot = self._slots[number]
        slot.state, slot.unasked, slot.asking = "ending", None, 0
        self._idle.pop(number, None)
        self._executor.kill(number)

    def _fail(self, failure: Failure) -> None:
        self.failed += 1
        is_known = failure.type in self._errors or len(self._errors) < _ERROR_TYPES
        name = failure.type if is_known else "of further types"
        before = self._errors.get(name)
        example = failure if before is None else before.example
        self._errors[name] = ErrorCount(name, 1 if before is None else before.count + 1, example)

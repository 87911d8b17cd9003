"""Which environment gets which invocation, and what becomes of those that get none: no processes, time by hand."""

from __future__ import annotations

from dataclasses import replace
from math import inf

from hypothesis import given
from hypothesis import strategies as st
import pytest

from traffic.environments.dispatcher import Dispatcher
from traffic.environments.result import ErrorCount, Failure
from traffic.environments.spec import Environment, Handler, InvokeSpec, Isolation
from traffic.spec import Arrivals, Growth

SPEC = InvokeSpec(
    function="checkout",
    handler=Handler(("program",), "/code", "app.handler", "python3.13", timeout_s=3.0, init_timeout_s=10.0),
    isolation=Isolation("node", ()),
    environments=tuple(Environment(30_000 + number, "eni-a", None) for number in range(4)),
    invocations=10,
)
BROKEN = Failure("Runtime.ImportModuleError", "no module")
GONE = Failure("Runtime.ExitError", "exit status 1")


class Recorder:
    """An executor that does nothing and knows what it was asked to do."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.has: dict[int, list[int]] = {}
        """Environment → invocations that it was handed."""
        self.waited_s = 0.0

    def start(self, number: int) -> None:
        """Remembered."""
        self.asked.append(("start", number))

    def hand_over(self, number: int, invocation: int) -> None:
        """Remembered."""
        self.asked.append(("hand over", number))
        self.has.setdefault(number, []).append(invocation)

    def freeze(self, number: int) -> None:
        """Remembered."""
        self.asked.append(("freeze", number))

    def kill(self, number: int) -> None:
        """Remembered."""
        self.asked.append(("kill", number))

    def starved_s(self, number: int) -> float:  # noqa: ARG002
        """As long as the test says."""
        return self.waited_s

    def count(self, what: str) -> int:
        """How often it was asked to do that."""
        return sum(asked == what for asked, _ in self.asked)


def _dispatched(spec: InvokeSpec, now_s: float = 0.0) -> tuple[Dispatcher, Recorder]:
    recorder = Recorder()
    dispatcher = Dispatcher(spec, recorder)
    dispatcher.advance(now_s)
    return dispatcher, recorder


def test_all_at_once_wait_for_environments() -> None:
    """As many environments as there may be are started; all other invocations wait for those that are free."""
    dispatcher, recorder = _dispatched(SPEC)
    assert recorder.asked == [("start", number) for number in range(4)]
    for invocation in range(8):
        assert dispatcher.asks(1, 1.0 + invocation)
        if invocation < 7:
            assert dispatcher.answers(1, recorder.has[1][-1], 1.5 + invocation)
    for number in (0, 2, 3):
        dispatcher.asks(number, 20.0)
        assert dispatcher.answers(number, recorder.has[number][-1], 20.5)
        assert dispatcher.asks(number, 21.0)
    assert (dispatcher.ok, dispatcher.cold_starts, dispatcher.warm, dispatcher.is_finished) == (10, 4, 6, True)


def test_the_last_used_comes_first() -> None:
    """An idle environment is used again before another one is started, and the one used last before the others."""
    dispatcher, recorder = _dispatched(replace(SPEC, arrivals=Arrivals(1.0)))
    dispatcher.asks(0, 0.2)
    dispatcher.advance(1.0)  # while the first is under way
    dispatcher.asks(1, 1.2)
    for number, invocation in ((1, 1), (0, 0)):
        dispatcher.answers(number, invocation, 1.5)
        dispatcher.asks(number, 1.5)
    dispatcher.advance(2.0)
    assert recorder.asked[-3:] == [("freeze", 1), ("freeze", 0), ("hand over", 0)]
    assert dispatcher.cold_starts == 2


def test_growth_bounds_environments() -> None:
    """There are no more environments than growth allows by now, and it says when there may be one more."""
    dispatcher, recorder = _dispatched(replace(SPEC, growth=Growth(1, 0.5)))
    assert (recorder.count("start"), dispatcher.next_event_s()) == (1, 2.0)
    dispatcher.advance(2.0)
    assert recorder.count("start") == 2
    dispatcher.advance(100.0)
    assert recorder.count("start") == 4  # and the spec has no more
    assert dispatcher.next_event_s() == 102.0 + 8.0


@pytest.mark.parametrize(("reserved", "throttled"), [(None, 0), (3, 7), (0, 10), (10, 0)])
def test_reserved_concurrency_throttles_what_comes(reserved: int | None, throttled: int) -> None:
    """Invocations beyond it, when they come, have their outcome at once."""
    dispatcher, _ = _dispatched(replace(SPEC, reserved_concurrency=reserved))
    assert (dispatcher.throttled, dispatcher.done) == (throttled, throttled)


def test_a_time_out_kills_the_environment() -> None:
    """At its deadline an invocation is lost, and its environment with it; the next one starts cold in its place."""
    spec = replace(SPEC, environments=SPEC.environments[:1], invocations=2)
    dispatcher, recorder = _dispatched(spec)
    dispatcher.asks(0, 1.0)
    assert dispatcher.next_event_s() == 4.0
    dispatcher.advance(4.0)
    assert (dispatcher.timed_out, recorder.asked[-1]) == (1, ("kill", 0))
    assert not dispatcher.answers(0, 0, 4.1)
    assert not dispatcher.asks(0, 4.1)
    dispatcher.ended(0, 4.2, GONE)
    assert recorder.asked[-1] == ("start", 0)
    dispatcher.asks(0, 4.5)
    dispatcher.answers(0, 1, 4.6)
    assert (dispatcher.ok, dispatcher.failed, dispatcher.cold_starts, dispatcher.warm) == (1, 0, 2, 0)


def test_an_answer_is_not_lost_with_its_environment() -> None:
    """Who has answered, and does not ask again in time, is killed; the answer counts."""
    dispatcher, recorder = _dispatched(replace(SPEC, invocations=1))
    dispatcher.asks(0, 1.0)
    dispatcher.answers(0, 0, 1.5)
    assert not dispatcher.is_finished
    dispatcher.advance(dispatcher.next_event_s())
    assert recorder.asked[-1] == ("kill", 0)
    dispatcher.ended(0, 4.2, GONE)
    assert (dispatcher.ok, dispatcher.failed, dispatcher.is_finished) == (1, 0, True)


def test_an_exit_is_an_error_of_what_was_under_way() -> None:
    """A process that exits takes its invocation with it, and no other."""
    dispatcher, recorder = _dispatched(replace(SPEC, invocations=2))
    dispatcher.asks(0, 1.0)
    dispatcher.ended(0, 2.0, GONE)
    dispatcher.asks(1, 3.0)
    dispatcher.answers(1, 1, 3.1)
    dispatcher.asks(1, 3.2)
    dispatcher.ended(1, 3.3, GONE)  # idle: nobody's error
    assert dispatcher.errors() == (ErrorCount("Runtime.ExitError", 1, GONE),)
    assert (dispatcher.ok, dispatcher.alive, recorder.count("start")) == (1, 0, 2)


def test_a_failed_init_fails_its_invocation() -> None:
    """Where a start has succeeded before, one that fails costs the invocation that caused it, and no other."""
    dispatcher, _ = _dispatched(replace(SPEC, invocations=5))
    dispatcher.asks(3, 1.0)
    for number in range(3):
        assert dispatcher.init_fails(number, BROKEN)
    assert (dispatcher.failed, dispatcher.in_flight) == (3, 1)


def test_a_function_that_never_starts_is_given_up() -> None:
    """After three starts that failed, and none that succeeded, all invocations end with that error at once."""
    dispatcher, recorder = _dispatched(replace(SPEC, arrivals=Arrivals(100.0)), 0.05)
    for number in range(3):
        assert dispatcher.init_fails(number, BROKEN)
    for number in range(4):
        dispatcher.ended(number, 1.0, GONE)
    assert dispatcher.errors() == (ErrorCount("Runtime.ImportModuleError", 10, BROKEN),)
    assert (dispatcher.is_finished, recorder.count("start"), dispatcher.next_event_s()) == (True, 4, inf)


def test_a_slow_init_times_out() -> None:
    """The time for which the machine had no processor for it is not its own."""
    dispatcher, recorder = _dispatched(replace(SPEC, invocations=1))
    recorder.waited_s = 5.0
    dispatcher.advance(10.0)
    assert (recorder.count("kill"), dispatcher.next_event_s()) == (0, 15.0)
    dispatcher.advance(15.0)
    assert dispatcher.errors()[0].type == "Sandbox.Timedout"


def test_as_many_at_a_time_as_it_may_have() -> None:
    """With a concurrency, an environment asks several times, and gets several."""
    spec = replace(SPEC, environments=SPEC.environments[:1], concurrency=2)
    dispatcher, recorder = _dispatched(spec)
    assert dispatcher.asks(0, 1.0)
    assert dispatcher.asks(0, 1.0)
    assert not dispatcher.asks(0, 1.0)
    assert recorder.has == {0: [0, 1]}
    assert dispatcher.answers(0, 1, 1.1)
    assert dispatcher.asks(0, 1.2)
    assert recorder.has == {0: [0, 1, 2]}


def test_error_types_are_bounded() -> None:
    """A function that makes up a type for each of its errors does not fill the result."""
    dispatcher, recorder = _dispatched(replace(SPEC, invocations=500))
    for _ in range(500):
        dispatcher.asks(0, 1.0)
        dispatcher.answers(0, recorder.has[0][-1], 1.0, Failure(f"Error{len(recorder.has[0])}"))
        for number in range(1, 4):
            dispatcher.asks(number, 1.0)
    assert len(dispatcher.errors()) == 101
    assert sum(each.count for each in dispatcher.errors()) == dispatcher.failed


class World:
    """Environments whose processes start and end as they are told, and besides do what a test draws."""

    def __init__(self, spec: InvokeSpec) -> None:
        self.now_s = 0.0
        self.there: set[int] = set()
        self.recorder = Recorder()
        self.dispatcher = Dispatcher(spec, self.recorder)
        self.advance(0.0)

    def advance(self, by_s: float) -> None:
        """Time passes."""
        self.now_s += by_s
        self.dispatcher.advance(self.now_s)
        self._carry_out()

    def does(self, what: str, number: int) -> None:
        """An environment does something, if it is there."""
        if number not in self.there:
            return
        if what == "asks":
            self.dispatcher.asks(number, self.now_s)
        elif what == "leaves":
            self.dispatcher.leaves(number)
        elif what == "init fails":
            self.dispatcher.init_fails(number, BROKEN)
        elif what == "ends":
            self.recorder.kill(number)
        elif self.recorder.has.get(number):
            failure = BROKEN if what == "fails" else None
            assert self.dispatcher.answers(number, self.recorder.has[number].pop(0), self.now_s, failure)
        self._carry_out()

    def behaves(self) -> None:
        """All environments answer what they have, and ask for more."""
        for number in tuple(self.there):
            while self.recorder.has.get(number):
                self.does("answers", number)
            self.does("asks", number)
        event_s = self.dispatcher.next_event_s()
        self.advance(max(event_s - self.now_s, 0.0) if event_s < inf else 0.0)

    def _carry_out(self) -> None:
        while self.recorder.asked:
            what, number = self.recorder.asked.pop(0)
            if what == "start":
                assert number not in self.there
                self.there.add(number)
            if what == "kill" and number in self.there:
                self.there.remove(number)
                self.recorder.has.pop(number, None)
                self.dispatcher.ended(number, self.now_s, GONE)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["nothing", "asks", "leaves", "answers", "fails", "init fails", "ends"]),
            st.integers(0, 3),
            st.floats(0.0, 2.0),
        ),
        max_size=80,
    ),
    spec=st.builds(
        replace,
        st.just(SPEC),
        reserved_concurrency=st.none() | st.integers(1, 6),
        arrivals=st.builds(Arrivals, st.none() | st.floats(0.5, 20.0)),
        growth=st.none() | st.builds(Growth, st.just(1), st.floats(0.1, 2.0)),
        concurrency=st.integers(1, 2),
    ),
)
def test_no_invocation_is_lost(steps: list[tuple[str, int, float]], spec: InvokeSpec) -> None:
    """Whatever environments do, each invocation has one outcome at most; when all behave in the end, each has one."""
    world = World(spec)
    for what, number, by_s in steps:
        world.advance(by_s)
        world.does(what, number)
        assert world.dispatcher.done <= spec.invocations
        assert world.dispatcher.in_flight >= 0
        assert world.dispatcher.alive == len(world.there)
    for _ in range(400):
        world.behaves()
    assert (world.dispatcher.done, world.dispatcher.is_finished) == (spec.invocations, True)

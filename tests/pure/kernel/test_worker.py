"""A worker's thread, and what an interrupt of the main thread leaves of it."""

from __future__ import annotations

import threading

import pytest

from lab.kernel.worker import Worker
from tests.support.interrupting import interrupts_of


def test_calls_are_made_in_order_by_one_thread() -> None:
    """Each call is made by the worker's own thread, after those that were sent before it."""
    made: list[int] = []
    with Worker() as worker:
        calls = [worker.send(lambda number=number: made.append(number)) for number in range(100)]  # type: ignore[misc]
        assert worker.run(lambda: (threading.get_ident(), len(made))) == (worker.run(threading.get_ident), 100)
        assert [call.result() for call in calls] == [None] * 100
    assert made == list(range(100))


def test_what_a_call_raises_is_raised() -> None:
    """An exception is raised where the result is asked for, and the worker makes the next call."""
    with Worker() as worker:
        with pytest.raises(ZeroDivisionError):
            worker.run(divmod, 1, 0)
        assert worker.run(divmod, 7, 2) == (3, 1)


def test_all_calls_are_made_before_it_ends() -> None:
    """Closing a worker waits for its calls, and closing it twice does nothing more."""
    made: list[int] = []
    worker = Worker()
    for number in range(100):
        worker.send(lambda number=number: made.append(number))  # type: ignore[misc]
    worker.close()
    worker.close()
    assert len(made) == 100


def test_an_interrupt_at_any_instruction_leaves_the_worker_whole() -> None:
    """Wherever the main thread is interrupted while it waits, the worker makes the next call, and ends."""
    with Worker() as worker:
        left_whole = [worker.run(abs, -2) for _ in interrupts_of(lambda: worker.run(abs, -1))]
    assert len(left_whole) > 20
    assert set(left_whole) == {2}

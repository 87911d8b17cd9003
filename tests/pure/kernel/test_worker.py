"""A worker's thread, and what an interrupt of the main thread leaves of it."""

from __future__ import annotations

from itertools import count
import sys
import threading
from types import FrameType
from typing import Any

import pytest

from lab.kernel.worker import Worker


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


def interrupted_at(step: int, worker: Worker) -> bool:
    """Whether a call was interrupted: its Nth instruction in this thread raises KeyboardInterrupt."""
    steps = count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode" and next(steps) == step:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        worker.run(abs, -1)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_instruction_leaves_the_worker_whole() -> None:
    """Wherever the main thread is interrupted while it waits, the worker makes the next call, and ends."""
    interrupts = 0
    with Worker() as worker:
        while interrupted_at(interrupts, worker):
            assert worker.run(abs, -2) == 2
            interrupts += 1
    assert interrupts > 20

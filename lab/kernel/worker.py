"""A thread to which calls are sent, and which an interrupt of the main thread leaves whole.

KeyboardInterrupt is raised between any two instructions of the main thread, also within `threading.Condition`. Then its
lock may stay taken, and the next thread that comes to it waits for ever. Thread, Event, Queue and concurrent.futures
are all built on it; the queue, the lock and the thread that are used here are written in C, where nothing is raised
half-way.
"""

from __future__ import annotations

from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
import errno
from queue import SimpleQueue
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

__all__ = ["Call", "Worker"]

P = ParamSpec("P")
T = TypeVar("T")


class Call(Generic[T]):
    """A call that was sent to a worker."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._ended: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

    def make(self) -> None:
        """Call the function, in the thread of the caller."""
        try:
            self._ended.put((self._function(), None))
        except BaseException as raised:  # noqa: BLE001 -- it is raised where the result is asked for
            self._ended.put((None, raised))

    def result(self) -> T:
        """Wait until the function has returned, and return what it did; what it raised is raised. To be asked once."""
        returned, raised = self._ended.get()
        if raised is not None:
            try:
                raise raised
            finally:
                del raised  # or the traceback, which has this frame, would keep it, and the frame the traceback
        return cast("T", returned)


class Worker:
    """A thread that makes one call at a time, in the order in which they were sent, until it is closed.

    OSError (EAGAIN) where this process may not have another thread.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()
        self._alive = allocate_lock()
        self._alive.acquire()
        try:
            start_new_thread(_work, (self._calls, self._alive.release))
        except RuntimeError as refused:  # pthread_create(3)
            raise OSError(errno.EAGAIN, f"{refused} (ulimit -u, pids.max)") from refused

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, function: Callable[[], T]) -> Call[T]:
        """Have a function called; its result can be asked for later."""
        call = Call(function)
        self._calls.put(call)
        return call

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Have a function called, and return what it returns."""
        return self.send(lambda: function(*args, **kwargs)).result()

    def close(self) -> None:
        """End the thread once it has made all its calls."""
        self._calls.put(None)
        with self._alive:
            pass


def _work(calls: SimpleQueue[Call[Any] | None], ended: Callable[[], None]) -> None:
    while (call := calls.get()) is not None:
        call.make()
        del call  # with what it holds, before the next one comes
    ended()

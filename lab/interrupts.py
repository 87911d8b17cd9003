"""Signals that interrupt a command: Ctrl-C, SIGTERM, and SIGHUP, of a terminal or an ssh session that has gone.

Each raises KeyboardInterrupt, so what undoes work at Ctrl-C undoes it at the others, too. One that the command was
started to ignore (nohup, the background of a script) stays ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import signal
import threading
from types import FrameType

__all__ = ["INTERRUPTED", "Interrupts", "ignore", "uninterrupted"]

INTERRUPTED = 130
"""The exit status of a command that was interrupted."""
_HUNG_UP = 128 + signal.SIGHUP
_NUMBERS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Which signal has interrupted this process."""

    def __init__(self) -> None:
        self._first: int | None = None

    def take(self) -> None:
        """Have each signal raise KeyboardInterrupt."""
        for number in _NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._interrupt)

    def exit_status(self, status: int) -> int:
        """The exit status of a command that ends with this one: of one that was interrupted, by which signal."""
        return _HUNG_UP if status == INTERRUPTED and self._first == signal.SIGHUP else status

    def _interrupt(self, number: int, _: FrameType | None) -> None:
        self._first = self._first or number
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal and its shell send one each
        raise KeyboardInterrupt


def ignore() -> None:
    """From here on the exit status is known, and no signal may change it."""
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore them while the block runs: half of an undo would be worse than none."""
    if threading.current_thread() is not threading.main_thread():  # Python handles signals in the main thread only
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

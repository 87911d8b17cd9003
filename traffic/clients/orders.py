"""What the parent process wants of a burst: lines on standard input; its end, and SIGTERM, mean `abort`."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
import os
import select
import signal

__all__ = ["Order", "Orders"]


class Order(Enum):
    """What the parent may want."""

    CLOSE = "close"
    LEAVE = "leave"
    ABORT = "abort"


class Orders:
    """The lines of standard input, as they come."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.current: Order | None = None
        self._received = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def heed_signals(self) -> None:
        """SIGTERM is an order; Ctrl-C reaches the whole process group, and the parent decides."""
        signal.signal(signal.SIGTERM, lambda *_: self.give(Order.ABORT))
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def give(self, order: Order) -> None:
        """An order from elsewhere; ABORT is final."""
        if self.current is not Order.ABORT:
            self.current = order

    def look(self) -> Order | None:
        """Read what is there; the order that stands now."""
        if self.current is not Order.ABORT and self._poll.poll(0):
            self._read()
        return self.current

    def _read(self) -> None:
        data = os.read(self.descriptor, 4096)
        if not data:
            self.give(Order.ABORT)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            with suppress(ValueError):  # not an order of ours
                self.give(Order(line.decode(errors="replace").strip()))

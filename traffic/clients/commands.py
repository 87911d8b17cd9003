"""Commands of the parent process: lines on standard input. Its end of file and SIGTERM mean `abort`."""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
import os
import select
import signal

__all__ = ["Command", "Commands"]


class Command(Enum):
    """How a burst is to end."""

    CLOSE = "close"
    LEAVE = "leave"
    ABORT = "abort"


class Commands:
    """Reads commands from a descriptor; the last one counts, and nothing revokes ABORT."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.current: Command | None = None
        self._received = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def handle_signals(self) -> None:
        """SIGTERM aborts; SIGINT reaches the whole process group, and the parent decides what it means."""
        signal.signal(signal.SIGTERM, lambda *_: self.set(Command.ABORT))
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def set(self, command: Command) -> None:
        """Set a command that did not come by the descriptor."""
        if self.current is not Command.ABORT:
            self.current = command

    def read(self) -> Command | None:
        """The current command, after everything that can be read without waiting."""
        if self.current is not Command.ABORT and self._poll.poll(0):
            data = os.read(self.descriptor, 4096)
            if not data:
                self.set(Command.ABORT)
            *lines, self._received = (self._received + data).split(b"\n")
            for line in lines:
                with suppress(ValueError):  # not a command
                    self.set(Command(line.decode(errors="replace").strip()))
        return self.current

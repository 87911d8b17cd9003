"""What the processes that have environments share: a parent that says when to end, and the end of all environments."""

from __future__ import annotations

import asyncio
from contextlib import suppress
import os
from pathlib import Path
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING

from traffic.environments.syscalls import adopt_orphans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from traffic.environments.processes import Process

__all__ = ["Parent", "begin", "end", "reap_orphans"]

_READ_BYTES = 4_096
_END_WITHIN_S = 10.0


def begin() -> None:
    """Prepare this process: it may open as many files as it may, and is the parent of what environments abandon."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    adopt_orphans()


class Parent:
    """Standard input: the line `close`, or `abort`, which its end and SIGTERM mean as well.

    SIGINT reaches a whole process group; the parent decides what it means.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self.ends: asyncio.Future[bool] = self._loop.create_future()
        """Whether the end is in order, once it is to come; or an error that makes it come."""
        self._loop.set_exception_handler(lambda _, context: self.fail(_error_of(context)))
        self._loop.add_signal_handler(signal.SIGTERM, self._end, False)  # noqa: FBT003
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._loop.add_reader(sys.stdin.fileno(), self._read)
        except PermissionError:  # epoll(7) takes no regular file, and not /dev/null
            self._end(False)  # noqa: FBT003

    def fail(self, error: BaseException) -> None:
        """End because of an error."""
        if not self.ends.done():
            self.ends.set_exception(error)

    def _read(self) -> None:
        data = os.read(sys.stdin.fileno(), _READ_BYTES)
        *lines, self._received = (self._received + data).split(b"\n")
        if not data or {b"close", b"abort"}.intersection(lines):
            self._loop.remove_reader(sys.stdin.fileno())
            self._end(b"close" in lines)

    def _end(self, in_order: bool) -> None:  # noqa: FBT001
        if not self.ends.done():
            self.ends.set_result(in_order)


def _error_of(context: dict[str, object]) -> BaseException:
    error = context.get("exception")
    return error if isinstance(error, BaseException) else RuntimeError(str(context.get("message")))


async def end(processes: Mapping[int, Process]) -> None:
    """Kill these processes, and return when they have ended."""
    ends = [process.has_ended for process in processes.values()]
    for process in tuple(processes.values()):
        process.kill()
    if ends:
        await asyncio.wait(ends, timeout=_END_WITHIN_S)
    _end_orphans()


def reap_orphans(processes: Mapping[int, Process]) -> None:
    """Take notice of the ends of processes that environments have abandoned; all others have somebody who does."""
    own = {process.pid for process in processes.values()}
    with suppress(ChildProcessError):  # there is no child
        while (ended := _next_ended()) is not None and ended not in own:
            os.waitpid(ended, 0)


def _next_ended() -> int | None:
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None if found is None else found.si_pid


def _end_orphans() -> None:
    """Kill what environments have abandoned, which are children of this process by now, and so on with their own."""
    deadline_s = time.monotonic() + _END_WITHIN_S
    with suppress(ChildProcessError):  # there is no child any more
        while time.monotonic() < deadline_s:
            for pid in _children():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)


def _children() -> list[int]:
    """By the fourth field of /proc/PID/stat, for not every kernel lists them (CONFIG_PROC_CHILDREN)."""
    found, own = [], str(os.getpid())
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            if path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1] == own:
                found.append(int(path.parent.name))
    return found

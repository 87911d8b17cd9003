"""The steps of a `lab` command, one of which can be made to fail, or be the last that the process gets to.

A step is whatever changes the machine: a netlink request, a mount or a namespace (libc), and what Python itself
announces to audit hooks before it is done: files written, renamed, linked and removed, directories, signals sent,
processes started (nft, tc, traffic processes). The command runs in a child of this process, which has loaded it all.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from enum import Enum
import errno
from itertools import count
import os
import signal
import sys
from tempfile import TemporaryFile
from threading import Lock
import traceback
from typing import IO, Any, NamedTuple

from lab.cli import main
from lab.errors import KernelError
from lab.kernel import netns, syscalls

__all__ = ["KINDS", "Fault", "Kind", "Ran", "run"]


class Kind(Enum):
    """What happens at a step."""

    OS_ERROR = "OSError"
    KERNEL_ERROR = "KernelError"
    KILLED = "SIGKILL of the process"
    GROUP_KILLED = "SIGKILL of its process group"
    TERMINATED = "SIGTERM"
    INTERRUPTED = "SIGINT"
    HUNG_UP = "SIGHUP"

    @property
    def kills(self) -> bool:
        """Whether nothing is undone afterwards."""
        return self in (Kind.KILLED, Kind.GROUP_KILLED)

    @property
    def is_signal(self) -> bool:
        """Whether it may come when the command has done all that it was to do."""
        return self not in (Kind.OS_ERROR, Kind.KERNEL_ERROR)


KINDS = tuple(Kind)


class Fault(NamedTuple):
    """What happens, and at which step of a command, from 1 on."""

    kind: Kind
    step: int


class Ran(NamedTuple):
    """A command that has ended."""

    status: int
    """As os.waitstatus_to_exitcode has it: negative for a signal."""
    steps: tuple[str, ...]
    """All that it came to; with a fault, the one at which it happened, or nothing if it never came to it."""
    said: str
    """Standard output and standard error."""


_CHANGES = {
    "os.chmod",
    "os.kill",
    "os.link",
    "os.mkdir",
    "os.posix_spawn",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "subprocess.Popen",
}
"""Audit events of what changes the machine (docs.python.org, "Audit events table")."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_REQUEST, _C_LIBRARY = "_with_netlink", "_libc"
"""By these the product reaches the kernel where Python announces nothing."""
_LIBC = {"mount", "umount2", "unshare"}
_OF_NOBODY = ("/dev/", "/proc/self/")


def run(*arguments: str, fault: Fault | None = None) -> Ran:
    """Run a `lab` command in a child, in a session of its own."""
    source, report = os.pipe()
    with TemporaryFile() as output:
        child = os.fork()
        if not child:
            os.close(source)
            _become(arguments, output, report, fault)
        os.close(report)
        with os.fdopen(source, encoding="utf-8") as reports:
            steps = tuple(reports.read().splitlines())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        return Ran(status, steps, output.read().decode(errors="replace"))


def _become(arguments: tuple[str, ...], output: IO[bytes], report: int, fault: Fault | None) -> None:
    """In the child: run the command, and end as its process does."""
    status = 1
    try:
        os.setsid()
        for descriptor in (1, 2):
            os.dup2(output.fileno(), descriptor)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False, buffering=1)
        sys.argv = ["lab", *arguments]
        _Steps(report, fault).install()
        main()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:  # noqa: BLE001 -- what Python itself prints before it ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


class _Steps:
    """Counts the steps of this process, in all of its threads, until the one where something is to happen."""

    def __init__(self, report: int, fault: Fault | None) -> None:
        self._report, self._fault = report, fault
        self._numbers, self._lock = count(1), Lock()

    def install(self) -> None:
        """For good: the process has nothing else to do."""
        request: Any = getattr(netns.NamespaceThread, _REQUEST)

        def counted(thread: netns.NamespaceThread, function: Callable[[Any], Any]) -> Any:
            self._come_to(f"netlink in {thread.name}")
            return request(thread, function)

        setattr(netns.NamespaceThread, _REQUEST, counted)
        setattr(syscalls, _C_LIBRARY, _Libc(self._come_to, getattr(syscalls, _C_LIBRARY)))
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and flags & _WRITING and not path.startswith(_OF_NOBODY):
                self._come_to(f"open {path}")
        elif event in _CHANGES:
            self._come_to(f"{event} {' '.join(str(each) for each in arguments[:2])[:100]}")

    def _come_to(self, step: str) -> None:
        with self._lock:
            number = next(self._numbers)
            happens = self._fault is not None and number == self._fault.step
            if self._fault is None or happens:
                os.write(self._report, " ".join(step.split()).encode() + b"\n")
        if happens and self._fault is not None:
            _let_happen(self._fault.kind)


def _let_happen(kind: Kind) -> None:
    if kind is Kind.OS_ERROR:
        raise OSError(errno.ENOMEM, "a failure on purpose")
    if kind is Kind.KERNEL_ERROR:
        raise KernelError("a failure on purpose")
    if kind is Kind.GROUP_KILLED:
        os.killpg(0, signal.SIGKILL)
    numbers = {
        Kind.KILLED: signal.SIGKILL,
        Kind.TERMINATED: signal.SIGTERM,
        Kind.INTERRUPTED: signal.SIGINT,
        Kind.HUNG_UP: signal.SIGHUP,
    }
    os.kill(os.getpid(), numbers[kind])


class _Libc:
    """The C library, with its calls that change the machine as steps; one that fails says so as libc does."""

    def __init__(self, come_to: Callable[[str], None], libc: Any) -> None:
        self._come_to, self._libc = come_to, libc

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._libc, name)

        def called(*arguments: Any) -> Any:
            if name in _LIBC:
                try:
                    self._come_to(f"{name} {' '.join(str(each) for each in arguments[:2])}")
                except OSError as refused:
                    ctypes.set_errno(refused.errno or errno.ENOMEM)
                    return -1
            return function(*arguments)

        return called

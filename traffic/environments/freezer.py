"""Environments are stopped, continued and ended: by a cgroup of their own where there is one, by signals elsewhere.

AWS freezes an environment when its runtime client asks for a next invocation and there is none, and thaws it with the
next one (docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html).
"""

from __future__ import annotations

from contextlib import suppress
import errno
import os
from pathlib import Path
import signal
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traffic.environments.spec import Environment, Isolation

__all__ = ["CgroupFreezer", "Freezer", "SignalFreezer", "cgroup_of", "end_all", "kill_users"]

_ATTEMPTS = 10
_EMPTY_WITHIN_S = 2.0


class Freezer(Protocol):
    """What holds all processes of an environment."""

    def freeze(self) -> None:
        """None of them runs from now on."""

    def thaw(self) -> None:
        """They go on."""

    def kill(self) -> None:
        """They end, frozen or not."""

    def close(self) -> None:
        """Leave nothing behind, once they have ended."""


class SignalFreezer:
    """The process group that the environment's first process leads.

    A process that has left the group is neither stopped nor ended; `kill_users` ends it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def freeze(self) -> None:
        """SIGSTOP, which cannot be ignored."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, which a stopped process gets too; also before the process leads a group of its own."""
        self._send(signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)

    def close(self) -> None:
        """A process group ends with its processes."""

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._pid, number)


class CgroupFreezer:
    """A cgroup v2 directory (Documentation/admin-guide/cgroup-v2.rst): whatever a process starts is in it too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self._file = os.open(directory / "cgroup.freeze", os.O_WRONLY | os.O_CLOEXEC)
        self.thaw()  # a cgroup that a killed supervisor has left may be frozen

    def enter(self) -> None:
        """Have the calling process in it."""
        (self.directory / "cgroup.procs").write_text("0", encoding="ascii")

    def freeze(self) -> None:
        """The kernel stops them when each next leaves it."""
        os.pwrite(self._file, b"1", 0)

    def thaw(self) -> None:
        """They go on."""
        os.pwrite(self._file, b"0", 0)

    def kill(self) -> None:
        """SIGKILL to all, also to those that are being forked (Linux 5.14)."""
        _kill_cgroup(self.directory)

    def close(self) -> None:
        """Remove the directory, as soon as the kernel has taken the last process out of it."""
        os.close(self._file)
        _remove_cgroup(self.directory)


def cgroup_of(isolation: Isolation, number: int) -> Path | None:
    """The directory of an environment's own cgroup, where there are any."""
    return None if isolation.cgroup is None else Path(isolation.cgroup, f"env-{number}")


def end_all(environments: Sequence[Environment], isolation: Isolation) -> None:
    """End all that is left of environments, whoever started them; OSError for a user who cannot be told from root."""
    for number in range(len(environments)):
        directory = cgroup_of(isolation, number)
        if directory is not None and directory.is_dir():
            _kill_cgroup(directory)
            _remove_cgroup(directory)
    kill_users(each.uid for each in environments)


def kill_users(uids: Iterable[int]) -> None:
    """Send SIGKILL to every process of these users, as each of them; 0, who is this process's own, is left out.

    kill(-1) reaches all of a user at one moment, so none can escape by forking. A process of the user may kill the
    process that does this while it has the user's number, so it is done again then.
    """
    numbers = sorted(set(uids) - {0})
    for _ in range(_ATTEMPTS if numbers else 0):
        pid = os.fork()
        if pid == 0:
            _kill_as_each(numbers)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 0:
            return
        if status > 0:
            raise OSError(status, f"the processes of users {numbers[0]} to {numbers[-1]}: {os.strerror(status)}")
    raise OSError(f"processes of users {numbers[0]} to {numbers[-1]} kill the process that is to end them")


def _kill_as_each(numbers: Iterable[int]) -> None:
    """Never return; the exit status is 0 or the number of an error.

    With another effective user number a process has no effective capability (capabilities(7)). That nothing but the
    user's own processes is reached is tried on process 1, which is root's, before anything is sent.
    """
    status = 1
    try:
        for uid in numbers:
            os.setresuid(uid, uid, 0)
            try:
                os.kill(1, 0)
            except PermissionError:
                with suppress(ProcessLookupError):
                    os.kill(-1, signal.SIGKILL)
            else:
                os._exit(errno.EPERM)
            os.setresuid(0, 0, 0)
        status = 0
    except OSError as refused:
        status = refused.errno or status
    finally:
        os._exit(status)


def _kill_cgroup(directory: Path) -> None:
    with suppress(FileNotFoundError):
        (directory / "cgroup.kill").write_text("1", encoding="ascii")


def _remove_cgroup(directory: Path) -> None:
    deadline_s = time.monotonic() + _EMPTY_WITHIN_S
    while directory.is_dir():
        try:
            directory.rmdir()
        except OSError:
            if time.monotonic() > deadline_s:
                return
            time.sleep(0.001)

"""The processes of execution environments: started with everything that is theirs, watched, and ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import resource
import shutil
import signal
from typing import TYPE_CHECKING, NamedTuple

from traffic.environments.freezer import CgroupFreezer, Freezer, SignalFreezer, cgroup_of, kill_users
from traffic.environments.isolation import PATH, isolate, needed_paths
from traffic.environments.result import EXAMPLE_BYTES
from traffic.environments.syscalls import die_with_parent
from traffic.privileges import give_up

if TYPE_CHECKING:
    from traffic.environments.spec import Environment, Isolation

__all__ = ["Process", "Program", "Tail", "base_variables"]

_READ_BYTES = 64 << 10
_CANNOT_RUN = 126
"""The exit status of what could not be made into an environment, as a shell has it for what cannot be executed."""


@dataclass(frozen=True, slots=True)
class Program:
    """What all environments run, and who they are to it."""

    command: tuple[str, ...]
    directory: str
    isolation: Isolation
    environments: tuple[Environment, ...]
    needed: tuple[str, ...]
    """Paths that must be within reach (`isolation.needed_paths`)."""

    @classmethod
    def of(
        cls, command: Sequence[str], directory: str, isolation: Isolation, environments: Sequence[Environment]
    ) -> Program:
        """The program, with what it needs on this machine; OSError or ValueError if its environments cannot run it."""
        if not environments:
            raise ValueError("there is no environment for the program")
        code = str(Path(directory).absolute())
        program = cls(tuple(command), code, isolation, tuple(environments), needed_paths(command, code))
        _probe(program)
        return program


def base_variables() -> dict[str, str]:
    """The environment variables that do not depend on the function.

    docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html lists them. HOME is not among them, and Lambda sets
    none. LANG is that of a machine without generated locales; the credentials of a role are not set at all.
    """
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TZ": ":UTC",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


class Tail:
    """The last of what was written, and how many lines there were before it."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self.lines = 0

    def add(self, data: bytes) -> None:
        """Keep the end of it."""
        self.lines += data.count(b"\n")
        self._kept += data[-EXAMPLE_BYTES:]
        del self._kept[:-EXAMPLE_BYTES]

    @property
    def dropped(self) -> int:
        """Lines of which the end is not kept."""
        return self.lines - self._kept.count(b"\n")

    def text(self) -> str:
        """What is kept."""
        return self._kept.decode(errors="replace")


class Process:
    """The first process of an environment, and all that it has started.

    What it writes goes to `output`, a callback with the number of the descriptor, 1 or 2, and the bytes; b"" is the
    end. `ended` is called once, with its exit status, or minus the signal that ended it.
    """

    def __init__(
        self,
        program: Program,
        number: int,
        variables: Mapping[str, str],
        output: Callable[[int, bytes], None],
        ended: Callable[[int], None],
    ) -> None:
        self._uid = program.environments[number].uid
        self._output, self._ended = output, ended
        self._loop = asyncio.get_running_loop()
        self.has_ended: asyncio.Future[None] = self._loop.create_future()
        directory = cgroup_of(program.isolation, number)
        cgroup = None if directory is None else CgroupFreezer(directory)
        readers, writers = zip(os.pipe(), os.pipe(), strict=True)
        parent = os.getpid()
        self.pid = _fork(lambda: _become(_Confinement(program, number, parent), variables, writers, cgroup))
        for each in writers:
            os.close(each)
        self._freezer: Freezer = cgroup or SignalFreezer(self.pid)
        self._is_frozen = False
        self._readers = dict(zip(readers, (1, 2), strict=True))
        for each in readers:
            os.set_blocking(each, False)
            self._loop.add_reader(each, self._read, each)
        self._pidfd = os.pidfd_open(self.pid)
        self._loop.add_reader(self._pidfd, self._reap)

    def starved_s(self) -> float:
        """How long its first process waited for a processor (sched-stats.rst, /proc/PID/schedstat)."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
        except (OSError, IndexError, ValueError):  # a kernel that does not count it
            return 0.0

    def freeze(self) -> None:
        """Stop it, with all its threads and children."""
        if not self._is_frozen:
            self._is_frozen = True
            self._freezer.freeze()

    def thaw(self) -> None:
        """Let it go on."""
        if self._is_frozen:
            self._is_frozen = False
            self._freezer.thaw()

    def kill(self) -> None:
        """End it and what it has started; `ended` is called when it has."""
        self._freezer.kill()

    def _read(self, reader: int) -> None:
        """Take what it wrote: one piece at a time, so that one that writes without end delays nobody."""
        try:
            data = os.read(reader, _READ_BYTES)
        except BlockingIOError:
            return
        self._output(self._readers[reader], data)
        if not data:
            self._close(reader)

    def _close(self, reader: int) -> None:
        self._loop.remove_reader(reader)
        os.close(reader)
        del self._readers[reader]

    def _reap(self) -> None:
        """It has ended: what it wrote last is taken, and what it has started ends too."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._freezer.kill()  # while the process is not reaped, nobody else gets its number
        _, status = os.waitpid(self.pid, 0)
        kill_users((self._uid,))
        for reader in tuple(self._readers):
            self._read(reader)
        for reader in tuple(self._readers):
            self._output(self._readers[reader], b"")
            self._close(reader)
        self._freezer.close()
        self._ended(os.waitstatus_to_exitcode(status))
        self.has_ended.set_result(None)


def _probe(program: Program) -> None:
    """Make an environment that looks at the code, before any is started; ValueError with what is wrong."""
    parent = os.getpid()
    report, writer = os.pipe()
    pid = _fork(lambda: _look(_Confinement(program, 0, parent), writer))
    os.close(writer)
    with os.fdopen(report, encoding="utf-8", errors="replace") as file:
        wrong = file.read()
    os.waitpid(pid, 0)
    if wrong:
        raise ValueError(wrong)


# ── In the process that becomes an environment ──────────────────────────────────────────────────────────────


def _fork(become: Callable[[], None]) -> int:
    """A child in a session of its own that calls a function, with signals as they are by default, and ends."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python's are inherited
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        os.setsid()
        os.umask(0o022)
        become()
    finally:
        os._exit(_CANNOT_RUN)


class _Confinement(NamedTuple):
    """Everything that makes a process an environment's."""

    program: Program
    number: int
    parent: int

    def begin(self) -> None:
        """Confine the calling process; OSError if something is refused."""
        program, uid = self.program, self.uid
        isolate(program.isolation, program.needed)
        resource.setrlimit(resource.RLIMIT_NOFILE, (program.isolation.open_files,) * 2)
        give_up(user=uid, group=uid)
        die_with_parent(signal.SIGKILL)
        if os.getppid() != self.parent:  # it has ended before this process was to die with it
            os._exit(_CANNOT_RUN)
        os.chdir(program.directory)

    @property
    def uid(self) -> int:
        """The environment's user."""
        return self.program.environments[self.number].uid


def _become(
    confinement: _Confinement, variables: Mapping[str, str], writers: Sequence[int], cgroup: CgroupFreezer | None
) -> None:
    """Become the environment's program, or write why not."""
    command = confinement.program.command
    try:
        silence = os.open(os.devnull, os.O_RDONLY)
        for descriptor, number in zip((silence, *writers), (0, 1, 2), strict=True):
            os.dup2(descriptor, number)
        if cgroup is not None:
            cgroup.enter()
        confinement.begin()
        os.execvpe(command[0], command, dict(variables))  # noqa: S606 -- no shell, as everywhere
    except OSError as wrong:
        os.write(2, f"{command[0]}: {wrong}\n".encode())


def _look(confinement: _Confinement, writer: int) -> None:
    """Write what keeps the environment's user from running the program, if anything does."""
    try:
        confinement.begin()
        wrong = _unreadable(Path(confinement.program.directory), confinement.uid) or _not_executable(confinement)
    except OSError as refused:
        wrong = f"an execution environment cannot be made: {refused}"
    os.write(writer, wrong.encode(errors="replace"))


def _unreadable(directory: Path, uid: int) -> str:
    for path, _, files in os.walk(directory):
        there = (Path(path, name) for name in files)
        unreadable = [each for each in there if not os.access(each, os.R_OK) and each.exists()]  # or a link to nothing
        if not os.access(path, os.R_OK | os.X_OK):
            unreadable.insert(0, Path(path))
        if unreadable:
            return f"{unreadable[0]} cannot be read by user {uid} of the environments: chmod -R o+rX {directory}"
    return ""


def _not_executable(confinement: _Confinement) -> str:
    name = confinement.program.command[0]
    return (
        "" if shutil.which(name, path=PATH) else f"user {confinement.uid} of the environments finds no program {name}"
    )

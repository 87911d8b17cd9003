"""The process that holds a user's sandbox: found again, made, ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import os
from pathlib import Path
import pwd
import select
import shutil
import signal
import subprocess
import sys
from typing import NamedTuple, NoReturn, TextIO

from lab.errors import PreflightError
from lab.kernel.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, unshare
from lab.sandbox.lacking import why_refused
from lab.sandbox.place import Place

__all__ = ["Holder", "end", "find", "has_ended", "make"]

_SUBORDINATE = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}
_MOST = 65_536
"""Numbers of users inside, if there are so many: those that Debian and its packages give, and the lab's own 65527."""


class Holder(NamedTuple):
    """A process that holds a sandbox, as its record has it."""

    pid: int
    started: int
    """When, in ticks since the machine started: no other process has both numbers (proc_pid_stat(5))."""
    descriptor: int
    """pidfd_open(2)."""

    @property
    def text(self) -> str:
        """What its record says."""
        return f"{self.pid} {self.started}\n"


class _Range(NamedTuple):
    """Numbers that the administrator has given to a user (subuid(5))."""

    first: int
    size: int


def find(place: Place) -> Holder | None:
    """The one that is remembered there, if it is alive. Callers hold the lock."""
    try:
        pid, started = (int(word) for word in place.record.read_text(encoding="ascii").split())
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if _start_time(pid) == started and _has_memory(pid):
        return Holder(pid, started, descriptor)
    os.close(descriptor)
    return None


def make(place: Place) -> Holder:
    """Make namespaces and the process that holds them, and remember it. Callers hold the lock.

    PreflightError: this machine allows none.
    """
    unfinished = place.record.with_suffix(".new")
    unfinished.unlink(missing_ok=True)  # of a command that was killed: the process that it began ends now
    record = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        pid = _made(place, record, _ranges_of_user()) or _made(place, record, {})
        if pid is None:
            raise PreflightError(why_refused(0, ""))
        holder = Holder(pid, _start_time(pid), os.pidfd_open(pid))
        os.write(record, holder.text.encode())
        unfinished.rename(place.record)
    finally:
        os.close(record)
        unfinished.unlink(missing_ok=True)
    return holder


def end(place: Place, holder: Holder) -> None:
    """End the process, and with it everything in its namespaces. Callers hold the lock."""
    with suppress(OSError):
        if place.record.read_text(encoding="ascii") == holder.text:
            place.record.unlink()
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(holder.descriptor, signal.SIGKILL)


def has_ended(descriptor: int) -> bool:
    """Whether a process has, also one whose parent has not taken notice yet (pidfd_open(2), poll)."""
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    return bool(ended.poll(0))


def _has_memory(pid: int) -> bool:
    """Not so of a process that is ending: the first of its namespace waits for all others, and none can enter then."""
    with suppress(OSError):
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    return False


def _start_time(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    return 0


def _made(place: Place, record: int, ranges: dict[str, _Range]) -> int | None:
    """The number of the holder: the first process of new namespaces, grandchild of this one.

    A process enters new user, mount and network namespaces itself, a process namespace only with its children
    (unshare(2)). Only a process outside may map more users than one (newuidmap(1)), which happens between; None if that
    is refused.
    """
    said, answered = os.pipe(), os.pipe()
    between = os.fork()
    if not between:
        _unshare_and_start(place, record, said, answered)
    os.close(said[1])
    os.close(answered[0])
    with os.fdopen(said[0], encoding="utf-8") as lines, os.fdopen(answered[1], "w", encoding="utf-8") as answer:
        try:
            _require(lines, "unshared")
            if not _map_users(between, ranges):
                return None
            answer.write("mapped")
            answer.close()
            pid = int(_require(lines, "holder").split()[1])
        finally:
            answer.close()
            os.waitpid(between, 0)
        _require(lines, "ready")
    return pid


def _require(lines: TextIO, word: str) -> str:
    """The next line, if it begins with this word; otherwise it is an error's number and text, or nothing."""
    line = lines.readline()
    if line.startswith(word):
        return line
    number, _, text = line.strip().partition(" ")
    raise PreflightError(why_refused(int(number) if number.isdecimal() else 0, text))


def _unshare_and_start(place: Place, record: int, said: tuple[int, int], answered: tuple[int, int]) -> NoReturn:
    """The process between: it waits for the maps, and ends when the holder has begun."""
    user = str(os.getuid())
    try:
        os.close(answered[1])
        unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWPID)
        os.write(said[1], b"unshared\n")
        if os.read(answered[0], 16):
            if holder := os.fork():
                os.write(said[1], f"holder {holder}\n".encode())
            else:
                _become_holder(place, user, record, said[1])
    except OSError as refusal:
        os.write(said[1], f"{refusal.errno} {refusal}\n".encode())
    finally:
        os._exit(0)


def _become_holder(place: Place, user: str, record: int, says: int) -> NoReturn:
    from lab.kernel.processes import environment  # noqa: PLC0415  # only who makes a sandbox needs it

    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    # Not onto themselves: dup2(2) would leave them to be closed at execve(2).
    first_free = max(null, record, says, 4) + 1
    wanted = (null, null, null, says, record)
    moved = [os.dup2(descriptor, first_free + number) for number, descriptor in enumerate(wanted)]
    for become, descriptor in enumerate(moved):
        os.dup2(descriptor, become)
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 -- names alone
        if int(name) > 4:  # noqa: PLR2004 -- those above
            with suppress(OSError):
                os.close(int(name))
    os.chdir("/")
    words = (sys.executable, "-P", "-m", "lab.sandbox.init", str(place.directory), user)
    os.execve(words[0], words, environment() | {"PATH": os.environ.get("PATH", os.defpath)})  # noqa: S606  # no shell


def _map_users(pid: int, ranges: dict[str, _Range]) -> bool:
    """Root inside is the user; further numbers that the administrator has given to the user are others there."""
    if ranges:
        return all(_newidmap(what, pid, given) for what, given in ranges.items())
    process = Path(f"/proc/{pid}")
    try:
        (process / "setgroups").write_text("deny", encoding="ascii")
        (process / "uid_map").write_text(f"0 {os.getuid()} 1", encoding="ascii")
        (process / "gid_map").write_text(f"0 {os.getgid()} 1", encoding="ascii")
    except OSError as refused:
        raise PreflightError(why_refused(refused.errno or 0, str(refused))) from refused
    return True


def _newidmap(what: str, pid: int, given: _Range) -> bool:
    program = shutil.which(f"new{what}map")
    own = os.getuid() if what == "uid" else os.getgid()
    words = [str(pid), "0", str(own), "1", "1", str(given.first), str(min(given.size, _MOST - 1))]
    return program is not None and not subprocess.run([program, *words], capture_output=True, check=False).returncode


def _ranges_of_user() -> dict[str, _Range]:
    """The user's first range of users and of groups with room for the lab's own user; nothing if one is missing."""
    names = {str(os.getuid())}
    with suppress(KeyError):
        names.add(pwd.getpwuid(os.getuid()).pw_name)
    found = {what: next(_ranges_in(file, names), None) for what, file in _SUBORDINATE.items()}
    ranges = {what: given for what, given in found.items() if given}
    return ranges if len(ranges) == len(_SUBORDINATE) else {}


def _ranges_in(file: Path, names: set[str]) -> Iterator[_Range]:
    with suppress(OSError):
        for line in file.read_text(encoding="utf-8").splitlines():
            name, *numbers = line.split(":")
            if name in names and all(number.isdecimal() for number in numbers) and len(numbers) == 2:  # noqa: PLR2004
                first, size = map(int, numbers)
                if size >= _MOST - 1:
                    yield _Range(first, size)

"""Processes in a lab's namespaces: the traffic processes that the lab starts, and all that must end with it.

What belongs to a lab is whatever lives in its namespaces: no list of process ids is kept, so none can be out of date.
A namespace whose name was taken away lives on with its processes; `lab.kernel.remains` finds those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
import json
import os
from pathlib import Path
import re
import select
import signal
import sys
import time
from typing import NamedTuple

from lab.errors import KernelError
from lab.kernel.netns import NETNS_DIRECTORY, Identity, NamespaceThread, exists, hosts_own, identity_of
from lab.plan.objects import Process
from traffic.privileges import LAB_UID

__all__ = [
    "NamespaceProcess",
    "StartingProcess",
    "all_processes",
    "arguments_of",
    "command",
    "end",
    "environment",
    "is_stopped",
    "last_log_line",
    "log_of",
    "processes_in",
    "running",
    "sees_all",
    "spawn",
    "start",
    "stop",
    "stop_all",
]

_READY_WITHIN_S = 20.0
_END_WITHIN_S = 3.0
_POLL_S = 0.01
_STANDARD_ERROR = 2
_UNREADABLE = "?"
_OURS = ("-m\0traffic\0", "-m\0lab.observe.collector\0")
"""An argument in the command line of every process that the lab starts, by which they are known."""


class StartingProcess(NamedTuple):
    """A process that has been started and will report when it is ready."""

    pid: int
    report: int
    """Descriptor of the read end of its standard output."""
    process: Process
    log: Path

    def wait_ready(self, within_s: float = _READY_WITHIN_S) -> None:
        """Return once it is ready; KernelError with its own message if it is not."""
        try:
            event = self._first_event(within_s)
        finally:
            os.close(self.report)
        if event.get("event") != "ready":
            raise KernelError(
                f"{self.process.verb} in {self.process.namespace} did not start: "
                f"{event.get('message', 'it said nothing')}"
            )

    def _first_event(self, within_s: float) -> dict[str, str]:
        readable = select.poll()  # a lab of many namespaces has descriptors that select(2) cannot watch, from 1,024 on
        readable.register(self.report, select.POLLIN)
        line, deadline = b"", time.monotonic() + within_s
        while not line.endswith(b"\n"):
            in_time = readable.poll(max(deadline - time.monotonic(), 0) * 1000)
            chunk = os.read(self.report, 4096) if in_time else b""
            if not chunk:
                return {"message": last_log_line(self.log) or f"no word from it within {within_s:.0f} s"}
            line += chunk
        event: dict[str, str] = json.loads(line)
        return event


def command(verb: str, spec: str, namespace: str) -> list[str]:
    """The command line of a traffic process; -P: no module of the directory that the user happens to stand in.

    Where it lives stands last, for those who may read its command line and not look at its namespace.
    """
    return [sys.executable, "-P", "-m", "traffic", verb, spec, namespace]


def arguments_of(verb: str) -> str:
    """Arguments by which a traffic process is known, whatever its spec, as `running` and `stop_all` take them."""
    return "\0".join(command(verb, "", "")[1:-2])


def environment() -> dict[str, str]:
    """The whole environment of the lab's processes, whatever secrets that of the caller has.

    UTF-8, no threads of numpy's, which would only take memory and time to start, and where root has said that modules
    are.
    """
    told = [str(Path(each).absolute()) for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    return {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"} | ({"PYTHONPATH": os.pathsep.join(told)} if told else {})


def last_log_line(log: Path) -> str:
    """The last line of a process's log, or nothing."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else ""


def start(inside: NamespaceThread, process: Process, log: Path) -> StartingProcess:
    """Start a traffic process in its namespace, in a session of its own, its standard error in `log`."""
    report, output = os.pipe()
    try:
        pid = inside.run(spawn, command(process.verb, process.spec, process.namespace), log, output)
    except BaseException:
        os.close(report)
        raise
    finally:
        os.close(output)
    return StartingProcess(pid, report, process, log)


def spawn(arguments: list[str], log: Path, output: int) -> int:
    """Start a process in the calling thread's namespace, for good; its standard output is the descriptor `output`."""
    return os.posix_spawn(
        arguments[0],
        arguments,
        environment(),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            # What the caller left open, a lock of `flock` for one, must not live as long as the lab.
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inherited()),
        ],
        setsid=True,
        setsigdef=[signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE],
    )


def _inherited() -> Iterator[int]:
    """Descriptors that a child would get; Python's own are not inheritable (PEP 446)."""
    for descriptor in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):  # the descriptor of the listing itself is closed by now
            if descriptor > _STANDARD_ERROR and os.get_inheritable(descriptor):
                yield descriptor


class NamespaceProcess(NamedTuple):
    """A process whose network namespace is one of a lab's."""

    pid: int
    command: str
    namespace: str
    ours: bool
    """Whether the lab started it: a traffic process, or its collector of samples."""


def processes_in(namespaces: Iterable[str]) -> list[NamespaceProcess]:
    """Every process of this machine whose network namespace is one of these."""
    names = tuple(namespaces)
    return _residents(_identities(names), names)


def sees_all() -> bool:
    """Whether this process may see those of other users: /proc may hide them from whoever is not root (hidepid)."""
    return _read(1, "cmdline") != _UNREADABLE


def is_stopped(pid: int) -> bool:
    """Whether a signal or a debugger has stopped a process (proc_pid_stat(5)): it answers nothing, and is not gone."""
    state = _read(pid, "stat").rpartition(")")[2].split()[:1]
    return state in (["T"], ["t"])


def _identities(namespaces: Iterable[str]) -> dict[Identity, str]:
    return {identity_of(NETNS_DIRECTORY / name): name for name in namespaces if exists(name)}


def _residents(identities: Mapping[Identity, str], told: Collection[str]) -> list[NamespaceProcess]:
    """Processes in these namespaces; where the kernel does not say where they are, those that were told one of these.

    A name that was told may be gone from /run/netns.
    """
    names = dict(identities)
    # A name that leads to the host's own namespace must not end every process of this machine.
    names.pop(hosts_own(), None)
    return [
        NamespaceProcess(pid, _read(pid, "comm"), namespace, any(words in _read(pid, "cmdline") for words in _OURS))
        for pid in _pids()
        if pid != os.getpid() and (namespace := _namespace_of(pid, names, told)) is not None
    ]


def _namespace_of(pid: int, names: Mapping[Identity, str], told: Collection[str]) -> str | None:
    """Which of these namespaces a process lives in, as the kernel says or, where it does not, as the process was told.

    Only root with CAP_SYS_PTRACE may look at the namespaces of the lab's user (ptrace(2), "access mode checking"): a
    container's root often lacks it, and `lab list` needs no root at all.
    """
    try:
        return names.get(identity_of(Path(f"/proc/{pid}/ns/net")))
    except PermissionError:
        arguments = _read(pid, "cmdline").rstrip("\0")
        namespace = arguments.rpartition("\0")[2]
        is_ours = namespace in told and any(words in arguments for words in _OURS) and _is_trusted(pid)
        return namespace if is_ours else None
    except OSError:  # it ended meanwhile, or is a zombie, which is in no namespace
        return None


def _is_trusted(pid: int) -> bool:
    """Whether a process is root's or the lab's own user's; others may write what they like on a command line."""
    user = re.search(r"^Uid:\t(\d+)", _read(pid, "status"), re.MULTILINE)
    return user is not None and int(user[1]) in (0, LAB_UID)


def end(namespaces: Iterable[str], unnamed: Mapping[Identity, str] | None = None) -> list[NamespaceProcess]:
    """End every process in these namespaces, and in some without names, by SIGTERM and then SIGKILL; which they were.

    What has no name any more is told by its identity, and called as it was.
    """
    names = tuple(namespaces)
    identities = {**(unnamed or {}), **_identities(names)}
    ended = _residents(identities, names)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in _residents(identities, names):
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)
        if _gone(identities, names, ended):
            return ended
    left = ", ".join(f"{process.command} ({process.pid})" for process in _residents(identities, names))
    raise KernelError(f"these processes do not end: {left}")


def stop(process: Process) -> None:
    """End this traffic process, and nothing else of its namespace; an earlier version told it no namespace."""
    stop_all([process.namespace], "\0".join(command(process.verb, process.spec, "")[1:-1]))


def running(namespaces: Iterable[str], arguments: str) -> list[NamespaceProcess]:
    """The processes in these namespaces whose command line has these arguments, with zero bytes between them."""
    return [process for process in processes_in(namespaces) if arguments in _read(process.pid, "cmdline")]


def stop_all(namespaces: Iterable[str], arguments: str) -> None:
    """End the processes in these namespaces whose command line has these arguments."""
    names = tuple(namespaces)
    deadline = time.monotonic() + _END_WITHIN_S
    while left := running(names, arguments):
        late = time.monotonic() > deadline
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL if late else signal.SIGTERM)
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
        time.sleep(_POLL_S)


def _gone(identities: Mapping[Identity, str], names: Collection[str], ended: list[NamespaceProcess]) -> bool:
    deadline = time.monotonic() + _END_WITHIN_S
    while _residents(identities, names):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    for process in ended:
        with suppress(ChildProcessError):  # ours only if this very process started the lab
            os.waitpid(process.pid, 0)  # it has left its namespace, so it is ending: this takes no time
    return True


def log_of(pid: int) -> Path | None:
    """The file that a process of root's, or of the lab's own user, has as its standard error."""
    with suppress(OSError):
        if Path(f"/proc/{pid}").stat().st_uid in (0, LAB_UID):
            return Path(f"/proc/{pid}/fd/{_STANDARD_ERROR}").readlink()
    return None


def all_processes() -> Iterator[tuple[int, Identity]]:
    """Every process of this machine, with its network namespace."""
    for pid in _pids():
        with suppress(OSError):  # it ended meanwhile, or may not be looked at
            yield pid, identity_of(Path(f"/proc/{pid}/ns/net"))


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _read(pid: int, what: str) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/{what}").read_text(encoding="utf-8", errors="replace").strip()
    return _UNREADABLE

"""A command goes on inside of the user's sandbox: this process waits for it, and ends as it ends."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import resource
import signal
from typing import NamedTuple, NoReturn

from lab.errors import PreflightError
from lab.kernel.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, die_with_parent, setns
from lab.plan.names import RECORDS
from lab.sandbox import holder, outside
from lab.sandbox.holder import Holder
from lab.sandbox.mounts import link_what_is_new
from lab.sandbox.place import Place

__all__ = ["become", "end_with_this_command", "enter"]

_OF_THE_KERNEL = {
    *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
    *(signal.SIGILL, signal.SIGTRAP, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV, signal.SIGSYS),
}
"""Signals that have another meaning than that somebody has sent them to a command."""
_PASSED_ON = signal.valid_signals() - _OF_THE_KERNEL
_WAITED_FOR = {*_PASSED_ON, signal.SIGCHLD, signal.SIGCONT}
_wish: list[int] = []
"""Inside: a descriptor, by which this process says that the sandbox is to end with it."""


class _Outside(NamedTuple):
    """What the process that waits knows."""

    place: Place
    holder: Holder
    child: int
    wish: int
    """Readable if the sandbox is to end."""
    terminal: int | None
    """A descriptor of the terminal, if this process is in its foreground."""


def enter(*, make: bool, listens: bool = False) -> bool:
    """Go on inside, in a new process; the caller's ends with it, and never returns. False: there is no sandbox.

    One is made if there is none and `make` says so. With `listens` the command may listen in the user's own network
    (`outside.listen`). The process must have one thread (setns(2)). PreflightError: this machine allows no sandbox, or
    the one there is cannot be entered.
    """
    if listens:
        outside.fork_answering()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # whoever started this command may have it ignored
    for place in Place.all():
        with place.locked():
            if known := holder.find(place):
                waiting = _fork_inside(place, known)
                break
    else:
        if not make:
            return False
        place = Place.new()
        with place.locked():
            waiting = _fork_inside(place, holder.find(place) or holder.make(place))
    if waiting:
        _end_as_the_child(waiting)
    return True


def end_with_this_command() -> None:
    """Inside: have the sandbox end when this command has, unless there is a lab in it then."""
    for descriptor in _wish:
        os.write(descriptor, b"\n")


def become(command: list[str]) -> NoReturn:
    """Execute a program in place of this process, inside or, as root, where it is; PreflightError: there is none."""
    from lab.kernel.become import run  # noqa: PLC0415  # 0.02 s that other commands save

    run(command)


def _fork_inside(place: Place, known: Holder) -> _Outside | None:
    """None in the process inside. Signals are blocked in the other one from here on."""
    directory = None
    with suppress(OSError):  # it has been removed: the command runs in / then
        directory = Path.cwd()
    terminal = _terminal()
    parent, (read, written) = os.pidfd_open(os.getpid()), os.pipe()
    try:
        setns(known.descriptor, CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_WAITED_FOR, signal.SIGTTOU})
        child = os.fork()
        if not child:
            die_with_parent(signal.SIGKILL)
            if holder.has_ended(parent):
                os._exit(128 + signal.SIGKILL)
            setns(known.descriptor, CLONE_NEWNET)
    except OSError as refused:
        raise PreflightError(
            f"your sandbox, which process {known.pid} holds, cannot be entered: {refused}; end it: kill {known.pid}"
        ) from refused
    if directory:
        with suppress(OSError):
            os.chdir(directory)  # a process that enters a mount namespace is at its root
    if child:
        os.close(written)
        os.set_blocking(read, False)
        return _Outside(place, known, child, read, terminal)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for descriptor in (known.descriptor, parent, read):
        os.close(descriptor)
    _wish[:] = [written]
    for variable in ("SUDO_UID", "SUDO_GID", "SUDO_USER"):  # root's number is the user's own here
        os.environ.pop(variable, None)
    link_what_is_new()
    return None


def _terminal() -> int | None:
    for descriptor in range(3):
        with suppress(OSError):
            if os.tcgetpgrp(descriptor) == os.getpgrp():
                return descriptor
    return None


def _end_as_the_child(waiting: _Outside) -> NoReturn:
    """Wait for the process inside, pass on what is sent to this one, and end as it does."""
    while True:
        info = signal.sigwaitinfo(_WAITED_FOR)
        if info.si_signo in _PASSED_ON and info.si_code <= 0:  # those of a terminal (SI_KERNEL) it gets by itself
            with suppress(ProcessLookupError):
                os.kill(waiting.child, info.si_signo)
        elif info.si_signo == signal.SIGCONT:
            os.kill(waiting.child, signal.SIGCONT)
        ended, status = os.waitpid(waiting.child, os.WNOHANG | os.WUNTRACED)
        if not ended:
            continue
        if waiting.terminal is not None:  # an interactive shell inside cannot give it back to a group outside
            with suppress(OSError):
                os.tcsetpgrp(waiting.terminal, os.getpgrp())
        if os.WIFSTOPPED(status):  # so that the shell notices
            os.kill(os.getpid(), signal.SIGSTOP)
            continue
        _end_the_sandbox_if_wished(waiting)
        if os.WIFSIGNALED(status):
            _die_of(os.WTERMSIG(status), waiting.holder)
        os._exit(os.waitstatus_to_exitcode(status))


def _end_the_sandbox_if_wished(waiting: _Outside) -> None:
    with suppress(BlockingIOError):
        if os.read(waiting.wish, 1):
            with waiting.place.locked():
                if not any(entry.is_dir() for entry in RECORDS.glob("*")):
                    holder.end(waiting.place, waiting.holder)


def _die_of(number: int, held_by: Holder) -> NoReturn:
    if number == signal.SIGKILL and holder.has_ended(held_by.descriptor):
        os.write(2, b"your sandbox has been ended meanwhile, and this command with it\n")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it would be this process's, not the command's
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # the first process of a container is spared

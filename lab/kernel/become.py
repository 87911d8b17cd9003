"""A program of this machine in a namespace of a lab, in place of this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
import signal
from typing import NoReturn

from lab.kernel.preflight import find, require_program, search_path

__all__ = ["become", "run"]

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


def become(namespace: str, command: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Execute a command in a namespace (execve(2)) with these variables set: its exit status is this process's.

    PreflightError when there is no such program.
    """
    require_program(command[0])
    # `ip netns exec` also mounts the node's own resolv.conf over /etc, in a mount namespace of the command's.
    run(["ip", "netns", "exec", namespace, *command], variables)


def run(command: list[str], variables: Mapping[str, str] | None = None) -> NoReturn:
    """Execute a command with these variables set, in place of this process; PreflightError when there is none such."""
    require_program(command[0])
    os.environ.update(variables or {}, PATH=search_path())
    for number in _IGNORED_BY_PYTHON:  # and, unless this is undone, by the command as well (execve(2))
        signal.signal(number, signal.SIG_DFL)
    os.execv(find(command[0]) or command[0], command)  # noqa: S606  # no shell wanted

"""Processes of a lab that have as many files and sockets open as they may: their next socket() fails with EMFILE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
import os
from pathlib import Path
import re
from typing import NamedTuple

from lab.kernel.processes import processes_in

__all__ = ["FullProcess", "full_processes"]

_SOFT_LIMIT = re.compile(r"^Max open files +(\d+) ", re.MULTILINE)
"""RLIMIT_NOFILE in /proc/PID/limits (proc(5)); `unlimited` is no number."""


class FullProcess(NamedTuple):
    """A process without a descriptor left."""

    namespace: str
    pid: int
    command: str
    limit: int


def full_processes(namespaces: Iterable[str]) -> Iterator[FullProcess]:
    """Those in these namespaces."""
    for process in processes_in(namespaces):
        with suppress(OSError):  # it has ended meanwhile
            limit = _SOFT_LIMIT.search(Path(f"/proc/{process.pid}/limits").read_text(encoding="utf-8"))
            if limit and len(os.listdir(f"/proc/{process.pid}/fd")) >= int(limit[1]):  # noqa: PTH208 -- names alone
                yield FullProcess(process.namespace, process.pid, process.command, int(limit[1]))

"""One process at a time sends SYNs, so that all know in which order the network saw them.

A SYN has gone through the whole lab when connect() returns: the kernel carries a packet from one namespace to the next
in the same softirq. What is sent in turn therefore arrives in turn, and the number of a connection in the order of
first SYNs is exact although several processes connect. In the same order connections are given their addresses and
ports, as in a burst of one process: a port's second connection does not come before the first ones of all others.
"""

from __future__ import annotations

from contextlib import contextmanager
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Gate", "Turn", "Turnstile"]

_WORD_BYTES = 8


class Turn(NamedTuple):
    """What holds while a process has the turn."""

    attempted: int
    """First SYNs of all processes before this turn."""
    numbered: int
    """Connections of all processes that have been given an address and port."""
    leaving: int
    """Connections of all processes that have ended or begun to, as far as each has told."""
    established: int
    """Connections of all processes that are open, as far as each has told."""


class Turnstile:
    """Memory that processes share after fork(): what all of them have done so far, and what each of them has."""

    def __init__(self, processes: int) -> None:
        size = 2 * (1 + processes) * _WORD_BYTES
        self._descriptor = os.memfd_create("turnstile")
        os.ftruncate(self._descriptor, size)
        self._words = np.frombuffer(mmap.mmap(self._descriptor, size), np.int64)

    def gate(self, process: int) -> Gate:
        """The turnstile as one process uses it."""
        return Gate(self._descriptor, self._words, process)


class Gate:
    """One process's way in."""

    def __init__(self, descriptor: int, words: np.ndarray[tuple[int], np.dtype[np.int64]], process: int) -> None:
        self._descriptor = descriptor
        self._all, self._each = words[:2], words[2:].reshape(-1, 2)
        self._mine = self._each[process]

    @contextmanager
    def turn(self, attempts: int, new: int, *, leaving: int, established: int) -> Iterator[Turn]:
        """Send this many first SYNs within, so many of them by connections that have no number yet.

        The others are told how many have left this process and are open in it. A process that is killed meanwhile
        keeps nobody waiting: its lock ends with it (fcntl(2)).
        """
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            self._mine[:] = leaving, established
            yield Turn(*self._all.tolist(), *self._each.sum(axis=0).tolist())
        finally:
            self._all += attempts, new
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

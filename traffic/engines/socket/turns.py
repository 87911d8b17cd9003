"""One process at a time sends SYNs, so that all know in which order the network saw them.

A SYN has crossed the whole lab when connect() returns: the kernel carries a packet from one namespace to the next in
the same softirq. What is sent in turn therefore arrives in turn, and the number of a connection in the order of first
SYNs is exact although several processes connect. In the same order connections are given their addresses and ports, as
in a burst of one process: a port is not used for the second time before all others have been used once.
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

__all__ = ["Turn", "Turns"]

_WORD_BYTES = 8


class Turn(NamedTuple):
    """What holds during a turn."""

    attempted: int
    """First SYNs of all processes before this turn."""
    assigned: int
    """Connections of all processes that have been given an address and port."""
    leaving: int
    """Connections of all processes that have ended or begun to, as of each process's last turn."""
    established: int
    """Connections of all processes that are open, as of each process's last turn."""


class Turns:
    """A lock, and memory that processes share after fork(): sums over all processes, and counts of each."""

    def __init__(self, processes: int) -> None:
        size = 2 * (1 + processes) * _WORD_BYTES
        self._descriptor = os.memfd_create("turns")
        os.ftruncate(self._descriptor, size)
        words = np.frombuffer(mmap.mmap(self._descriptor, size), np.int64)
        self._sums, self._counts = words[:2], words[2:].reshape(-1, 2)
        self.process = 0
        """Which process this is; to be set after fork()."""

    @contextmanager
    def take(self, attempts: int, new: int, *, leaving: int, established: int) -> Iterator[Turn]:
        """A turn to send this many first SYNs, `new` of them by connections that have no number yet.

        The other processes learn how many connections of this one have left and how many are open. A process that is
        killed does not block the others: its lock ends with it (fcntl(2)).
        """
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            self._counts[self.process] = leaving, established
            yield Turn(*self._sums.tolist(), *self._counts.sum(axis=0).tolist())
        finally:
            self._sums += attempts, new
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

"""The descriptors of execution environments whose real sockets are spread over several processes.

The kernel counts descriptors by process (RLIMIT_NOFILE), and a process here makes the connections of many environments,
or some of one. So each environment's are counted in memory that all processes share.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.descriptors import Account

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.clients.counts import Counts
    from traffic.clients.state import Indices
    from traffic.engines.socket.sockets import Sources
    from traffic.engines.socket.turns import Turns

__all__ = ["SharedAccount", "shared_descriptors"]


def shared_descriptors(environments: int, each: int) -> NDArray[np.int64]:
    """How many each environment has left, in memory that is shared after fork()."""
    free = np.frombuffer(mmap.mmap(-1, environments * np.dtype(np.int64).itemsize), np.int64)
    free[:] = each
    return free


class SharedAccount:
    """`Descriptors`; a connection gets its number, and with it its environment, when it takes one."""

    def __init__(self, counts: Counts, sources: Sources, turns: Turns, free: NDArray[np.int64]) -> None:
        self._counts, self._sources, self._turns = counts, sources, turns
        self._environments = np.zeros(len(sources), np.int64)
        self._account = Account(self._environments, free)

    def take(self, indices: Indices) -> NDArray[np.bool_]:
        """Which of these have got one, in turn with all other processes."""
        counts, new = self._counts, self._sources.unassigned(indices)
        with self._turns.take(0, new, leaving=counts.leaving, established=counts.open) as turn:
            self._sources.assign(indices, turn.assigned)
            self._environments[indices] = self._sources.environments(indices)
            return self._account.take(indices)

    def give_back(self, indices: Indices) -> None:
        """Those of these that have one have closed it."""
        with self._turns.take(0, 0, leaving=self._counts.leaving, established=self._counts.open):
            self._account.give_back(indices)

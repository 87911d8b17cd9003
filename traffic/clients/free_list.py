"""The free list: which connection an invocation gets, each path's in turn, the one that has rested longest first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from traffic.clients.state import Indices

__all__ = ["FreeList"]


class FreeList:
    """Connections without an invocation, in the order in which they are to be used.

    Paths take turns, as Lambda spreads environments over a function's subnets: connection `c` has path `c % paths`.
    One that has ended rests before it is used again, until its slots and conntrack entries are gone.
    """

    def __init__(self, connections: int, paths: int, rest_s: float) -> None:
        self._paths, self._rest_s = paths, rest_s
        self._free = [np.arange(path, connections, paths) for path in range(paths)]
        self._next_path = 0
        self._resting: deque[tuple[float, Indices]] = deque()

    def take(self, limit: int, now_s: float) -> Indices:
        """The next free connections, at most so many; fewer while the path whose turn it is has none."""
        self._end_rests(now_s)
        turns = [(self._next_path + turn) % self._paths for turn in range(self._paths)]
        count = min(limit, *(len(self._free[path]) * self._paths + turn for turn, path in enumerate(turns)))
        if count <= 0:
            return np.zeros(0, np.int64)
        taken = np.zeros(count, np.int64)
        for turn, path in enumerate(turns):
            wanted = len(range(turn, count, self._paths))
            taken[turn :: self._paths] = self._free[path][:wanted]
            self._free[path] = self._free[path][wanted:]
        self._next_path = (self._next_path + count) % self._paths
        return taken

    def release(self, indices: Indices, now_s: float) -> None:
        """Connections have ended: their rest begins."""
        if len(indices):
            self._resting.append((now_s + self._rest_s, indices))

    def give_back(self, indices: Indices) -> None:
        """Connections of which no packet was sent: they are free at once."""
        of_path = indices % self._paths
        self._free = [np.concatenate((free, indices[of_path == path])) for path, free in enumerate(self._free)]

    def _end_rests(self, now_s: float) -> None:
        rested = []
        while self._resting and self._resting[0][0] <= now_s:
            rested.append(self._resting.popleft()[1])
        if rested:
            self.give_back(np.concatenate(rested))

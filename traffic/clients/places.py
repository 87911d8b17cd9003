"""Which connection an invocation gets: each ENI's in turn, the one that has rested longest first."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from traffic.clients.state import Indices

__all__ = ["Places"]


class Places:
    """The connections that are free, in the order in which they are to be taken.

    Paths take turns, as Lambda spreads environments over a function's subnets: connection `c` has path `c % paths`.
    One that has ended rests before it is taken again: its slots and conntrack entries must be gone by then.
    """

    def __init__(self, connections: int, paths: int, rest_s: float) -> None:
        self._paths, self._rest_s = paths, rest_s
        everyone = np.arange(connections)
        self._free = [everyone[path::paths] for path in range(paths)]
        self._turn = 0
        self._resting: deque[tuple[float, Indices]] = deque()

    def take(self, limit: int, now_s: float) -> Indices:
        """The next free connections, at most so many; fewer while the path whose turn it is has none."""
        self._wake(now_s)
        order = [(self._turn + place) % self._paths for place in range(self._paths)]
        count = min(limit, *(len(self._free[path]) * self._paths + place for place, path in enumerate(order)))
        if count <= 0:
            return np.zeros(0, np.int64)
        taken = np.zeros(count, np.int64)
        for place, path in enumerate(order):
            wanted = len(range(place, count, self._paths))
            taken[place :: self._paths] = self._free[path][:wanted]
            self._free[path] = self._free[path][wanted:]
        self._turn = (self._turn + count) % self._paths
        return taken

    def give(self, indices: Indices, now_s: float) -> None:
        """Connections have ended."""
        if len(indices):
            self._resting.append((now_s + self._rest_s, indices))

    def _wake(self, now_s: float) -> None:
        woken = []
        while self._resting and self._resting[0][0] <= now_s:
            woken.append(self._resting.popleft()[1])
        if woken:
            indices = np.concatenate(woken)
            path = indices % self._paths
            self._free = [np.concatenate((free, indices[path == each])) for each, free in enumerate(self._free)]

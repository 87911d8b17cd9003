"""Pacing of requests: a window limits how many are unanswered at a time.

A SYN that is lost on the way would blur the exact threshold that a burst shows, so no queue may overflow: neither the
backlog of 1,000 packets (net.core.netdev_max_backlog) nor a ring at the other end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from traffic.clients.state import Indices

__all__ = ["Pace", "Window"]


class Pace(NamedTuple):
    """How many requests may be unanswered at a time, and after how long one is taken for dropped."""

    at_once: int
    patience_s: float


class Window:
    """Unanswered requests, at most `pace.at_once`."""

    def __init__(self, connections: int, pace: Pace) -> None:
        self._size, self._patience_s = pace
        self._outstanding = 0
        self._on_the_way = np.zeros(connections, np.bool_)
        self._scratch = np.zeros(connections, np.uint32)
        self._sent: deque[tuple[float, Indices]] = deque()

    @property
    def free(self) -> int:
        """How many more requests may be sent."""
        return self._size - self._outstanding

    def sent(self, indices: Indices, now_s: float) -> None:
        """Count these requests as unanswered from now on."""
        self._outstanding += len(indices) - int(np.count_nonzero(self._on_the_way[indices]))
        self._on_the_way[indices] = True
        self._sent.append((now_s + self._patience_s, indices))

    def answered(self, indices: Indices) -> None:
        """Answers came, or are not waited for any more; each request counts once."""
        if not self._outstanding:
            return
        counted = indices[self._on_the_way[indices]]
        if len(counted):
            places = np.arange(len(counted), dtype=np.uint32)
            self._scratch[counted] = places  # an index that is there twice keeps one place
            self._outstanding -= int(np.count_nonzero(self._scratch[counted] == places))
            self._on_the_way[counted] = False

    def expire(self, now_s: float) -> None:
        """Take requests for dropped that were sent too long ago."""
        while self._sent and self._sent[0][0] <= now_s:
            self.answered(self._sent.popleft()[1])

    def next_expiry_s(self) -> float:
        """When `expire` has something to do again."""
        return self._sent[0][0] if self._sent else float("inf")

"""Connections that wait for their SYN, of functions that take turns.

Answers of the name server reach each function's environments by an interface of its own, so they may come in another
order than the questions went. The SYNs are sent in the order of the connections' numbers all the same, for the order in
which SYNs meet a limit that functions share says which of them are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.state import State

if TYPE_CHECKING:
    from traffic.clients.state import Connections, Indices

__all__ = ["TurnQueue"]


class TurnQueue:
    """Gives connections in turn; one whose turn it is and whose name is being looked up is waited for a moment."""

    def __init__(self, connections: Connections, patience_s: float) -> None:
        self._connections, self._patience_s = connections, patience_s
        self._waiting: Indices = np.zeros(0, np.int64)

    def add(self, indices: Indices) -> None:
        """These are to be called."""
        self._waiting = np.concatenate((self._waiting, indices))

    def take(self, limit: int, now_s: float) -> Indices:
        """The next ones, at most so many."""
        if not len(self._waiting):
            return self._waiting
        self._waiting = np.sort(self._waiting)
        due = self._waiting[self._waiting < self._looked_up(now_s)][:limit]
        self._waiting = self._waiting[len(due) :]
        answered: Indices = due[self._connections.state[due] == State.ANSWERED]
        return answered

    def _looked_up(self, now_s: float) -> int:
        """The first connection whose answer may come any moment; past the last one if there is none."""
        asking = self._connections.state == State.ASKING
        soon = np.flatnonzero(asking & (self._connections.since_s > now_s - self._patience_s))
        return int(soon[0]) if len(soon) else len(self._connections)

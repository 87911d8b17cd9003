"""Connections that wait for their SYN, of functions that take turns.

Answers of the name server reach each function's environments by an interface of its own, so they may come in another
order than the questions went. The SYNs are sent in the functions' turn all the same, for the order in which SYNs meet a
limit that functions share says which of them are refused.
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

    def __init__(self, connections: Connections, fleets: int, patience_s: float) -> None:
        self._connections, self._fleets, self._patience_s = connections, fleets, patience_s
        self._waiting = [np.zeros(0, np.int64)] * fleets
        self._taken = [0] * fleets

    def add(self, indices: Indices) -> None:
        """These are to be called."""
        fleet = indices % self._fleets
        for place in np.unique(fleet).tolist():
            self._waiting[place] = np.concatenate((self._waiting[place], indices[fleet == place]))

    def take(self, limit: int, now_s: float) -> Indices:
        """The next ones, at most so many."""
        if not any(map(len, self._waiting)):
            return np.zeros(0, np.int64)
        turns = [
            (taken + np.arange(len(waiting))) * self._fleets + place
            for place, (taken, waiting) in enumerate(zip(self._taken, self._waiting, strict=True))
        ]
        until = min(
            (
                (self._taken[place] + len(waiting)) * self._fleets + place
                for place, waiting in enumerate(self._waiting)
                if self._looks_up(place, now_s)
            ),
            default=None,
        )
        order = np.sort(np.concatenate(turns))
        order = order[:limit] if until is None else order[order < until][:limit]
        if not len(order):
            return order
        counts = [int(np.count_nonzero(mine <= order[-1])) for mine in turns]
        taken = np.concatenate([waiting[:count] for waiting, count in zip(self._waiting, counts, strict=True)])
        keys = np.concatenate([mine[:count] for mine, count in zip(turns, counts, strict=True)])
        self._waiting = [waiting[count:] for waiting, count in zip(self._waiting, counts, strict=True)]
        self._taken = [before + count for before, count in zip(self._taken, counts, strict=True)]
        calling: Indices = taken[np.argsort(keys)]
        answered: Indices = calling[self._connections.state[calling] == State.ANSWERED]
        return answered

    def _looks_up(self, place: int, now_s: float) -> bool:
        """Whether a function's connections wait for an answer that may come any moment."""
        mine = slice(place, None, self._fleets)
        asking = self._connections.state[mine] == State.ASKING
        return bool((asking & (self._connections.since_s[mine] > now_s - self._patience_s)).any())

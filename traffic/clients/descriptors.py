"""Descriptors of execution environments: a look-up's socket takes one, its connection keeps it, a close gives it back.

A process may have so many (RLIMIT_NOFILE), and socket() then fails with EMFILE (socket(2)), that of a look-up first:
`getaddrinfo EMFILE`. Nothing is sent. A look-up's questions share one socket, which is closed before the connection's
is opened, so an invocation needs one descriptor from its beginning on. A host that is no function has a program at each
of its addresses, which has descriptors of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from traffic.fleet import Fleet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.spec import BurstSpec

__all__ = ["Account", "Descriptors", "descriptors_of"]


class Descriptors(Protocol):
    """Says which connections get a descriptor."""

    def take(self, indices: Indices) -> NDArray[np.bool_]:
        """Which of these have got one, in their order."""

    def give_back(self, indices: Indices) -> None:
        """Those of these that have one have closed it."""


def descriptors_of(spec: BurstSpec) -> Descriptors:
    """Those of a burst that one process makes, where a connection's index tells its environment."""
    if spec.descriptors is None:
        return _Unlimited()
    fleet = Fleet(spec)
    free = np.full(fleet.environments_used, spec.descriptors)
    return Account(fleet.environments(np.arange(spec.connections)), free)


class _Unlimited:
    """As many as are asked for."""

    def take(self, indices: Indices) -> NDArray[np.bool_]:
        """All of them."""
        return np.ones(len(indices), np.bool_)

    def give_back(self, indices: Indices) -> None:
        """Nobody counts."""


class Account:
    """`Descriptors` of which each environment has so many."""

    def __init__(self, environments: NDArray[np.int64], free: NDArray[np.int64]) -> None:
        """The environment of each connection, and how many each environment has left."""
        self._environments, self._free = environments, free
        self._taken = np.zeros(len(environments), np.bool_)

    def take(self, indices: Indices) -> NDArray[np.bool_]:
        """Those that come first in their environment, as far as it has any left."""
        environments = self._environments[indices]
        succeed = _places(environments) < self._free[environments]
        np.subtract.at(self._free, environments[succeed], 1)
        self._taken[indices[succeed]] = True
        return succeed

    def give_back(self, indices: Indices) -> None:
        """A connection's second close changes nothing."""
        taken = indices[self._taken[indices]]
        self._taken[taken] = False
        np.add.at(self._free, self._environments[taken], 1)


def _places(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many equal values come before each."""
    order = np.argsort(values, kind="stable")
    in_order = values[order]
    places = np.empty(len(values), np.int64)
    places[order] = np.arange(len(values)) - np.searchsorted(in_order, in_order)
    return places

"""A process's sockets, one for each connection that has one, and the epoll that watches them all."""

from __future__ import annotations

import resource
import select
import socket
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.fleet import Endpoints, Fleet

__all__ = ["Option", "Seats", "Table", "dotted"]

_EVENTS = 512
_NONE = -1

Option = tuple[int, int, int]
"""Level, name and value, as setsockopt() takes them."""


def dotted(address: int) -> str:
    """An IPv4 address as text."""
    return socket.inet_ntoa(address.to_bytes(4, "big"))


class Seats:
    """The numbers of a process's connections in the whole fleet, from which their addresses and ports follow."""

    def __init__(self, fleet: Fleet, count: int) -> None:
        """So many connections, none of which has a number yet."""
        self._fleet = fleet
        self._number = np.full(count, _NONE, np.int64)

    def __len__(self) -> int:
        return len(self._number)

    def new(self, indices: Indices) -> int:
        """How many have no number yet."""
        return int((self._number[indices] == _NONE).sum())

    def take(self, indices: Indices, next_number: int) -> Endpoints:
        """Where each begins; those without a number are given the next ones, for good."""
        new = indices[self._number[indices] == _NONE]
        self._number[new] = next_number + np.arange(len(new))
        return self._fleet.endpoints(self._number[indices])


class Table:
    """Sockets by the index of their connection; each is bound to its connection's address and port."""

    def __init__(self, seats: Seats, kind: socket.SocketKind, events: int, options: Iterable[Option] = ()) -> None:
        self._seats = seats
        # An earlier connection's TIME_WAIT has the address and port; connect() sees whether the whole tuple is free.
        self._options = ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), *options)
        self._kind, self._events = kind | socket.SOCK_NONBLOCK, events
        self._sockets: list[socket.socket | None] = [None] * len(seats)
        self._index = np.full(resource.getrlimit(resource.RLIMIT_NOFILE)[0], -1, np.int64)
        """Descriptor → index of its connection."""
        self._epoll = select.epoll()

    def __getitem__(self, index: int) -> socket.socket:
        """A connection's socket; it must have one."""
        found = self._sockets[index]
        if found is None:
            raise LookupError(f"connection {index} has no socket")
        return found

    def fileno(self) -> int:
        """Readable when something has happened to a socket."""
        return self._epoll.fileno()

    def open(self, indices: Indices, next_number: int) -> list[socket.socket]:
        """A socket for each, in its seat; `next_number` as in `Seats.take`."""
        ends = self._seats.take(indices, next_number)
        places = zip(indices.tolist(), ends.address.tolist(), ends.port.tolist(), strict=True)
        return [self._open(*place) for place in places]

    def _open(self, index: int, address: int, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, self._kind)
        for option in self._options:
            made.setsockopt(*option)
        made.bind((dotted(address), port))
        self._sockets[index] = made
        self._index[made.fileno()] = index
        return made

    def watch(self, made: list[socket.socket]) -> None:
        """From now on `poll` tells of these."""
        register, events = self._epoll.register, self._events
        for each in made:
            register(each, events)

    def poll(self) -> tuple[Indices, NDArray[np.uint32]]:
        """Whom something has happened to by now, and what: epoll(7)'s bits."""
        happened = self._epoll.poll(0, _EVENTS)
        if not happened:
            return np.zeros(0, np.int64), np.zeros(0, np.uint32)
        descriptors, events = np.array(happened).T
        return self._index[descriptors], events.astype(np.uint32)

    def close(self, indices: Indices) -> None:
        """Close those that are open; an epoll forgets what is closed."""
        for index in indices.tolist():
            found = self._sockets[index]
            if found is not None:
                self._sockets[index] = None
                self._index[found.fileno()] = -1
                found.close()

"""The sockets of a process, one for each connection that has one, and the epoll that watches them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
import resource
import select
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from traffic.clients.state import Indices
    from traffic.fleet import Endpoints, Fleet
    from traffic.namespaces import Namespace

__all__ = ["SocketTable", "Sources", "TcpInfo", "bind_apart", "dotted", "tcp_info"]

_EVENTS = 512
_IP_BIND_ADDRESS_NO_PORT = 24
"""connect() chooses the port, by the whole tuple and not by the address alone (ip(7)); Python does not name it."""
_UNASSIGNED = -1
_TCP_INFO = struct.Struct("=B23xI72xI36xI8xI")
"""`tcpi_state`, `tcpi_unacked`, `tcpi_total_retrans`, `tcpi_segs_in` and `tcpi_data_segs_in` in `struct tcp_info`
(include/uapi/linux/tcp.h)."""


def dotted(address: int) -> str:
    """An IPv4 address as text."""
    return socket.inet_ntoa(address.to_bytes(4, "big"))


def bind_apart(client: socket.socket, address: str, end: int, first: int = 1) -> None:
    """Bind to a free port below `end`, where a host's ephemeral ones begin, so that none of those is taken away.

    The next free one from `first` on: another burst may ask from there, too.
    """
    for number in range(end - 1):
        with suppress(OSError):
            client.bind((address, 1 + (first - 1 + number) % (end - 1)))
            return
    raise OSError(f"{address} has no free UDP port below {end} for a question to the name server")


class TcpInfo(NamedTuple):
    """What the kernel knows of a TCP connection."""

    state: int
    """As in include/net/tcp_states.h."""
    unacknowledged: int
    """Segments sent that have not been acknowledged."""
    retransmissions: int
    """Segments that were sent again; until data is sent, only SYNs can be."""
    segments: int
    """Segments received."""
    with_data: int
    """Of those, the ones with data."""


def tcp_info(client: socket.socket) -> TcpInfo:
    """TCP_INFO of a socket."""
    return TcpInfo._make(_TCP_INFO.unpack(client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)))


class Sources:
    """The numbers of a process's connections in the whole fleet, from which their addresses and ports follow."""

    def __init__(self, fleet: Fleet, count: int, namespaces: Sequence[Namespace]) -> None:
        """So many connections, and the namespaces in which the fleets' sockets are made."""
        self._fleet, self.namespaces = fleet, namespaces
        # Fleets take turns by index, so where there are several each connection has its number from the start.
        several = len(self.namespaces) > 1
        self._number = np.arange(count) if several else np.full(count, _UNASSIGNED, np.int64)

    def __len__(self) -> int:
        return len(self._number)

    def unassigned(self, indices: Indices) -> int:
        """How many have no number yet."""
        return int((self._number[indices] == _UNASSIGNED).sum())

    def environments(self, indices: Indices) -> NDArray[np.int64]:
        """The execution environment of each; all must have a number."""
        return self._fleet.environments(self._number[indices])

    def assign(self, indices: Indices, next_number: int, *, apart: bool = False) -> Endpoints:
        """The address and port of each; those without a number get the next ones, for good.

        Where the kernel chooses ports the port is 0, or one `apart` from those that it chooses from.
        """
        new = indices[self._number[indices] == _UNASSIGNED]
        self._number[new] = next_number + np.arange(len(new))
        numbers = self._number[indices]
        ends = self._fleet.endpoints(numbers)
        if not self.ports_of_kernel:
            return ends
        return replace(ends, port=self._fleet.ports_apart(numbers) if apart else np.zeros_like(numbers))

    @property
    def ports_of_kernel(self) -> bool:
        """Whether the kernel chooses ports, as for any program of a host."""
        return self._fleet.of_kernel

    @property
    def first_ephemeral_port(self) -> int:
        """The first of those from which it chooses."""
        return self._fleet.first_port

    def taken_unseen(self, indices: Indices) -> NDArray[np.bool_]:
        """Which have no port left of which the kernel does not know that it is taken."""
        return self._fleet.without_port(self._number[indices], unseen=True)

    def turns(self, indices: Indices) -> Indices:
        """The turn on its path of each connection that has a number."""
        return self._fleet.turns(self._number[indices])


class SocketTable:
    """Sockets by the index of their connection, each bound to its connection's address and port."""

    def __init__(
        self,
        sources: Sources,
        kind: socket.SocketKind,
        events: int,
        options: Iterable[tuple[int, int, int]] = (),
        *,
        apart: bool = False,
    ) -> None:
        """Of this kind, watched for these events; an option is what setsockopt() takes: level, name and value."""
        self.sources, self._apart = sources, apart
        # An earlier connection's TIME_WAIT has the address and port; connect() sees whether the tuple is free.
        own = [(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)]
        if sources.ports_of_kernel:
            own = [] if apart else [(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)]
        self._options = (*own, *options)
        self._kind, self._events = kind | socket.SOCK_NONBLOCK, events
        self._sockets: list[socket.socket | None] = [None] * len(sources)
        self._index = np.full(resource.getrlimit(resource.RLIMIT_NOFILE)[0], -1, np.int64)
        """Descriptor → index of its connection."""
        self._epoll = select.epoll()

    def __getitem__(self, index: int) -> socket.socket:
        """A connection's socket; it must have one."""
        client = self._sockets[index]
        if client is None:
            raise LookupError(f"connection {index} has no socket")
        return client

    def fileno(self) -> int:
        """Readable when something has happened to a socket."""
        return self._epoll.fileno()

    def open(self, indices: Indices, next_number: int) -> list[socket.socket]:
        """A bound socket for each; `next_number` as in `Sources.assign`."""
        ends = self.sources.assign(indices, next_number, apart=self._apart)
        rows = list(zip(indices.tolist(), ends.address.tolist(), ends.port.tolist(), strict=True))
        fleets = len(self.sources.namespaces)
        for place, namespace in enumerate(self.sources.namespaces):
            with namespace:
                for row in rows:
                    if row[0] % fleets == place:
                        self._open(*row)
        return [self[index] for index, *_ in rows]

    def _open(self, index: int, address: int, port: int) -> None:
        client = socket.socket(socket.AF_INET, self._kind)
        for option in self._options:
            client.setsockopt(*option)
        if self._apart and self.sources.ports_of_kernel:
            bind_apart(client, dotted(address), self.sources.first_ephemeral_port, port)
        else:
            client.bind((dotted(address), port))
        self._sockets[index] = client
        self._index[client.fileno()] = index

    def watch(self, sockets: list[socket.socket]) -> None:
        """From now on `poll` reports these."""
        register, events = self._epoll.register, self._events
        for client in sockets:
            register(client, events)

    def poll(self) -> tuple[Indices, NDArray[np.uint32]]:
        """Connections to whose sockets something has happened, and what: epoll(7)'s bits."""
        happened = self._epoll.poll(0, _EVENTS)
        if not happened:
            return np.zeros(0, np.int64), np.zeros(0, np.uint32)
        descriptors, events = np.array(happened).T
        return self._index[descriptors], events.astype(np.uint32)

    def close(self, indices: Indices) -> None:
        """Close those that are open; an epoll forgets what is closed."""
        for index in indices.tolist():
            client = self._sockets[index]
            if client is not None:
                self._sockets[index] = None
                self._index[client.fileno()] = -1
                client.close()

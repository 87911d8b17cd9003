"""Real DNS queries: one UDP socket for all of a process's connections, or one for each connection.

One socket is faster, and one flow to whatever is on the path; its queries are told apart by their identifiers.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
import select
import socket
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import numpy as np

from traffic.dns import encode_query
from traffic.engines.socket.sockets import SocketTable

if TYPE_CHECKING:
    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.socket.sockets import Sources
    from traffic.engines.socket.turns import Turns
    from traffic.spec import BurstSpec

__all__ = ["OwnQueries", "Queries", "SharedQueries", "address_in"]

_DNS_PORT = 53
_IDENTIFIERS = 1 << 16
_ANSWERS_AT_ONCE = 512
_LARGEST_BYTES = 1232
_RECEIVE_BYTES = 4 << 20
"""Room for the answers to a whole window: the default of 212,992 is 277 small datagrams, as the kernel counts them."""
_SO_RCVBUFFORCE = 33
"""Like SO_RCVBUF, but beyond net.core.rmem_max (socket(7)); Python does not name it."""


class SharedQueries:
    """Queries of all connections from one socket, at the address of the first execution environment."""

    def __init__(self, spec: BurstSpec) -> None:
        if spec.connections > _IDENTIFIERS:
            raise ValueError(f"{spec.connections} questions of one socket need more than {_IDENTIFIERS} identifiers")
        self._count = spec.connections
        self._question = encode_query(spec.hostname)[2:]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        self._socket.bind((str(spec.sources[0].first_address), 0))
        self._socket.connect((str(spec.resolver_address), _DNS_PORT))

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._socket.fileno()

    def ask(self, indices: Indices) -> None:
        """A query each, identified by the connection's index."""
        for index in indices.tolist():
            _send(self._socket, index, self._question)

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in answers; whether there were any."""
        answers: list[bytes] = []
        while len(answers) < _ANSWERS_AT_ONCE and (answer := _receive(self._socket)):
            answers.append(answer)
        indices = [int.from_bytes(answer[:2], "big") for answer in answers]
        ours = [(index, answer) for index, answer in zip(indices, answers, strict=True) if index < self._count]
        _report(ours, callbacks, now_s)
        return bool(answers)

    def forget(self, indices: Indices) -> None:
        """Nothing is kept: a late answer is known by its identifier."""


class OwnQueries:
    """Queries of each connection from its own address and port, as a program in its environment would send them."""

    def __init__(self, spec: BurstSpec, connections: Connections, sources: Sources, turns: Turns) -> None:
        self._connections, self._turns = connections, turns
        self._table = SocketTable(sources, socket.SOCK_DGRAM, select.EPOLLIN)
        self._question = encode_query(spec.hostname)[2:]
        self._resolver = (str(spec.resolver_address), _DNS_PORT)

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._table.fileno()

    def ask(self, indices: Indices) -> None:
        """A query each; a repeated one comes from the same socket."""
        fresh = indices[self._connections.tries[indices] == 1]
        counts, new = self._connections.counts, self._table.sources.unassigned(fresh)
        with self._turns.take(0, new, leaving=counts.leaving, established=counts.open) as turn:
            opened = self._table.open(fresh, turn.assigned)
        for client in opened:
            client.connect(self._resolver)
        self._table.watch(opened)
        for index in indices.tolist():
            _send(self._table[index], index & 0xFFFF, self._question)

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in answers to these connections' own queries; whether there were any."""
        indices, _ = self._table.poll()
        received = [(index, _receive(self._table[index])) for index in indices.tolist()]
        answers = [(index, answer) for index, answer in received if answer[:2] == (index & 0xFFFF).to_bytes(2, "big")]
        self._table.close(np.array([index for index, _ in answers], np.int64))
        _report(answers, callbacks, now_s)
        return bool(answers)

    def forget(self, indices: Indices) -> None:
        """Close the sockets of those that still wait for an answer."""
        self._table.close(indices)


Queries = SharedQueries | OwnQueries


def _send(client: socket.socket, identifier: int, question: bytes) -> None:
    with suppress(BlockingIOError, ConnectionRefusedError):  # lost, or an ICMP message: the client repeats it
        client.send(identifier.to_bytes(2, "big") + question)


def _receive(client: socket.socket) -> bytes:
    """A datagram; nothing if none waits, or an ICMP message."""
    with suppress(BlockingIOError, ConnectionRefusedError):
        return client.recv(_LARGEST_BYTES)
    return b""


def _report(answers: list[tuple[int, bytes]], callbacks: Callbacks, now_s: float) -> None:
    if not answers:
        return
    indices = np.array([index for index, _ in answers], np.int64)
    addresses = np.array([_address_after_id(answer[2:]) for _, answer in answers], np.uint32)
    known = addresses != 0
    if known.any():
        callbacks.answered(indices[known], addresses[known], now_s)
    if not known.all():
        callbacks.unanswerable(indices[~known], now_s)


@lru_cache(64)
def _address_after_id(answer: bytes) -> int:
    """Without the identifier, answers to the same question are the same bytes."""
    return address_in(bytes(2) + answer)


def address_in(answer: bytes) -> int:
    """The first IPv4 address of a DNS answer as a number; 0 if there is none."""
    try:
        message = dns.message.from_wire(answer)
    except (dns.exception.DNSException, ValueError):
        return 0
    if message.rcode() != dns.rcode.NOERROR:
        return 0
    records = [record for rrset in message.answer if rrset.rdtype == dns.rdatatype.A for record in rrset]
    return int.from_bytes(socket.inet_aton(records[0].address), "big") if records else 0

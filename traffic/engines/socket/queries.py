"""Real DNS queries: one UDP socket for all of a process's connections, or one for each connection.

One socket is faster, and one flow to whatever is on the path; its queries are told apart by their identifiers. A
look-up's questions, A and AAAA, come from the same socket, as those of glibc and musl do.
"""

from __future__ import annotations

from contextlib import suppress
import select
import socket
from typing import TYPE_CHECKING

import numpy as np

from traffic.buffers import make_room
from traffic.clients.state import State
from traffic.engines.socket.answers import Answer, Questions, identifier, read_answer, report
from traffic.engines.socket.sockets import SocketTable, bind_apart
from traffic.engines.socket.tcp_queries import TcpQueries

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.socket.sockets import Sources
    from traffic.engines.socket.turns import Turns
    from traffic.namespaces import Namespace
    from traffic.spec import BurstSpec

__all__ = ["OwnQueries", "Queries", "SharedQueries"]

_DNS_PORT = 53
_IDENTIFIERS = 1 << 16
_ANSWERS_AT_ONCE = 512
_LARGEST_BYTES = 1232
_RECEIVE_BYTES = 4 << 20
"""Room for the answers to a whole window: the default of 212,992 is 277 small datagrams, as the kernel counts them."""


class SharedQueries:
    """Queries of all connections of a fleet from one socket, at the address of its first execution environment."""

    def __init__(self, spec: BurstSpec, connections: Connections, namespaces: Iterable[Namespace]) -> None:
        if spec.connections > _IDENTIFIERS:
            raise ValueError(f"{spec.connections} questions of one socket need more than {_IDENTIFIERS} identifiers")
        self._connections = connections
        self._questions = Questions(spec.hostname)
        self._sockets = []
        for fleet, namespace in zip(spec.fleets, namespaces, strict=True):
            with namespace:
                client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            make_room(client, socket.SO_RCVBUF, _RECEIVE_BYTES)
            address = str(fleet.paths[0].sockets.first_address)
            if fleet.host is None:
                client.bind((address, 0))
            else:
                bind_apart(client, address, spec.blocks.first_port)
            client.connect((str(spec.resolver_address), _DNS_PORT))
            self._sockets.append(client)

    def descriptors(self) -> Iterable[int]:
        """Readable when there are answers."""
        return [client.fileno() for client in self._sockets]

    def ask(self, indices: Indices) -> None:
        """The missing queries of each, identified by the connection's index."""
        fleets = len(self._sockets)
        clients = [(index, self._sockets[index % fleets]) for index in indices.tolist()]
        _send_all(self._questions, self._connections, clients)

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in answers; whether there were any."""
        messages: list[bytes] = []
        for client in self._sockets:
            while len(messages) < _ANSWERS_AT_ONCE and (message := _receive(client)):
                messages.append(message)
        answers = [answer for answer in map(read_answer, messages) if answer]
        indexed = [(identifier(answer.identifier, answer.question), answer) for answer in answers]
        report([pair for pair in indexed if pair[0] < len(self._connections)], callbacks, now_s)
        return bool(messages)

    def forget(self, indices: Indices) -> None:
        """Nothing is kept: a late answer is known by its identifier."""


class OwnQueries:
    """Queries of each connection from its own address and port, as a program in its environment would send them.

    After a truncated answer they are asked again over TCP, from the same address and port.
    """

    def __init__(self, spec: BurstSpec, connections: Connections, sources: Sources, turns: Turns) -> None:
        self._connections, self._turns = connections, turns
        self._table = SocketTable(sources, socket.SOCK_DGRAM, select.EPOLLIN, apart=True)
        self._questions = Questions(spec.hostname)
        self._resolver = (str(spec.resolver_address), _DNS_PORT)
        self._over_tcp = TcpQueries(connections, sources, self._questions, self._resolver)

    def descriptors(self) -> Iterable[int]:
        """Readable when there are answers."""
        return (self._table.fileno(), *self._over_tcp.descriptors())

    def ask(self, indices: Indices) -> None:
        """The missing queries of each; repeated ones come from the same socket."""
        fresh = indices[self._connections.tries[indices] == 1]
        counts, new = self._connections.counts, self._table.sources.unassigned(fresh)
        with self._turns.take(0, new, leaving=counts.leaving, established=counts.open) as turn:
            opened = self._table.open(fresh, turn.assigned)
        for client in opened:
            client.connect(self._resolver)
        self._table.watch(opened)
        _send_all(self._questions, self._connections, [(index, self._table[index]) for index in indices.tolist()])

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in answers to these connections' own queries; whether there were any."""
        indices, _ = self._table.poll()
        messages = [(index, _receive(self._table[index])) for index in indices.tolist()]
        read = [(index, read_answer(message)) for index, message in messages]
        answers = [(index, answer) for index, answer in read if answer and _is_own(index, answer)]
        truncated = [index for index, answer in answers if answer.truncated]
        if truncated:
            self._over_tcp.ask(self._connections.truncated(np.array(truncated, np.int64)))
        report([pair for pair in answers if not pair[1].truncated], callbacks, now_s)
        by_tcp = self._over_tcp.receive(callbacks, now_s)
        done = np.concatenate((indices, by_tcp))
        self.forget(done[self._connections.state[done] != State.ASKING])
        return bool(answers) or bool(len(by_tcp))

    def forget(self, indices: Indices) -> None:
        """Close the sockets: nobody waits for these answers any more."""
        self._table.close(indices)
        self._over_tcp.forget(indices)


Queries = SharedQueries | OwnQueries


def _is_own(index: int, answer: Answer) -> bool:
    return answer.identifier == identifier(index, answer.question)


def _send_all(questions: Questions, connections: Connections, clients: Iterable[tuple[int, socket.socket]]) -> None:
    for index, client in clients:
        for question in questions.of(index, int(connections.missing[index])):
            with suppress(BlockingIOError, ConnectionRefusedError):  # lost, or an ICMP message: it is repeated
                client.send(question)


def _receive(client: socket.socket) -> bytes:
    """A datagram; nothing if none waits, or an ICMP message."""
    with suppress(BlockingIOError, ConnectionRefusedError):
        return client.recv(_LARGEST_BYTES)
    return b""

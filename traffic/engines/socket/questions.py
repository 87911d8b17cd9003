"""Real DNS questions: one UDP socket for all of a process's connections, or one for each connection.

On one socket they are told apart by their identifiers; that is faster, and one flow to whatever is on the way.
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
from traffic.engines.socket.table import Table

if TYPE_CHECKING:
    from traffic.clients.medium import Hears
    from traffic.clients.state import Connections, Indices
    from traffic.engines.socket.table import Seats
    from traffic.engines.socket.turnstile import Gate
    from traffic.spec import BurstSpec

__all__ = ["Apart", "Asks", "Questions", "address_in"]

_DNS_PORT = 53
_IDENTIFIERS = 1 << 16
_ANSWERS_AT_ONCE = 512
_LARGEST_BYTES = 1232
_RECEIVE_BYTES = 4 << 20
"""Room for the answers to a whole window: the default of 212,992 is 277 small datagrams, as the kernel counts them."""


class Questions:
    """Asks for the server's address on behalf of connections, from the first execution environment."""

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
        """A question each, identified by the connection's index."""
        for identifier in indices.tolist():
            with suppress(BlockingIOError, ConnectionRefusedError):  # lost, or an ICMP message: asked again in time
                self._socket.send(identifier.to_bytes(2, "big") + self._question)

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in answers; whether there were any."""
        answers = self._take()
        if not answers:
            return False
        indices = np.array([int.from_bytes(each[:2], "big") for each in answers], np.int64)
        ours = indices < self._count
        _tell(indices[ours], [each for each, is_ours in zip(answers, ours, strict=True) if is_ours], ears, now_s)
        return True

    def forget(self, indices: Indices) -> None:
        """What comes late is known by its identifier."""

    def _take(self) -> list[bytes]:
        taken: list[bytes] = []
        with suppress(BlockingIOError, ConnectionRefusedError):
            while len(taken) < _ANSWERS_AT_ONCE:
                taken.append(self._socket.recv(_LARGEST_BYTES))
        return taken


class Apart:
    """Asks on behalf of each connection from its own address and port, as a program in its environment would."""

    def __init__(self, spec: BurstSpec, connections: Connections, seats: Seats, gate: Gate) -> None:
        self._known, self._seats, self._gate = connections, seats, gate
        self._table = Table(seats, socket.SOCK_DGRAM, select.EPOLLIN)
        self._question = encode_query(spec.hostname)[2:]
        self._resolver = (str(spec.resolver_address), _DNS_PORT)

    def fileno(self) -> int:
        """Readable when there are answers."""
        return self._table.fileno()

    def ask(self, indices: Indices) -> None:
        """A question each; one that is repeated comes from the same socket."""
        fresh = indices[self._known.tries[indices] == 1]
        counts, new = self._known.counts, self._seats.new(fresh)
        with self._gate.turn(0, new, leaving=counts.leaving, established=counts.open) as turn:
            made = self._table.open(fresh, turn.numbered)
        for each in made:
            each.connect(self._resolver)
        self._table.watch(made)
        for index in indices.tolist():
            with suppress(BlockingIOError, ConnectionRefusedError):
                self._table[index].send((index & 0xFFFF).to_bytes(2, "big") + self._question)

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in answers; whether there were any."""
        indices, _ = self._table.poll()
        heard = [(index, answer) for index in indices.tolist() if (answer := self._answer(index))]
        if not heard:
            return False
        answered = np.array([index for index, _ in heard], np.int64)
        self._table.close(answered)
        _tell(answered, [answer for _, answer in heard], ears, now_s)
        return True

    def _answer(self, index: int) -> bytes:
        """The answer to a connection's question; nothing if it is another's, or an ICMP message."""
        with suppress(BlockingIOError, ConnectionRefusedError):
            answer = self._table[index].recv(_LARGEST_BYTES)
            return answer if answer[:2] == (index & 0xFFFF).to_bytes(2, "big") else b""
        return b""

    def forget(self, indices: Indices) -> None:
        """Nobody waits for these answers any more."""
        self._table.close(indices)


Asks = Questions | Apart
"""How a process asks."""


def _tell(indices: Indices, answers: list[bytes], ears: Hears, now_s: float) -> None:
    addresses = np.array([_address_in(each[2:]) for each in answers], np.uint32)
    known = addresses != 0
    if known.any():
        ears.answered(indices[known], addresses[known], now_s)
    if not known.all():
        ears.unanswerable(indices[~known], now_s)


_SO_RCVBUFFORCE = 33
"""As SO_RCVBUF, beyond net.core.rmem_max (socket(7)); Python does not name it."""


@lru_cache(64)
def _address_in(answer: bytes) -> int:
    """The same answer comes often; without its identifier it is the same bytes."""
    return address_in(bytes(2) + answer)


def address_in(answer: bytes) -> int:
    """The first IPv4 address of a DNS answer as a number; 0 if there is none."""
    try:
        message = dns.message.from_wire(answer)
    except (dns.exception.DNSException, ValueError):
        return 0
    if message.rcode() != dns.rcode.NOERROR:
        return 0
    records = [each for rrset in message.answer if rrset.rdtype == dns.rdatatype.A for each in rrset]
    return int.from_bytes(socket.inet_aton(records[0].address), "big") if records else 0

"""Real DNS questions: one UDP socket for all of a process's connections, told apart by their identifiers."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
import socket
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import numpy as np

from traffic.dns import encode_query

if TYPE_CHECKING:
    from ipaddress import IPv4Address

    from traffic.clients.medium import Hears
    from traffic.clients.state import Indices
    from traffic.spec import BurstSpec

__all__ = ["Questions", "address_in"]

_DNS_PORT = 53
_IDENTIFIERS = 1 << 16
_ANSWERS_AT_ONCE = 512
_LARGEST_BYTES = 1232
_RECEIVE_BYTES = 4 << 20
"""Room for the answers to a whole window: the default of 212,992 is 277 small datagrams, as the kernel counts them."""


class Questions:
    """Asks for the server's address on behalf of connections."""

    def __init__(self, spec: BurstSpec, environment: IPv4Address) -> None:
        if spec.connections > _IDENTIFIERS:
            raise ValueError(f"{spec.connections} questions of one socket need more than {_IDENTIFIERS} identifiers")
        self._count = spec.connections
        self._question = encode_query(spec.hostname)[2:]
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        self._socket.bind((str(environment), 0))
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
        addresses = np.array([_address_in(each[2:]) for each in answers], np.uint32)
        ours, known = indices < self._count, addresses != 0
        if (ours & known).any():
            ears.answered(indices[ours & known], addresses[ours & known], now_s)
        if (ours & ~known).any():
            ears.unanswerable(indices[ours & ~known], now_s)
        return True

    def _take(self) -> list[bytes]:
        taken: list[bytes] = []
        with suppress(BlockingIOError, ConnectionRefusedError):
            while len(taken) < _ANSWERS_AT_ONCE:
                taken.append(self._socket.recv(_LARGEST_BYTES))
        return taken


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

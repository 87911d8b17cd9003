"""DNS messages of kernel sockets: the questions of a look-up, and what an answer says. Pure."""

from __future__ import annotations

from functools import lru_cache
from itertools import zip_longest
import socket
from typing import TYPE_CHECKING, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.SOA  # noqa: F401 -- what answers have: later, dnspython may not reach its modules
import dns.rdtypes.IN.A  # noqa: F401
import numpy as np

from traffic.clients.state import AAAA, A
from traffic.dns import encode_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traffic.clients.transport import Callbacks

__all__ = ["Answer", "Questions", "identifier", "read_answer", "report"]

_ID_BYTES = 2


def identifier(number: int, question: int) -> int:
    """The low bits of a connection's number; for AAAA inverted, since both questions come from one socket."""
    return number & 0xFFFF ^ (0xFFFF if question == AAAA else 0)


class Questions:
    """The encoded questions for one name."""

    def __init__(self, hostname: str) -> None:
        self._texts = {kind: encode_query(hostname, name)[_ID_BYTES:] for kind, name in ((A, "A"), (AAAA, "AAAA"))}

    def of(self, number: int, missing: int) -> Iterator[bytes]:
        """The messages of a connection that are `missing` an answer, A before AAAA."""
        for kind, text in self._texts.items():
            if missing & kind:
                yield identifier(number, kind).to_bytes(_ID_BYTES, "big") + text


class Answer(NamedTuple):
    """What a DNS message says."""

    identifier: int
    question: int
    """`A` or `AAAA`."""
    addresses: tuple[int, ...] = ()
    """The IPv4 addresses as numbers."""
    failed: bool = False
    """Whether the name server answered with an error."""
    truncated: bool = False
    """Whether the TC bit says that the rest is to be asked for over TCP (RFC 7766)."""


def read_answer(message: bytes) -> Answer | None:
    """The answer in a message; None for one that is none."""
    known = _read(message[_ID_BYTES:])
    return known and known._replace(identifier=int.from_bytes(message[:_ID_BYTES], "big"))


@lru_cache(64)
def _read(message: bytes) -> Answer | None:
    """Without the identifier, answers to the same question are the same bytes."""
    try:
        answer = dns.message.from_wire(bytes(_ID_BYTES) + message)
    except (dns.exception.DNSException, ValueError):
        return None
    if not answer.question:
        return None
    records = [record for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for record in rrset]
    return Answer(
        identifier=0,
        question=AAAA if answer.question[0].rdtype == dns.rdatatype.AAAA else A,
        addresses=tuple(int.from_bytes(socket.inet_aton(record.address), "big") for record in records),
        failed=answer.rcode() != dns.rcode.NOERROR,
        truncated=bool(answer.flags & dns.flags.TC),
    )


def report(answers: Sequence[tuple[int, Answer]], callbacks: Callbacks, now_s: float) -> None:
    """Tell the clients the answers of these connections."""
    good = [(index, answer.addresses) for index, answer in answers if answer.addresses and not answer.failed]
    no_data = [index for index, answer in answers if answer.question == AAAA and not answer.failed]
    bad = [index for index, answer in answers if answer.failed or (answer.question == A and not answer.addresses)]
    if good:
        indices, addresses = zip(*good, strict=True)
        rows = np.array(list(zip_longest(*addresses, fillvalue=0)), np.uint32).T
        callbacks.answered(np.array(indices, np.int64), rows, now_s)
    if no_data:
        callbacks.no_data(np.array(no_data, np.int64), now_s)
    if bad:
        callbacks.unanswerable(np.array(bad, np.int64), now_s)

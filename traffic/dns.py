"""The service VPC's name server: A records for real clients and, in batches, for the packet engine.

dnspython encodes every answer. Frames of a batch are compared byte for byte with the expected queries, and get copies
of their encoded answers with the identifiers patched; all other queries are decoded and answered one by one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from itertools import cycle
import struct
from typing import TYPE_CHECKING, cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import numpy as np

from traffic import frames as f
from traffic.frames import Batch, seal, turn_round, u16, u32
from traffic.servers.responder import Replies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["Answers", "UdpService", "Zone", "encode_query", "serve_tcp"]

_HEADER_BYTES = 12
_LARGEST_UDP_BYTES = 1232  # the DNS flag day's size, offered to clients that send EDNS
_REMEMBERED = 4096
"""Messages whose answers are kept encoded: dnspython works once for the same question, whatever its identifier."""
_LONGEST_REMEMBERED_BYTES = 512
"""No question of one name needs more; 4,096 of the largest messages would take 500 MB."""
_LONGEST_DATAGRAM_BYTES = 380  # what fits one slot of a ring, generously for a name of 255 bytes


def encode_query(hostname: str, kind: str = "A") -> bytes:
    """A query for a record of `hostname` with identifier 0: what the engines ask."""
    return dns.message.make_query(hostname, kind, id=0).to_wire()


class Zone:
    """The records: addresses for each host name, and nothing else.

    Answers to a question have the addresses in rotating order (RFC 1794), so that clients which take the first one are
    spread over all.
    """

    def __init__(self, records: Mapping[str, Sequence[str]], ttl_s: int, *, truncates: bool = False) -> None:
        """With `truncates` every answer over UDP has the TC bit and no records, as one that is too long."""
        self._truncates = truncates
        self._ttl_s = ttl_s
        self._addresses = {dns.name.from_text(name): tuple(addresses) for name, addresses in records.items()}
        self._in_turn = lru_cache(_REMEMBERED)(lambda question, truncated: cycle(self._encode(question, truncated)))
        # Negative answers name the zone and how long they may be kept (RFC 2308); this one is the root.
        self._soa = dns.rrset.from_text(
            dns.name.root, ttl_s, "IN", "SOA", f"resolver. hostmaster. 1 3600 600 86400 {ttl_s}"
        )

    def reply(self, wire: bytes, *, over_tcp: bool = False) -> bytes | None:
        """The answer to a message; None for one that must not be answered."""
        if len(wire) < _HEADER_BYTES or wire[2] & 0x80:  # no identifier to repeat, or itself a response
            return None
        question, truncated = wire[2:], self._truncates and not over_tcp
        if len(wire) > _LONGEST_REMEMBERED_BYTES:
            return wire[:2] + self._encode(question, truncated)[0]
        return wire[:2] + next(self._in_turn(question, truncated))

    @property
    def remembered(self) -> int:
        """How many questions there are whose answers are kept."""
        return self._in_turn.cache_info().currsize

    def replies(self, wire: bytes) -> list[bytes]:
        """The answers to a message over UDP, in the order in which they take turns."""
        return [wire[:2] + answer for answer in self._encode(wire[2:], self._truncates)]

    def _encode(self, question: bytes, truncated: bool) -> list[bytes]:  # noqa: FBT001 -- a key of the cache
        """The answers without an identifier, to a message without its own."""
        return [answer[2:] for answer in self._replies(bytes(2) + question, truncated=truncated)]

    def _replies(self, wire: bytes, *, truncated: bool) -> list[bytes]:
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return [_format_error(wire)]
        if query.opcode() != dns.opcode.QUERY:
            return [_refusal(query, dns.rcode.NOTIMP)]
        if len(query.question) != 1:
            return [_format_error(wire)]
        if truncated:
            answer = _response(query)
            answer.flags |= dns.flags.TC
            return [answer.to_wire()]
        return [answer.to_wire() for answer in self._answers(query)]

    def _answers(self, query: dns.message.Message) -> Iterator[dns.message.Message]:
        """One that begins with each of the addresses, or the one that there is none."""
        question = query.question[0]
        addresses = self._addresses.get(question.name, ())  # names compare without regard to case
        if addresses and question.rdtype == dns.rdatatype.A and question.rdclass == dns.rdataclass.IN:
            for first in range(len(addresses)):
                answer = _response(query)
                # A set of its own for each: dnspython shuffles the records of one.
                answer.answer += [
                    dns.rrset.from_text(question.name, self._ttl_s, "IN", "A", address)
                    for address in (*addresses[first:], *addresses[:first])
                ]
                yield answer
            return
        answer = _response(query)
        if not addresses:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        answer.authority.append(self._soa)
        yield answer


def _response(query: dns.message.Message) -> dns.message.Message:
    return dns.message.make_response(query, recursion_available=True, our_payload=_LARGEST_UDP_BYTES)


def _refusal(query: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    answer = _response(query)
    answer.set_rcode(rcode)
    return answer.to_wire()


def _format_error(wire: bytes) -> bytes:
    """A bare header; of a malformed message only identifier and opcode are repeated."""
    flags = dns.flags.QR | dns.flags.RA | int.from_bytes(wire[2:4], "big") & 0x7900
    return struct.pack(">HHHHHH", int.from_bytes(wire[:2], "big"), flags | dns.rcode.FORMERR, 0, 0, 0, 0)


class Answers:
    """Answers to whole batches of engine frames that are for `address` and `port`."""

    def __init__(self, zone: Zone, hostnames: Iterable[str], address: int, port: int) -> None:
        self._zone, self._address, self._port = zone, address, port
        self._expected = [
            _ExpectedQuery(zone, encode_query(hostname, kind)) for hostname in hostnames for kind in ("A", "AAAA")
        ]

    def respond(self, batch: Batch, lengths: NDArray[np.uint32]) -> Iterator[Replies]:
        """Replies to the queries among the frames."""
        if not len(batch) or batch.shape[1] < f.UDP_PAYLOAD + _HEADER_BYTES:
            return
        ours = (u32(batch, f.DESTINATION) == self._address) & (u16(batch, f.DESTINATION_PORT) == self._port)
        ours &= (batch[:, f.PROTOCOL] == f.UDP) & (lengths >= f.UDP_PAYLOAD + _HEADER_BYTES)
        for query in self._expected:
            same = ours & query.matches(batch, lengths)
            if same.any():
                yield Replies(_datagrams(batch[same], query.answers(int(same.sum()))))
                ours &= ~same
        for row in np.flatnonzero(ours):
            yield from self._one(batch[row : row + 1], int(lengths[row]))

    def _one(self, frame: Batch, length: int) -> Iterator[Replies]:
        """Decode, ask the zone, encode."""
        end = min(length, f.UDP_PAYLOAD - 8 + int(u16(frame, f.UDP_LENGTH)[0]))
        payload = self._zone.reply(frame[0, f.UDP_PAYLOAD : end].tobytes())
        if payload is not None and len(payload) <= _LONGEST_DATAGRAM_BYTES:
            yield Replies(_datagrams(frame, np.frombuffer(payload, np.uint8)))


class _ExpectedQuery:
    """A query that comes often: its bytes after the identifier, and the encoded answers, which take turns."""

    def __init__(self, zone: Zone, query: bytes) -> None:
        self._query = np.frombuffer(query, np.uint8)[2:]
        self._answers = np.array([list(answer) for answer in zone.replies(query)], np.uint8)
        self._answered = 0
        self._length = f.UDP_PAYLOAD + len(query)

    def matches(self, batch: Batch, lengths: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which frames have this query."""
        if batch.shape[1] < self._length:
            return np.zeros(len(batch), np.bool_)
        same = (batch[:, f.UDP_PAYLOAD + 2 : self._length] == self._query).all(axis=1)
        return np.asarray(same & (lengths == self._length))

    def answers(self, count: int) -> Batch:
        """The next so many."""
        turns = np.arange(self._answered, self._answered + count) % len(self._answers)
        self._answered += count
        return self._answers[turns]


def _datagrams(queries: Batch, payload: NDArray[np.uint8]) -> Batch:
    """`payload`, one for all or a row for each, back to the source of each query, with the query's identifier."""
    width = f.UDP_PAYLOAD + payload.shape[-1]
    reply = np.empty((len(queries), width), np.uint8)
    reply[:, : f.UDP_PAYLOAD] = turn_round(queries[:, : f.UDP_PAYLOAD])
    reply[:, f.UDP_PAYLOAD :] = payload
    reply[:, f.UDP_PAYLOAD : f.UDP_PAYLOAD + 2] = queries[:, f.UDP_PAYLOAD : f.UDP_PAYLOAD + 2]
    u16(reply, f.TOTAL_LENGTH)[:] = width - f.IP
    u16(reply, f.UDP_LENGTH)[:] = width - f.TRANSPORT
    reply[:, f.TTL] = f.INITIAL_TTL
    return seal(reply, f.UDP)


class UdpService(asyncio.DatagramProtocol):
    """Answers real clients over UDP."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket to answer on."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one DNS message."""
        reply = self._zone.reply(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


async def serve_tcp(zone: Zone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A real client's TCP connection: messages after a two-byte length (RFC 7766), as many as it sends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            length = int.from_bytes(await reader.readexactly(2), "big")
            if (reply := zone.reply(await reader.readexactly(length), over_tcp=True)) is None:
                break
            writer.write(struct.pack(">H", len(reply)) + reply)
            await writer.drain()
    writer.close()

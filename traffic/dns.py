"""The service VPC's name server: A records for real clients and, in batches, for the packet engine.

dnspython encodes every answer. A batch is compared, byte for byte, with the questions that are known to come,
and gets copies of their encoded answers with the identifiers patched; all other frames take the long way.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
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
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

__all__ = ["Answers", "TcpService", "UdpService", "Zone", "encode_query"]

_HEADER_BYTES = 12
_LARGEST_UDP_BYTES = 1232  # the DNS flag day's size, offered to clients that send EDNS
_REMEMBERED = 4096
"""Messages whose answers are kept encoded: the same question costs dnspython's work once, whatever its identifier."""
_LONGEST_DATAGRAM_BYTES = 380  # what fits one slot of a ring, generously for a name of 255 bytes


def encode_query(hostname: str) -> bytes:
    """A query for `hostname`'s A record with identifier 0: what the packet engine asks."""
    return dns.message.make_query(hostname, dns.rdatatype.A, id=0).to_wire()


class Zone:
    """What this name server knows: an address for each host name, and nothing else."""

    def __init__(self, records: Mapping[str, str], ttl_s: int) -> None:
        self._ttl_s = ttl_s
        self._addresses = {dns.name.from_text(name): address for name, address in records.items()}
        self._encoded = lru_cache(_REMEMBERED)(self._encode)
        # Negative answers name the zone and how long they may be kept (RFC 2308); this one is the root.
        self._soa = dns.rrset.from_text(
            dns.name.root, ttl_s, "IN", "SOA", f"resolver. hostmaster. 1 3600 600 86400 {ttl_s}"
        )

    def reply(self, wire: bytes) -> bytes | None:
        """The answer to a message; None where silence is the only right one."""
        if len(wire) < _HEADER_BYTES or wire[2] & 0x80:  # too short to name, or itself a response
            return None
        return wire[:2] + self._encoded(wire[2:])

    def _encode(self, question: bytes) -> bytes:
        """What follows the identifier in the answer to what follows it in a message."""
        return self._reply(bytes(2) + question)[2:]

    def _reply(self, wire: bytes) -> bytes:
        try:
            query = dns.message.from_wire(wire)
        except (dns.exception.DNSException, ValueError):
            return _format_error(wire)
        if query.opcode() != dns.opcode.QUERY:
            return _refusal(query, dns.rcode.NOTIMP)
        if len(query.question) != 1:
            return _format_error(wire)
        return self._answer(query).to_wire()

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        answer = _response(query)
        address = self._addresses.get(question.name)  # names compare without regard to case
        if address is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype == dns.rdatatype.A and question.rdclass == dns.rdataclass.IN:
            answer.answer.append(dns.rrset.from_text(question.name, self._ttl_s, "IN", "A", address))
            return answer
        answer.authority.append(self._soa)
        return answer


def _response(query: dns.message.Message) -> dns.message.Message:
    return dns.message.make_response(query, recursion_available=True, our_payload=_LARGEST_UDP_BYTES)


def _refusal(query: dns.message.Message, rcode: dns.rcode.Rcode) -> bytes:
    answer = _response(query)
    answer.set_rcode(rcode)
    return answer.to_wire()


def _format_error(wire: bytes) -> bytes:
    """A bare header: of a message that made no sense only identifier and opcode are repeated."""
    flags = dns.flags.QR | dns.flags.RA | int.from_bytes(wire[2:4], "big") & 0x7900
    return struct.pack(">HHHHHH", int.from_bytes(wire[:2], "big"), flags | dns.rcode.FORMERR, 0, 0, 0, 0)


class Answers:
    """Answers to whole batches of engine frames that are for `address` and `port`."""

    def __init__(self, zone: Zone, hostnames: Mapping[str, str], address: int, port: int) -> None:
        self._zone, self._address, self._port = zone, address, port
        self._known = [_Known(zone, encode_query(hostname)) for hostname in hostnames]

    def respond(self, batch: Batch, lengths: NDArray[np.uint32]) -> Iterator[Replies]:
        """Replies to the queries among the frames."""
        if not len(batch) or batch.shape[1] < f.UDP_PAYLOAD + _HEADER_BYTES:
            return
        ours = (u32(batch, f.DESTINATION) == self._address) & (u16(batch, f.DESTINATION_PORT) == self._port)
        ours &= (batch[:, f.PROTOCOL] == f.UDP) & (lengths >= f.UDP_PAYLOAD + _HEADER_BYTES)
        for known in self._known:
            asked = ours & known.asked_in(batch, lengths)
            if asked.any():
                yield Replies(known.answers(batch[asked]))
                ours &= ~asked
        for row in np.flatnonzero(ours):
            yield from self._one(batch[row : row + 1], int(lengths[row]))

    def _one(self, frame: Batch, length: int) -> Iterator[Replies]:
        """The long way: decode, ask the zone, encode."""
        end = min(length, f.UDP_PAYLOAD - 8 + int(u16(frame, f.UDP_LENGTH)[0]))
        payload = self._zone.reply(frame[0, f.UDP_PAYLOAD : end].tobytes())
        if payload is not None and len(payload) <= _LONGEST_DATAGRAM_BYTES:
            yield Replies(_datagrams(frame, np.frombuffer(payload, np.uint8)))


class _Known:
    """A question that comes often: the bytes to expect after its identifier, and the answer in bytes."""

    def __init__(self, zone: Zone, query: bytes) -> None:
        answer = zone.reply(query)
        assert answer is not None, "a query that dnspython made has an answer"  # noqa: S101 -- for the type checker
        self._query = np.frombuffer(query, np.uint8)[2:]
        self._answer = np.frombuffer(answer, np.uint8)
        self._length = f.UDP_PAYLOAD + len(query)

    def asked_in(self, batch: Batch, lengths: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Which frames ask this."""
        if batch.shape[1] < self._length:
            return np.zeros(len(batch), np.bool_)
        same = (batch[:, f.UDP_PAYLOAD + 2 : self._length] == self._query).all(axis=1)
        return np.asarray(same & (lengths == self._length))

    def answers(self, queries: Batch) -> Batch:
        """One answer for each query, with its identifier."""
        return _datagrams(queries, self._answer)


def _datagrams(queries: Batch, payload: NDArray[np.uint8]) -> Batch:
    """Datagrams back to where `queries` came from, with their identifiers before the rest of `payload`."""
    width = f.UDP_PAYLOAD + len(payload)
    reply = np.empty((len(queries), width), np.uint8)
    reply[:, : f.UDP_PAYLOAD] = turn_round(queries[:, : f.UDP_PAYLOAD])
    reply[:, f.UDP_PAYLOAD :] = payload
    reply[:, f.UDP_PAYLOAD : f.UDP_PAYLOAD + 2] = queries[:, f.UDP_PAYLOAD : f.UDP_PAYLOAD + 2]
    u16(reply, f.TOTAL_LENGTH)[:] = width - f.IP
    u16(reply, f.UDP_LENGTH)[:] = width - f.TRANSPORT
    reply[:, f.TTL] = f.INITIAL_TTL
    return seal(reply, f.UDP)


class UdpService(asyncio.DatagramProtocol):
    """Real clients over UDP."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket to answer on."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one message."""
        reply = self._zone.reply(data)
        if reply is not None:
            self._transport.sendto(reply, addr)


class TcpService(asyncio.Protocol):
    """Real clients over TCP: messages after a two-byte length (RFC 7766), as many as the client likes."""

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection to answer on."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each message that is complete."""
        self._received += data
        while (message := self._take()) is not None:
            reply = self._zone.reply(message)
            if reply is None:
                self._transport.close()
                return
            self._transport.write(struct.pack(">H", len(reply)) + reply)

    def _take(self) -> bytes | None:
        end = 2 + int.from_bytes(self._received[:2], "big")
        if len(self._received) < max(end, 3):
            return None
        message = bytes(self._received[2:end])
        del self._received[:end]
        return message

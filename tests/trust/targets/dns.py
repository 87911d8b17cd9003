"""Questions to the resolver, from whoever is in the lab."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
import socket
import struct

import dns.exception
import dns.message
import numpy as np

from tests.trust.mutation import bytes_changed
from tests.trust.targets.target import Reader, Target
from traffic import frames as f
from traffic.dns import Answers, Zone, encode_query, serve_tcp

__all__ = ["DATAGRAMS", "STREAMS"]

_RECORDS = {"cache.example.com": ["203.0.113.10", "203.0.113.11"], "other.example.com": ["203.0.113.12"]}
_ADDRESS, _PORT = IPv4Address("100.64.0.3"), 53
_HEADER_BYTES = 12


def _questions() -> Sequence[bytes]:
    known = [encode_query(name, kind) for name in _RECORDS for kind in ("A", "AAAA")]
    edns = dns.message.make_query("cache.example.com", "A", use_edns=True, want_dnssec=True, payload=4096)
    update = dns.message.make_query("x.example.org", "ANY")
    update.set_opcode(dns.opcode.UPDATE)
    long = dns.message.make_query(".".join(["a" * 60] * 4), "TXT")
    pointer = bytes.fromhex("0001 0100 0001 0000 0000 0000 c00c 0001 0001")
    return [*known, edns.to_wire(), update.to_wire(), long.to_wire(), pointer]


@contextmanager
def _datagram_reader() -> Iterator[Reader]:
    zone = Zone(_RECORDS, 60)
    answers = Answers(zone, _RECORDS, int(_ADDRESS), _PORT)

    def read(data: bytes) -> None:
        _require_answer(data, zone.reply(data))
        room = max(len(data), _HEADER_BYTES)  # a row of a ring is as long as the longest frame
        frame = np.zeros((1, f.UDP_PAYLOAD + room), np.uint8)
        frame[0, f.UDP_PAYLOAD : f.UDP_PAYLOAD + len(data)] = np.frombuffer(data, np.uint8)
        frame[0, f.PROTOCOL] = f.UDP
        f.u32(frame, f.DESTINATION)[:] = int(_ADDRESS)
        f.u16(frame, f.DESTINATION_PORT)[:] = _PORT
        f.u16(frame, f.UDP_LENGTH)[:] = (8 + len(data)) & 0xFFFF
        for replies in answers.respond(frame, np.array([f.UDP_PAYLOAD + len(data)], np.uint32)):
            for row in replies.frames:
                _require_answer(data, row[f.UDP_PAYLOAD :].tobytes())

    yield read


def _require_answer(question: bytes, answer: bytes | None) -> None:
    """What is answered can be decoded, is a response, and has the question's identifier."""
    if answer is None:
        return
    assert answer[:2] == question[:2], answer
    assert answer[2] & 0x80, answer
    dns.message.from_wire(answer)


def _streams() -> Sequence[bytes]:
    framed = [struct.pack(">H", len(question)) + question for question in _questions()]
    return [*framed, b"".join(framed)]


@contextmanager
def _stream_reader() -> Iterator[Reader]:
    zone = Zone(_RECORDS, 60)
    with asyncio.Runner() as runner:

        def read(data: bytes) -> None:
            for answer in _messages(runner.run(_asked(zone, data))):
                assert answer[2] & 0x80, answer
                dns.message.from_wire(answer)

        yield read


async def _asked(zone: Zone, data: bytes) -> bytes:
    """Everything that a client is sent which says so much and then no more."""
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    client_reader, client = await asyncio.open_connection(sock=ours)
    serving = asyncio.ensure_future(serve_tcp(zone, reader, writer))
    client.write(data)
    client.write_eof()
    answers = await client_reader.read()
    await serving
    client.close()
    return answers


def _messages(stream: bytes) -> Iterator[bytes]:
    while stream:
        (length,) = struct.unpack_from(">H", stream)
        assert len(stream) >= 2 + length, stream
        yield stream[2 : 2 + length]
        stream = stream[2 + length :]


DATAGRAMS = Target("dns", "questions over UDP", _questions, bytes_changed, _datagram_reader)
STREAMS = Target("dns-tcp", "connections with questions over TCP", _streams, bytes_changed, _stream_reader)

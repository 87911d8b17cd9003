"""The name server: one message at a time, and in batches."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from ipaddress import IPv4Address
import socket
import struct
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from traffic.dns import Answers, Zone, encode_query, serve_tcp
from traffic.frames import ENGINE_TOS

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDS = {"cache.example.com": ["203.0.113.10"], "other.example.com": ["203.0.113.11"]}
RESOLVER = "100.64.0.3"
ZONE = Zone(RECORDS, ttl_s=60)
ANSWERS = Answers(ZONE, RECORDS, int(IPv4Address(RESOLVER)), 53)


def _ask(name: str, kind: str = "A", *, edns: bool = False) -> dns.message.Message:
    query = dns.message.make_query(name, kind, use_edns=edns, want_dnssec=edns)
    reply = ZONE.reply(query.to_wire())
    assert reply is not None
    answer = dns.message.from_wire(reply)
    assert query.is_response(answer)
    return answer


def test_a_known_name() -> None:
    """The A record of a known name is answered, with its TTL."""
    (answer,) = _ask("cache.example.com").answer
    assert (answer.rdtype, answer.ttl, str(answer[0])) == (dns.rdatatype.A, 60, "203.0.113.10")


def test_the_question_comes_back_as_asked() -> None:
    """Names are compared without regard to case and come back as asked, for clients that mix it (0x20)."""
    answer = _ask("CaChE.eXaMpLe.CoM")
    assert str(answer.question[0].name) == "CaChE.eXaMpLe.CoM."
    assert str(answer.answer[0][0]) == "203.0.113.10"


@pytest.mark.parametrize("kind", ["AAAA", "TXT", "ANY", "SOA"])
def test_no_such_record(kind: str) -> None:
    """Other types of a known name are answered by nothing but the SOA, without an error."""
    answer = _ask("cache.example.com", kind)
    assert (answer.rcode(), answer.answer) == (dns.rcode.NOERROR, [])
    assert answer.authority[0].rdtype == dns.rdatatype.SOA


def test_no_such_name() -> None:
    """An unknown name does not exist, and the SOA says for how long."""
    answer = _ask("nothing.example.com")
    assert answer.rcode() == dns.rcode.NXDOMAIN
    assert answer.authority[0][0].minimum == 60


def test_edns_is_answered_with_edns() -> None:
    """A query with EDNS options and the DNSSEC flag gets its address, and an EDNS answer."""
    answer = _ask("cache.example.com", edns=True)
    assert (answer.edns, str(answer.answer[0][0])) == (0, "203.0.113.10")


def test_other_operations_are_not_implemented() -> None:
    """A query that is not a query (an update) gets NOTIMP."""
    query = dns.message.make_query("cache.example.com", "A")
    query.set_opcode(dns.opcode.STATUS)
    reply = ZONE.reply(query.to_wire())
    assert reply is not None
    assert dns.message.from_wire(reply).rcode() == dns.rcode.NOTIMP


@pytest.mark.parametrize("body", [b"", b"\x3fshort", b"\xc0\x0c\x00\x01\x00\x01", b"\x01a\x00\x00\x01", b"\xff" * 30])
def test_malformed_questions(body: bytes) -> None:
    """A question that cannot be read gets a format error with its identifier."""
    reply = ZONE.reply(struct.pack(">HHHHHH", 0xABCD, dns.flags.RD, 1, 0, 0, 0) + body)
    assert reply is not None
    assert reply[:2] == b"\xab\xcd"
    assert reply[3] & 0xF == dns.rcode.FORMERR


def test_addresses_take_turns() -> None:
    """Each answer to a question begins with the next address, from a real socket and in a batch of the engine's."""
    addresses = ["203.0.113.12", "203.0.113.11", "203.0.113.10"]
    zone, query = Zone({"cache.example.com": addresses}, ttl_s=60), encode_query("cache.example.com")
    told = [
        [each[0].address for each in dns.message.from_wire(zone.reply(query) or b"", one_rr_per_rrset=True).answer]
        for _ in addresses
    ]
    assert [order[0] for order in told] == addresses
    assert all(sorted(order) == sorted(addresses) for order in told)
    assert zone.replies(query)[0][-4:] != zone.replies(query)[1][-4:]


def test_responses_are_not_answered() -> None:
    """A response, or a message shorter than a header, gets no answer, lest two servers talk for ever."""
    response = dns.message.make_response(dns.message.make_query("cache.example.com", "A"))
    assert ZONE.reply(response.to_wire()) is None
    assert ZONE.reply(b"short") is None


@given(st.binary(max_size=120), st.integers(0, 3))
@example(b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x07\x00\x08\x00\x03\x00\x01\x20", 0)
def test_no_message_breaks_it(tail: bytes, questions: int) -> None:
    """Whatever comes, there is an answer with its identifier, or silence, but never an exception."""
    query = encode_query("cache.example.com")
    for head in (b"", query[:12], query[:5] + bytes((questions,)) + query[6:]):
        reply = ZONE.reply(head + tail)
        assert reply is None or reply[:2] == (head + tail)[:2]


def test_a_client_that_never_reads() -> None:
    """Over TCP the next question is read when the answer before it has gone: little waits for a client that hangs."""

    async def hang() -> int:
        ours, clients = socket.socketpair()
        with clients:
            clients.settimeout(0)
            reader, writer = await asyncio.open_connection(sock=ours)
            serving = asyncio.ensure_future(serve_tcp(ZONE, reader, writer))
            question = encode_query("cache.example.com")
            asked = (struct.pack(">H", len(question)) + question) * 1000
            loop = asyncio.get_running_loop()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):  # or for ever: nobody reads the answers
                    while True:
                        await loop.sock_sendall(clients, asked)
            waiting = writer.transport.get_write_buffer_size()
            serving.cancel()
            writer.transport.abort()
            return waiting

    assert 0 < asyncio.run(hang()) < 256 * 1024


def test_huge_questions_are_not_remembered() -> None:
    """The answers that are kept are those to questions that come again."""
    zone = Zone({"cache.example.com": ["203.0.113.10"]}, ttl_s=60)
    before = zone.remembered
    assert zone.reply(encode_query("cache.example.com") + bytes(600), over_tcp=True) is not None
    assert zone.remembered == before


# In batches


def _frame(payload: bytes, sport: int = 5353, destination: str = RESOLVER, dport: int = 53) -> Packet:
    link = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    to = IP(src="100.65.0.9", dst=destination, tos=ENGINE_TOS)
    return link / to / UDP(sport=sport, dport=dport) / Raw(payload)


def _replies(*packets: Packet) -> dict[int, Packet]:
    """Answers by the port that they go back to."""
    raw = [bytes(packet) for packet in packets]
    batch = np.zeros((len(raw), max(map(len, raw))), np.uint8)
    for row, octets in enumerate(raw):
        batch[row, : len(octets)] = np.frombuffer(octets, np.uint8)
    lengths = np.array([len(octets) for octets in raw], np.uint32)
    rows = [row for replies in ANSWERS.respond(batch, lengths) for row in replies.frames]
    frames = [Ether(row.tobytes()) for row in rows]
    return {frame[UDP].dport: frame for frame in frames}


def _assert_checksums(frame: Packet) -> None:
    again = Ether(bytes(frame))
    del again[IP].chksum
    del again[UDP].chksum
    assert bytes(again) == bytes(frame)


def _numbered(query: bytes, number: int) -> bytes:
    return struct.pack(">H", number) + query[2:]


def _message(frame: Packet) -> dns.message.Message:
    return dns.message.from_wire(bytes(frame[UDP].payload))


def test_a_batch_of_one_question() -> None:
    """A thousand frames with the engine's question get an answer each, with identifier and checksums."""
    query = encode_query("cache.example.com")
    replies = _replies(*(_frame(_numbered(query, port), sport=port) for port in range(1000, 2000)))
    assert sorted(replies) == list(range(1000, 2000))
    for port, frame in replies.items():
        _assert_checksums(frame)
        answer = _message(frame)
        assert (answer.id, str(answer.answer[0][0])) == (port, "203.0.113.10")


def test_a_mixed_batch() -> None:
    """Known and unknown names, other types, mixed case and rubbish in one batch get what each gets alone."""
    wires: Sequence[bytes] = [
        encode_query("cache.example.com"),
        encode_query("other.example.com"),
        encode_query("nothing.example.com"),
        encode_query("CACHE.example.com"),
        dns.message.make_query("cache.example.com", "AAAA", id=9).to_wire(),
        dns.message.make_query("cache.example.com", "A", id=9, use_edns=0).to_wire(),
        b"rubbish with enough bytes",
    ]
    replies = _replies(*(_frame(wire, sport=port) for port, wire in enumerate(wires, start=1)))
    for port, wire in enumerate(wires, start=1):
        assert bytes(replies[port][UDP].payload) == ZONE.reply(wire)
        _assert_checksums(replies[port])


def test_other_frames_get_no_answer() -> None:
    """Frames for another address or port, and those too short for a question, are nobody's."""
    query = encode_query("cache.example.com")
    assert _replies(_frame(query, destination="100.64.0.4"), _frame(query, dport=54), _frame(b"short")) == {}
    assert list(ANSWERS.respond(np.zeros((0, 0), np.uint8), np.zeros(0, np.uint32))) == []


def test_truncated() -> None:
    """A name server that truncates answers a datagram with the TC bit alone, and over TCP in full."""
    zone, query = Zone(RECORDS, ttl_s=60, truncates=True), dns.message.make_query("cache.example.com", "A").to_wire()
    by_udp, by_tcp = (dns.message.from_wire(zone.reply(query, over_tcp=tcp) or b"") for tcp in (False, True))
    assert (bool(by_udp.flags & dns.flags.TC), by_udp.answer) == (True, [])
    assert (bool(by_tcp.flags & dns.flags.TC), len(by_tcp.answer)) == (False, 1)

"""The stateless remote end, its replies dissected by scapy."""

from __future__ import annotations

from ipaddress import IPv4Address

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from traffic.frames import ENGINE_TOS
from traffic.servers.responder import respond, response

SERVER, CLIENT, PORT = "203.0.113.10", "198.51.100.1", 443
REPLY = response("cache")
LINK = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")


def _to_server(transport: Packet, data: bytes = b"", destination: str = SERVER) -> Packet:
    packet = LINK / IP(src=CLIENT, dst=destination, tos=ENGINE_TOS, ttl=57) / transport
    return packet / Raw(data) if data else packet


def _tcp(flags: str, data: bytes = b"", seq: int = 1000, ack: int = 7000, sport: int = 40_000) -> Packet:
    return _to_server(TCP(sport=sport, dport=PORT, flags=flags, seq=seq, ack=ack), data)


def _replies(*packets: Packet, turned_away: str | None = None) -> list[Packet]:
    """What comes back, as a ring would send it: rows cut to their lengths."""
    away = [] if turned_away is None else [int(IPv4Address(turned_away))]
    raw = [bytes(packet) for packet in packets]
    batch = np.zeros((len(raw), max(map(len, raw))), np.uint8)
    for row, octets in enumerate(raw):
        batch[row, : len(octets)] = np.frombuffer(octets, np.uint8)
    lengths = np.array([len(octets) for octets in raw], np.uint32)
    frames = []
    for reply in respond(batch, lengths, [int(IPv4Address(SERVER))], PORT, REPLY, turned_away=away):
        ends = [reply.frames.shape[1]] * len(reply.frames) if reply.lengths is None else reply.lengths.tolist()
        frames += [Ether(row[:end].tobytes()) for row, end in zip(reply.frames, ends, strict=True)]
    return frames


def _assert_valid(reply: Packet) -> None:
    """Addressed back to the client, marked, with the checksums that scapy would compute."""
    assert (reply.src, reply.dst) == (LINK.dst, LINK.src)
    assert (reply[IP].src, reply[IP].dst, reply[IP].tos) == (SERVER, CLIENT, ENGINE_TOS)
    again = reply.copy()
    del again[IP].chksum
    del again[IP].payload.chksum
    assert bytes(again) == bytes(reply)


def test_syn() -> None:
    """A SYN gets a SYN-ACK with an MSS, acknowledging it, and a second copy gets the same."""
    first, second = _replies(_tcp("S", seq=0xFFFFFFFF), _tcp("S", seq=0xFFFFFFFF))
    _assert_valid(first)
    assert first[TCP].flags == "SA"
    assert first[TCP].ack == 0
    assert dict(first[TCP].options)["MSS"] == 1460
    assert (first[TCP].sport, first[TCP].dport) == (PORT, 40_000)
    assert bytes(first) == bytes(second)


def test_different_clients_get_different_numbers() -> None:
    """The server's initial sequence numbers follow the clients'."""
    first, second = _replies(_tcp("S", seq=1), _tcp("S", seq=2))
    assert first[TCP].seq != second[TCP].seq


def test_data() -> None:
    """Data is acknowledged together with the response, placed where the client's acknowledgement says."""
    (reply,) = _replies(_tcp("PA", b"GET / HTTP/1.0\r\n\r\n"))
    _assert_valid(reply)
    assert (reply[TCP].flags, reply[TCP].seq, reply[TCP].ack) == ("PA", 7000, 1018)
    assert reply[TCP].load == REPLY


def test_fin() -> None:
    """A FIN is answered by the server's own FIN."""
    (reply,) = _replies(_tcp("FA"))
    _assert_valid(reply)
    assert (reply[TCP].flags, reply[TCP].seq, reply[TCP].ack) == ("FA", 7000, 1001)


@pytest.mark.parametrize(("ack", "last"), [(7000, 7000 + len(REPLY)), (0xFFFFFFFF, len(REPLY) - 1)])
def test_half_close(ack: int, last: int) -> None:
    """A FIN with data gets the response, which acknowledges both, and then a FIN with the number after it."""
    answer, fin = _replies(_tcp("FPA", b"bye", ack=ack))
    for frame in (answer, fin):
        _assert_valid(frame)
    assert (answer[TCP].flags, answer[TCP].seq, answer[TCP].ack, answer[TCP].load) == ("PA", ack, 1004, REPLY)
    assert (fin[TCP].flags, fin[TCP].seq, fin[TCP].ack) == ("FA", last, 1004)
    assert Raw not in fin


def test_the_response_goes_before_the_fin() -> None:
    """In a batch too each connection reads its response before the FIN that follows it."""
    replies = _replies(*(_tcp("FPA", b"bye", sport=port) for port in range(1, 101)), _tcp("FA", sport=101))
    for port in range(1, 101):
        assert [str(reply[TCP].flags) for reply in replies if reply[TCP].dport == port] == ["PA", "FA"]


def test_the_response() -> None:
    """The response is complete HTTP/1.1 that names the server; with the longest name, 24, it fits a ring's slot."""
    header, body = REPLY.decode().split("\r\n\r\n")
    assert header.splitlines() == [
        "HTTP/1.1 200 OK",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 14",
        "Connection: keep-alive",
    ]
    assert body == "server: cache\n"
    assert 54 + len(response("n" * 24)) <= 446


def test_silence() -> None:
    """Pure ACKs, RSTs and SYN-ACKs get no answer."""
    assert _replies(_tcp("A"), _tcp("R"), _tcp("RA"), _tcp("SA")) == []


def test_udp_comes_back() -> None:
    """A datagram comes back as it is, checksum included, whatever its length."""
    packets = [_to_server(UDP(sport=5000, dport=PORT), data) for data in (b"ping", b"a longer datagram")]
    replies = _replies(*packets)
    for reply in replies:
        _assert_valid(reply)
    assert [reply[UDP].load for reply in replies] == [b"ping", b"a longer datagram"]


def test_others_traffic_is_left_alone() -> None:
    """Frames to another address or port get no answer."""
    elsewhere = _to_server(TCP(dport=PORT, flags="S"), destination="203.0.113.11")
    assert _replies(elsewhere, _to_server(TCP(dport=80, flags="S")), LINK / IP(dst=SERVER) / Raw(b"x" * 30)) == []


def test_a_batch_in_one_go() -> None:
    """A batch of mixed frames gets one reply for each frame that deserves one."""
    replies = _replies(*(_tcp(flags, sport=port) for port in range(1, 101) for flags in ("S", "A", "FA")))
    assert sorted(str(reply[TCP].flags) for reply in replies) == ["FA"] * 100 + ["SA"] * 100
    for reply in replies:
        _assert_valid(reply)


def test_nothing() -> None:
    """An empty batch, and one of runts, are answered by nothing."""
    for batch in (np.zeros((0, 0), np.uint8), np.zeros((3, 20), np.uint8)):
        assert list(respond(batch, np.full(len(batch), 20, np.uint32), [int(IPv4Address(SERVER))], PORT, REPLY)) == []


# ── Connections that are too many ───────────────────────────────────────────────────────────────────────────

AWAY = "192.0.2.3"


def _away(flags: str, data: bytes = b"", seq: int = 1000, ack: int = 0) -> Packet:
    return _to_server(TCP(sport=40_000, dport=PORT, flags=flags, seq=seq, ack=ack), data, AWAY)


def _turned_away(*packets: Packet) -> list[Packet]:
    return _replies(*packets, turned_away=AWAY)


def test_turned_away() -> None:
    """The handshake is completed, and the server's FIN answers its last ACK; the client's FIN is acknowledged."""
    (accepted,) = _turned_away(_away("S"))
    assert (accepted[IP].src, accepted[TCP].flags, accepted[TCP].ack) == (AWAY, "SA", 1001)
    server = accepted[TCP].seq + 1
    (fin,) = _turned_away(_away("A", seq=1001, ack=server))
    assert (fin[TCP].flags, fin[TCP].seq, fin[TCP].ack) == ("FA", server, 1001)
    (last,) = _turned_away(_away("FA", seq=1001, ack=server + 1))
    assert (last[TCP].flags, last[TCP].seq, last[TCP].ack) == ("A", server + 1, 1002)


def test_turned_away_once() -> None:
    """The ACK of the server's FIN is answered no more."""
    (accepted,) = _turned_away(_away("S"))
    assert _turned_away(_away("A", seq=1001, ack=accepted[TCP].seq + 2)) == []


def test_nobody_reads_what_one_sends_who_is_turned_away() -> None:
    """A request is acknowledged, as by a socket that somebody empties, and gets no page."""
    request = b"GET / HTTP/1.1\r\n\r\n"
    (taken,) = _turned_away(_away("PA", request, seq=1001, ack=7000))
    assert (taken[TCP].flags, taken[TCP].seq, taken[TCP].ack) == ("A", 7000, 1001 + len(request))


def test_a_server_without_a_limit_turns_nobody_away() -> None:
    """Without a second address, frames for it are none of the server's."""
    assert _replies(_away("S")) == []

"""The frames of the packet engine are, byte for byte, those that scapy builds for the same packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
import pytest
from scapy.layers.dns import DNS
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from traffic import frames as f
from traffic.clients.state import AAAA, A
from traffic.dns import encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.spec import BurstSpec, EniPath, FleetSpec

SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "svc",
            "02:00:00:00:00:01",
            (
                EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 4096),
                EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.65.32.0"), 4096),
            ),
        ),
    ),
    resolver_address=IPv4Address("100.64.0.2"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=300,
)
SERVER = "203.0.113.10"
NUMBERS = np.arange(300)
ONCE = np.full(300, A, np.uint8)
SEQUENCES = (np.arange(300) * 99_999_989).astype(np.uint32)
DESTINATIONS = np.full(300, int(IPv4Address(SERVER)), np.uint32)


def _ports() -> list[int]:
    """The source ports, by the rule of `PortBlocks`."""
    return [SPEC.blocks.port(number // 2) for number in range(300)]


def _from(number: int, destination: str, mac: str) -> Packet:
    source = SPEC.sources[number % 2].first_address + number // 2 // 100
    ethernet = Ether(src=SPEC.fleets[0].mac, dst=mac)
    return ethernet / IP(src=str(source), dst=destination, tos=f.ENGINE_TOS, flags="DF")


def test_questions() -> None:
    """A DNS query goes to the resolver's MAC address and carries the connection's number as its id."""
    query = encode_query(SPEC.hostname)
    frames = FrameCodec(SPEC, query).queries(NUMBERS, ONCE)
    for number, port in enumerate(_ports()):
        question = number.to_bytes(2, "big") + query[2:]
        wanted = _from(number, "100.64.0.2", "02:00:00:00:00:02") / UDP(sport=port, dport=53) / Raw(question)
        assert frames[number].tobytes() == bytes(wanted)


def test_both_questions_of_a_look_up() -> None:
    """A and AAAA follow one another from the same port, with identifiers that differ in every bit."""
    codec = FrameCodec(SPEC, encode_query(SPEC.hostname))
    frames = [Ether(frame.tobytes()) for frame in codec.queries(NUMBERS, ONCE | np.uint8(AAAA))]
    assert [frame[DNS].qd[0].qtype for frame in frames] == [1, 28] * 300
    assert [frame[DNS].id for frame in frames[:4]] == [0, 0xFFFF, 1, 0xFFFE]
    assert all(first[UDP].sport == second[UDP].sport for first, second in zip(frames[::2], frames[1::2], strict=True))


def test_questions_by_the_gateway() -> None:
    """Without a MAC address of the resolver, a query takes the way of its connection: to its ENI's MAC address."""
    frames = FrameCodec(replace(SPEC, resolver_mac=None), encode_query(SPEC.hostname)).queries(NUMBERS, ONCE)
    assert [frame[:6].tobytes().hex(":") for frame in frames] == [SPEC.sources[n % 2].gateway_mac for n in range(300)]


def test_syns() -> None:
    """A SYN goes to its ENI's MAC address and offers an MSS of 1,460."""
    codec = FrameCodec(SPEC, encode_query(SPEC.hostname))
    frames = codec.segments(NUMBERS, DESTINATIONS, f.SYN, SEQUENCES, np.zeros(300, np.uint32))
    for number, port in enumerate(_ports()):
        syn = TCP(sport=port, dport=443, flags="S", seq=int(SEQUENCES[number]), window=65535, options=[("MSS", 1460)])
        wanted = _from(number, SERVER, SPEC.sources[number % 2].gateway_mac) / syn
        assert frames[number].tobytes() == bytes(wanted)


@pytest.mark.parametrize(("flags", "names"), [(f.ACK, "A"), (f.FIN | f.ACK, "FA"), (f.RST, "R")])
def test_segments(flags: int, names: str) -> None:
    """A segment without data has the flags and numbers that it is told."""
    codec = FrameCodec(SPEC, encode_query(SPEC.hostname))
    frames = codec.segments(NUMBERS, DESTINATIONS, flags, SEQUENCES, SEQUENCES + np.uint32(7))
    for number, port in enumerate(_ports()):
        sequence = int(SEQUENCES[number])
        segment = TCP(sport=port, dport=443, flags=names, seq=sequence, ack=(sequence + 7) % 2**32, window=65535)
        wanted = _from(number, SERVER, SPEC.sources[number % 2].gateway_mac) / segment
        assert frames[number].tobytes() == bytes(wanted)


@pytest.mark.parametrize(("flags", "names"), [(f.PSH | f.ACK, "PA"), (f.FIN | f.PSH | f.ACK, "FPA")])
def test_requests(flags: int, names: str) -> None:
    """A segment with PSH carries an HTTP request."""
    codec = FrameCodec(SPEC, encode_query(SPEC.hostname))
    frames = codec.segments(NUMBERS, DESTINATIONS, flags, SEQUENCES, SEQUENCES)
    request = b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n"
    for number, port in enumerate(_ports()):
        sequence = int(SEQUENCES[number])
        segment = TCP(sport=port, dport=443, flags=names, seq=sequence, ack=sequence, window=65535) / Raw(request)
        wanted = _from(number, SERVER, SPEC.sources[number % 2].gateway_mac) / segment
        assert frames[number].tobytes() == bytes(wanted)


def test_datagrams() -> None:
    """A flow's datagram goes to its ENI's MAC address and asks whether anybody is there."""
    frames = FrameCodec(SPEC, encode_query(SPEC.hostname)).datagrams(NUMBERS, DESTINATIONS)
    for number, port in enumerate(_ports()):
        datagram = UDP(sport=port, dport=443) / Raw(b"is anybody there?\n")
        wanted = _from(number, SERVER, SPEC.sources[number % 2].gateway_mac) / datagram
        assert frames[number].tobytes() == bytes(wanted)

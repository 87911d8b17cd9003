"""The packet engine's frames are, byte for byte, those that scapy builds for the same packets."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from traffic import frames as f
from traffic.dns import encode_query
from traffic.engines.wire import Wire
from traffic.spec import BurstSpec, EniPath

SPEC = BurstSpec(
    interface="svc",
    mac="02:00:00:00:00:01",
    resolver_address=IPv4Address("100.64.0.2"),
    resolver_mac="02:00:00:00:00:02",
    paths=(
        EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 4096),
        EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.65.32.0"), 4096),
    ),
    hostname="cache.example.com",
    port=443,
    connections=300,
)
SERVER = "203.0.113.10"
NUMBERS = np.arange(300)
DESTINATIONS = np.full(300, int(IPv4Address(SERVER)), np.uint32)


def _ports() -> list[int]:
    """The source ports, by the rule of `PortBlocks`."""
    return [SPEC.blocks.port(number // 2 // 100, number // 2 % 100) for number in range(300)]


def _from(number: int, destination: str, mac: str) -> Packet:
    source = SPEC.paths[number % 2].first_address + number // 2 // 100
    ethernet = Ether(src=SPEC.mac, dst=mac)
    return ethernet / IP(src=str(source), dst=destination, tos=f.ENGINE_TOS, flags="DF")


def test_questions() -> None:
    """A DNS query goes to the resolver's MAC address and carries the connection's number as its id."""
    query = encode_query(SPEC.hostname)
    frames = Wire(SPEC, query).queries(NUMBERS)
    for number, port in enumerate(_ports()):
        question = number.to_bytes(2, "big") + query[2:]
        wanted = _from(number, "100.64.0.2", SPEC.resolver_mac) / UDP(sport=port, dport=53) / Raw(question)
        assert frames[number].tobytes() == bytes(wanted)


def test_syns() -> None:
    """A SYN goes to its ENI's MAC address and offers an MSS of 1,460."""
    wire = Wire(SPEC, encode_query(SPEC.hostname))
    frames, sequences = wire.syns(NUMBERS, DESTINATIONS), wire.initial_sequence(NUMBERS)
    for number, port in enumerate(_ports()):
        syn = TCP(sport=port, dport=443, flags="S", seq=int(sequences[number]), window=65535, options=[("MSS", 1460)])
        wanted = _from(number, SERVER, SPEC.paths[number % 2].gateway_mac) / syn
        assert frames[number].tobytes() == bytes(wanted)


def test_segments() -> None:
    """A segment without data counts what was sent from the initial number on, and acknowledges what it is told."""
    wire = Wire(replace(SPEC, first_connection=0), encode_query(SPEC.hostname))
    acknowledged = np.arange(300, dtype=np.uint32) + 7
    frames = wire.segments(NUMBERS, DESTINATIONS, f.FIN | f.ACK, 1, acknowledged)
    sequences = wire.initial_sequence(NUMBERS)
    for number, port in enumerate(_ports()):
        after_syn = (int(sequences[number]) + 1) % 2**32
        fin = TCP(sport=port, dport=443, flags="FA", seq=after_syn, ack=number + 7, window=65535)
        wanted = _from(number, SERVER, SPEC.paths[number % 2].gateway_mac) / fin
        assert frames[number].tobytes() == bytes(wanted)

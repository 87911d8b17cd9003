"""Batches of frames and their checksums, against scapy's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from traffic import frames as f
from traffic.frames import Batch, pack_mac, seal, tcp_payload_lengths, turn_round, u16, u32

ADDRESS = st.integers(1, 0xFFFFFFFE).map(lambda number: ".".join(str(octet) for octet in number.to_bytes(4, "big")))
PORT = st.integers(1, 0xFFFF)


def _batch(*packets: Packet) -> Batch:
    return np.array([list(bytes(packet)) for packet in packets], np.uint8)


def _without_checksums(batch: Batch, transport: int) -> Batch:
    bare = batch.copy()
    u16(bare, f.IP_CHECKSUM)[:] = 0xDEAD
    u16(bare, transport)[:] = 0xBEEF
    return bare


@given(ADDRESS, ADDRESS, PORT, PORT, st.binary(max_size=40))
def test_tcp_checksums(source: str, destination: str, sport: int, dport: int, data: bytes) -> None:
    """`seal` computes the TCP and IP checksums that scapy computes, for odd and even lengths."""
    packet = Ether() / IP(src=source, dst=destination) / TCP(sport=sport, dport=dport, seq=sport) / Raw(data)
    batch = _batch(packet, packet)
    assert (seal(_without_checksums(batch, f.TCP_CHECKSUM), f.TCP) == batch).all()


@given(ADDRESS, ADDRESS, PORT, PORT, st.binary(max_size=40))
def test_udp_checksums(source: str, destination: str, sport: int, dport: int, data: bytes) -> None:
    """`seal` computes the UDP checksums that scapy computes."""
    packet = Ether() / IP(src=source, dst=destination) / UDP(sport=sport, dport=dport) / Raw(data)
    batch = _batch(packet)
    assert (seal(_without_checksums(batch, f.UDP_CHECKSUM), f.UDP) == batch).all()


def test_a_udp_checksum_is_never_zero() -> None:
    """A UDP checksum that comes out as zero is sent as ffff, for zero means that there is none (RFC 768)."""
    packet = Ether() / IP(src="1.0.0.1", dst="1.0.0.2") / UDP(sport=1, dport=2) / Raw(b"\0\0")
    batch = _batch(packet)
    checksum = int(u16(batch, f.UDP_CHECKSUM)[0])
    u16(batch, f.UDP_PAYLOAD)[:] = checksum  # a sum of ffff now
    assert u16(seal(batch, f.UDP), f.UDP_CHECKSUM)[0] == 0xFFFF


@given(ADDRESS, ADDRESS, PORT, PORT)
def test_turned_round(source: str, destination: str, sport: int, dport: int) -> None:
    """A frame turned round goes back to its sender, with both checksums still right."""
    there = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    back = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
    batch = _batch(there / IP(src=source, dst=destination) / UDP(sport=sport, dport=dport) / Raw(b"hello"))
    expected = back / IP(src=destination, dst=source) / UDP(sport=dport, dport=sport) / Raw(b"hello")
    assert turn_round(batch).tobytes() == bytes(expected)


def test_fields_are_windows() -> None:
    """A field can be read and assigned for all frames at once, in network order."""
    batch = np.zeros((2, 60), np.uint8)
    u32(batch, f.SOURCE)[:] = 0x0A000001, 0x0A000002
    assert batch[1, 26:30].tolist() == [10, 0, 0, 2]
    assert u32(batch, f.SOURCE).tolist() == [0x0A000001, 0x0A000002]
    assert pack_mac("02:00:00:00:00:0a") == b"\x02\0\0\0\0\x0a"


def test_payload_lengths() -> None:
    """The data of a segment is what neither header takes, options included."""
    plain = Ether() / IP() / TCP() / Raw(b"1234567")
    with_option = Ether() / IP() / TCP(options=[("MSS", 1460)]) / Raw(b"123")
    assert tcp_payload_lengths(_batch(plain, with_option)).tolist() == [7, 3]

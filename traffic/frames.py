"""Batches of Ethernet frames as numpy matrices, one row a frame: fields by offset, checksums of a whole batch.

A batch holds IPv4 without options (the rings' filters see to that), so every field has a fixed offset. `u16` and `u32`
are views of a column: read them, or assign to `u32(frames, SOURCE)[:]`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from traffic.spec import ENGINE_DSCP

__all__ = [
    "ACK",
    "ENGINE_TOS",
    "FIN",
    "PSH",
    "RST",
    "SYN",
    "TCP",
    "UDP",
    "Batch",
    "pack_mac",
    "seal",
    "tcp_payload_lengths",
    "turn_round",
    "u16",
    "u32",
]

Batch: TypeAlias = NDArray[np.uint8]
"""A matrix of bytes: one row a frame, all rows of the same width."""

ENGINE_TOS = ENGINE_DSCP << 2

ETHERNET_TYPE = 12
IP = 14
TOTAL_LENGTH = 16
TTL = 22
PROTOCOL = 23
IP_CHECKSUM = 24
SOURCE = 26
DESTINATION = 30
TRANSPORT = 34
SOURCE_PORT = 34
DESTINATION_PORT = 36
SEQUENCE = 38
ACKNOWLEDGEMENT = 42
DATA_OFFSET = 46
FLAGS = 47
WINDOW = 48
TCP_CHECKSUM = 50
TCP_OPTIONS = 54
UDP_LENGTH = 38
UDP_CHECKSUM = 40
UDP_PAYLOAD = 42

TCP, UDP = 6, 17
INITIAL_TTL = 64  # RFC 1700, and Linux's default
FULL_WINDOW = 0xFFFF
MSS_OPTION = bytes((2, 4)) + (1460).to_bytes(2, "big")  # RFC 9293 section 3.7.1: 1,500 bytes less both headers
ISN_FACTOR = np.uint32(2_654_435_761)  # Knuth's multiplicative hash; any odd number would do
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

_CHECKSUM_AT = {TCP: TCP_CHECKSUM, UDP: UDP_CHECKSUM}


def u16(frames: Batch, offset: int) -> NDArray[Any]:
    """The 16-bit field at `offset` of every frame."""
    return frames[:, offset : offset + 2].view(">u2")[:, 0]


def u32(frames: Batch, offset: int) -> NDArray[Any]:
    """The 32-bit field at `offset` of every frame."""
    return frames[:, offset : offset + 4].view(">u4")[:, 0]


def pack_mac(text: str) -> bytes:
    """The six bytes of a MAC address such as `02:00:00:00:00:01`."""
    return bytes.fromhex(text.replace(":", ""))


def seal(frames: Batch, protocol: int) -> Batch:
    """Set the IP and the TCP or UDP checksums of frames as long as their rows; return the same frames."""
    u16(frames, IP_CHECKSUM)[:] = 0
    _store(frames, IP_CHECKSUM, _sums(frames[:, IP:TRANSPORT]))
    checksum_at = _CHECKSUM_AT[protocol]
    u16(frames, checksum_at)[:] = 0
    # The pseudo header (RFC 9293 section 3.1): both addresses are right before the transport header already.
    pseudo = protocol + frames.shape[1] - TRANSPORT
    _store(frames, checksum_at, _sums(frames[:, SOURCE:]) + np.uint32((pseudo & 0xFF) << 8 | pseudo >> 8))
    if protocol == UDP:  # a zero there means "no checksum" (RFC 768)
        sums = u16(frames, UDP_CHECKSUM)
        sums[sums == 0] = 0xFFFF
    return frames


def turn_round(frames: Batch) -> Batch:
    """Swap source and destination in all three headers; a sum does not depend on order, so checksums stay right."""
    turned = frames.copy()
    turned[:, 0:6], turned[:, 6:12] = frames[:, 6:12], frames[:, 0:6]
    turned[:, 26:30], turned[:, 30:34] = frames[:, 30:34], frames[:, 26:30]
    turned[:, 34:36], turned[:, 36:38] = frames[:, 36:38], frames[:, 34:36]
    return turned


def tcp_payload_lengths(frames: Batch) -> NDArray[np.int64]:
    """How many bytes of data each TCP segment carries."""
    header = (frames[:, DATA_OFFSET].astype(np.int64) >> 4) * 4
    return u16(frames, TOTAL_LENGTH).astype(np.int64) - (TRANSPORT - IP) - header


def _sums(octets: Batch) -> NDArray[np.uint32]:
    """The sum of each row's 16-bit words, an odd last byte counting as the first half of a word.

    Words are summed with their bytes swapped, and the sum is stored likewise: RFC 1071 section 2(B) shows
    that the checksum comes out the same, and little-endian machines need no swaps.
    """
    even = octets.shape[1] & ~1
    sums: NDArray[np.uint32] = octets[:, :even].view("<u2").sum(axis=1, dtype=np.uint32)
    if even < octets.shape[1]:
        sums += octets[:, even]
    return sums


def _store(frames: Batch, offset: int, sums: NDArray[np.uint32]) -> None:
    folded = (sums & 0xFFFF) + (sums >> 16)
    folded += folded >> 16
    frames[:, offset : offset + 2].view("<u2")[:, 0] = ~folded & 0xFFFF

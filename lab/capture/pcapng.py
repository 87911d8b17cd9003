"""The file format pcapng, as far as a capture needs it: four kinds of blocks, made for thousands of packets at a time.

The format: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng. All numbers are in this machine's byte order,
which a file tells its readers, and every block is a number of 32-bit words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import struct
from typing import TYPE_CHECKING

import numpy as np

from lab.kernel.packets.frames import WORD_BYTES, Frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "ETHERNET",
    "RAW",
    "Interface",
    "Statistics",
    "comment",
    "flags",
    "header",
    "packets",
    "statistics",
    "whole_blocks",
]

ETHERNET, RAW = 1, 101
"""Link types: with an Ethernet header, or from the IP header on (https://www.tcpdump.org/linktypes.html)."""

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER, _VERSION, _LENGTH_UNKNOWN = 0x1A2B3C4D, (1, 0), -1
_END, _COMMENT = 0, 1
_SYSTEM, _APPLICATION = 3, 4
_NAME, _DESCRIPTION, _RESOLUTION, _FILTER = 2, 3, 9, 11
_FLAGS = 2
_STARTED, _ENDED, _DROPPED, _DELIVERED = 2, 3, 5, 8
_NANOSECONDS = b"\x09"
"""The resolution of time stamps as a power of ten: 10^-9 s."""
_PCAP_FILTER = b"\0"
"""Before the text of a filter: that it is one of libpcap's."""
_LOW = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Interface:
    """What a file says of an interface before the first packet."""

    name: str
    description: str
    link_type: int
    snap_bytes: int
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a file says of an interface after the last packet; times are Unix times in nanoseconds."""

    from_ns: int
    to_ns: int
    packets: int
    """Packets that are in the file."""
    dropped: int
    """Packets that were dropped because there was no room for them."""


def header(application: str, system: str, interfaces: Iterable[Interface], said: str = "") -> bytes:
    """The beginning of a file: the program that writes it, and the interfaces, numbered from 0."""
    about = _option(_COMMENT, said.encode()) if said else b""
    about += _option(_SYSTEM, system.encode()) + _option(_APPLICATION, application.encode())
    section = struct.pack("=IHHq", _BYTE_ORDER, *_VERSION, _LENGTH_UNKNOWN) + about + _option(_END)
    return _block(_SECTION, section) + b"".join(map(_interface, interfaces))


def _interface(interface: Interface) -> bytes:
    fixed = struct.pack("=HHI", interface.link_type, 0, interface.snap_bytes)
    options = _option(_NAME, interface.name.encode()) + _option(_DESCRIPTION, interface.description.encode())
    options += _option(_RESOLUTION, _NANOSECONDS)
    if interface.filter is not None:
        options += _option(_FILTER, _PCAP_FILTER + interface.filter.encode())
    return _block(_INTERFACE, fixed + options + _option(_END))


def statistics(number: int, seen: Statistics) -> bytes:
    """How a file ends, for each interface."""
    fixed = struct.pack("=III", number, *_split(seen.to_ns))
    options = _option(_STARTED, struct.pack("=II", *_split(seen.from_ns)))
    options += _option(_ENDED, struct.pack("=II", *_split(seen.to_ns)))
    options += _option(_DROPPED, struct.pack("=Q", seen.dropped)) + _option(_DELIVERED, struct.pack("=Q", seen.packets))
    return _block(_STATISTICS, fixed + options + _option(_END))


def flags(*, outgoing: bool, reception: int = 0) -> bytes:
    """The options of a packet that came (1: unicast, 2: multicast, 3: broadcast, 4: for another station) or went."""
    return _option(_FLAGS, struct.pack("=I", 2 if outgoing else 1 | reception << 2)) + _option(_END)


def comment(text: str) -> bytes:
    """The options of a packet of which there is something to say."""
    return _option(_COMMENT, text.encode()) + _option(_END)


def packets(frames: Frames, options: Sequence[bytes]) -> NDArray[np.uint32]:
    """A block for each frame, in the same order; `options` has those of each kind of frame."""
    data_words = _words(frames.captured)
    option_words = np.array([len(option) // WORD_BYTES for option in options], np.int64)
    own_options = option_words[frames.kind]
    sizes = _AROUND + data_words + own_options
    ends = np.cumsum(sizes)
    begins = ends - sizes
    blocks = np.empty(ends[-1] if len(ends) else 0, np.uint32)
    lengths = (sizes * WORD_BYTES).astype(np.uint32)
    fields = (
        np.full(len(frames), _PACKET, np.uint32),
        lengths,
        frames.interface,
        (frames.at_ns >> np.uint64(32)).astype(np.uint32),
        (frames.at_ns & np.uint64(_LOW)).astype(np.uint32),
        frames.captured,
        frames.original,
    )
    for place, field in enumerate(fields):
        blocks[begins + place] = field
    data = begins + len(fields)
    _copy(blocks, data, frames.words, frames.start, data_words)
    some = np.flatnonzero(frames.captured % WORD_BYTES)
    blocks[data[some] + data_words[some] - 1] &= _PADDING[frames.captured[some] % WORD_BYTES]
    table = np.frombuffer(b"".join(options), np.uint32)
    _copy(blocks, data + data_words, table, (np.cumsum(option_words) - option_words)[frames.kind], own_options)
    blocks[ends - 1] = lengths
    return blocks


def whole_blocks(data: bytes) -> tuple[int, int]:
    """How many whole blocks there are at the beginning of these bytes, and how many bytes that is."""
    count = at = 0
    while at + 2 * WORD_BYTES <= len(data):
        (length,) = struct.unpack_from("=I", data, at + WORD_BYTES)
        if at + length > len(data):
            break
        count, at = count + 1, at + length
    return count, at


_AROUND = 8
"""Words of a packet's block beside the packet and its options."""
_PADDING = np.frombuffer(b"".join(b"\xff" * n + b"\0" * (WORD_BYTES - n) for n in range(WORD_BYTES)), np.uint32)
"""Which bits of a packet's last word are its own, where it has so many bytes of it."""


def _words(octets: NDArray[np.uint32]) -> NDArray[np.int64]:
    return -(-octets.astype(np.int64) // WORD_BYTES)


def _copy(
    to: NDArray[np.uint32],
    to_start: NDArray[np.int64],
    source: NDArray[np.uint32],
    source_start: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Copy runs of words, each of its own length, from anywhere to anywhere: one gathering for all of them."""
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    to[within + np.repeat(to_start, counts)] = source[within + np.repeat(source_start, counts)]


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("=I", len(body) + 3 * WORD_BYTES)
    return struct.pack("=I", kind) + length + body + length


def _option(code: int, value: bytes = b"") -> bytes:
    return struct.pack("=HH", code, len(value)) + value + bytes(-len(value) % WORD_BYTES)


def _split(at_ns: int) -> tuple[int, int]:
    return at_ns >> 32, at_ns & _LOW

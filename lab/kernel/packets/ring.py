"""All frames of an interface, in batches: an AF_PACKET receive ring (TPACKET_V3) that the kernel fills block by block.

Kernel documentation: Documentation/networking/packet_mmap.rst; layouts: include/uapi/linux/if_packet.h. A block
comes to us when it is full, or soon after its first frame; frames in it have any length and follow one another.
"""

from __future__ import annotations

from collections.abc import Iterator
import mmap
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lab.kernel.packets.bpf import Program, attach, nothing
from lab.kernel.packets.frames import WORD_BYTES, Frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["BLOCK_BYTES", "LATEST_S", "PacketRing", "RingCount"]

BLOCK_BYTES = 1 << 18
"""More than the longest frame, one of 64 KiB that no network card has cut yet (GSO)."""
LATEST_S = 0.1
"""How long a frame waits for its block to be ours: twice the time that is asked for (prb_retire_rx_blk_timer_expired
gives a block back when it finds it for the second time)."""

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_RESERVE = 5, 6, 10, 12
_TPACKET_V3 = 2
_MAP_POPULATE = 0x8000
_SMALLEST_FRAME = 2048
"""The kernel asks for it, to divide a block; a frame may be longer."""
_RESERVE = 2
"""Bytes before a frame, after which its 14 bytes of Ethernet header begin on a word's first byte (tpacket_rcv)."""

_STATUS_USER = 1
_STATUS, _FRAMES, _FIRST, _LENGTH = 2, 3, 4, 5
"""Words of a block's header: whose it is, how many frames, where the first one is, where the last one ends."""
_NEXT, _SECOND, _NANOSECOND, _CAPTURED, _ORIGINAL = range(5)
"""Words of a frame's header (struct tpacket3_hdr); all that is said in bytes is from the header's beginning."""
_BEGIN_HALF = 12
"""The 16 bits that say where the frame itself begins (tp_mac)."""
_KIND_BYTE = 48 + 10
"""Behind the header a struct sockaddr_ll: its sll_pkttype."""
_NS = 1_000_000_000


class RingCount(NamedTuple):
    """Frames that found room in a ring, and those that did not."""

    taken: int
    dropped: int


class PacketRing:
    """The frames that an interface of the calling thread's namespace sends and receives, from now on."""

    def __init__(self, interface: str, program: Program, blocks: int) -> None:
        self._taken = self._dropped = self._next = 0
        # Protocol 0: nothing is received until bind, when filter and ring are in place.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            attach(self._socket, program)
            self._map = _ring(self._socket, blocks)
            self._socket.bind((interface, _ETH_P_ALL))
        except BaseException:
            self._socket.close()
            raise
        self._blocks = np.frombuffer(self._map, np.uint32).reshape(blocks, BLOCK_BYTES // WORD_BYTES)

    def read(self) -> Iterator[Frames]:
        """All that waits in blocks that are ours, in the order in which it came; the blocks go back."""
        for _ in range(len(self._blocks)):
            block = self._blocks[self._next]
            if not block[_STATUS] & _STATUS_USER:
                return
            words = block[: -(-int(block[_LENGTH]) // WORD_BYTES)].copy()
            block[_STATUS] = 0
            self._next = (self._next + 1) % len(self._blocks)
            yield _frames(words)

    def count(self) -> RingCount:
        """How many there were since it was opened, also those that wait; once it is closed, up to then."""
        if self._map.closed:
            return RingCount(self._taken, self._dropped)
        # The kernel counts drops among the packets, and forgets both with each reading (packet_getsockopt).
        packets, drops, _ = struct.unpack("III", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12))
        self._taken += packets - drops
        self._dropped += drops
        return RingCount(self._taken, self._dropped)

    def end(self) -> None:
        """Take no frames any more; those that wait can still be read."""
        attach(self._socket, nothing)

    def close(self) -> None:
        """Close the socket and unmap the ring."""
        self.count()
        self._blocks = np.zeros((0, 0), np.uint32)  # a mapping stays while there are views of it
        self._map.close()
        self._socket.close()


def _ring(packets: socket.socket, blocks: int) -> mmap.mmap:
    packets.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
    packets.setsockopt(_SOL_PACKET, _PACKET_RESERVE, _RESERVE)
    retire_ms = int(LATEST_S / 2 * 1000)
    frames = blocks * BLOCK_BYTES // _SMALLEST_FRAME
    # A struct tpacket_req3: without private bytes in a block, and without features.
    packets.setsockopt(
        _SOL_PACKET,
        _PACKET_RX_RING,
        struct.pack("7I", BLOCK_BYTES, blocks, _SMALLEST_FRAME, frames, retire_ms, 0, 0),
    )
    return mmap.mmap(packets.fileno(), blocks * BLOCK_BYTES, mmap.MAP_SHARED | _MAP_POPULATE)


def _frames(words: NDArray[np.uint32]) -> Frames:
    """A block's frames; which interface it was, only the caller knows."""
    header = np.array(_headers(words), np.int64)
    octets = words.view(np.uint8)
    begin = words.view(np.uint16)[header * (WORD_BYTES // 2) + _BEGIN_HALF] + header * WORD_BYTES
    frames = Frames(
        words,
        begin // WORD_BYTES,
        words[header + _CAPTURED],
        words[header + _ORIGINAL],
        words[header + _SECOND].astype(np.uint64) * np.uint64(_NS) + words[header + _NANOSECOND],
        octets[header * WORD_BYTES + _KIND_BYTE].astype(np.uint16),
        np.zeros(len(header), np.uint32),
    )
    if not (begin % WORD_BYTES).any():
        return frames
    # A link header of another length, which no veth has.
    payloads = [octets[at : at + n].tobytes() for at, n in zip(begin, frames.captured, strict=True)]
    return Frames.of(payloads, frames.original, frames.at_ns, frames.kind)


def _headers(words: NDArray[np.uint32]) -> list[int]:
    """At which words the frames' headers are."""
    numbers = words.data  # gives Python's own numbers: three times as fast as numpy's, one by one
    headers, at = [], numbers[_FIRST] // WORD_BYTES
    for _ in range(numbers[_FRAMES]):
        headers.append(at)
        at += numbers[at + _NEXT] // WORD_BYTES
    return headers

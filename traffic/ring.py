"""Send and receive rings of an interface (AF_PACKET, TPACKET_V2) as numpy matrices, one row a slot.

Kernel documentation: Documentation/networking/packet_mmap.rst. One slot of each ring holds one frame behind a
32-byte header; user space and kernel hand slots to each other through the header's status word, in order.
TPACKET_V3 would hand over frames block by block, each up to a timer's period late, where a handshake waits for them.
"""

from __future__ import annotations

from contextlib import suppress
import errno
from functools import partial
import mmap
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

import numpy as np

from traffic.buffers import make_room
from traffic.packet_socket import (
    ETH_P_IP,
    MARKED_ONLY,
    PACKET_IGNORE_OUTGOING,
    SOL_PACKET,
    FrameCounter,
    attach_filter,
    open_packet_socket,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traffic.frames import Batch
    from traffic.result import RingCount

__all__ = ["Ring"]

# include/uapi/linux/if_packet.h and asm-generic/socket.h
_PACKET_RX_RING = 5
_PACKET_VERSION = 10
_PACKET_TX_RING = 13
_TPACKET_V2 = 1
_MAP_POPULATE = 0x8000

# Status words: who owns a slot.
_STATUS_KERNEL = 0
_STATUS_USER = 1
_STATUS_SEND_REQUEST = 1

# struct tpacket2_hdr as 32-bit words: status, length on the wire, length captured.
_STATUS, _LENGTH, _CAPTURED = 0, 1, 2

_SLOT_BYTES = 512
"""Room for the lab's longest frame, a DNS answer to a 255-byte name; a power of two, to divide a block."""
_BLOCK_BYTES = 1 << 16

# tpacket_snd() reads data right after the aligned header; tpacket_rcv() puts the network header at the next
# multiple of 16 after header, sockaddr_ll (20 bytes) and 16 bytes for a link header, and the Ethernet header
# before that.
_TX_DATA = 32
_RX_DATA = 80 - 14

_SEND_BUFFER_BYTES = 16 << 20
_FULL = (errno.ENOBUFS, errno.EAGAIN)
_BACK_OFF_S, _BACK_OFFS = 0.001, 500
_SEND_TIMEOUT = struct.pack("ll", 0, 500_000)


class Ring:
    """The engines' marked frames on one interface: `send` a batch, `receive` a batch, wait on `fileno`."""

    def __init__(self, interface: str, *, rx_slots: int = 16384, tx_slots: int = 4096) -> None:
        # Many more slots to send than frames on their way: IP input orphans a frame (ip_rcv_core), which
        # frees its slot while the bytes are still in use; it must not come round again soon.
        self._socket = open_packet_socket(
            interface, ETH_P_IP, partial(_configure, rx_slots=rx_slots, tx_slots=tx_slots)
        )
        self._counter = FrameCounter(self._socket)
        length = (rx_slots + tx_slots) * _SLOT_BYTES
        self._map = mmap.mmap(self._socket.fileno(), length, mmap.MAP_SHARED | _MAP_POPULATE)
        self._map.madvise(mmap.MADV_DONTFORK)  # a process that is forked has nothing to do with it
        memory = np.frombuffer(self._map, np.uint8).reshape(-1, _SLOT_BYTES)
        self._view(memory[:rx_slots], memory[rx_slots:])
        self._rx_next = self._tx_next = 0

    def _view(self, rx: Batch, tx: Batch) -> None:
        self._rx, self._tx = rx, tx
        self._rx_words, self._tx_words = rx.view(np.uint32), tx.view(np.uint32)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket's descriptor: readable while a frame waits."""
        return self._socket.fileno()

    def receive(self, limit: int = 512) -> tuple[Batch, NDArray[np.uint32]]:
        """Up to `limit` waiting frames, and their lengths; bytes after a frame's end mean nothing."""
        start = self._rx_next
        words = self._rx_words[start : start + limit]
        ours = (words[:, _STATUS] & _STATUS_USER) != 0
        count = len(ours) if ours.all() else int(ours.argmin())
        lengths = words[:count, _CAPTURED].copy()
        width = int(lengths.max(initial=0))
        frames = self._rx[start : start + count, _RX_DATA : _RX_DATA + width].copy()
        words[:count, _STATUS] = _STATUS_KERNEL
        self._rx_next = (start + count) % len(self._rx)
        return frames, lengths

    def send(self, frames: Batch, lengths: NDArray[np.uint32] | int | None = None) -> None:
        """Send frames in order; return when the kernel has taken them all off the first link.

        They are as long as their rows unless `lengths` says otherwise.
        """
        sent = 0
        while sent < len(frames):
            count = min(len(frames) - sent, len(self._tx) - self._tx_next)
            some = slice(sent, sent + count)
            self._send_run(frames[some], lengths[some] if isinstance(lengths, np.ndarray) else lengths)
            sent += count

    def _send_run(self, frames: Batch, lengths: NDArray[np.uint32] | int | None) -> None:
        count, width = frames.shape
        run = slice(self._tx_next, self._tx_next + count)
        if self._tx_words[run, _STATUS].any():  # once round, and the link is still busy with these
            self._flush()
        self._tx[run, _TX_DATA : _TX_DATA + width] = frames
        self._tx_words[run, _LENGTH] = width if lengths is None else lengths
        self._tx_words[run, _STATUS] = _STATUS_SEND_REQUEST
        self._tx_next = (self._tx_next + count) % len(self._tx)
        self._flush()

    def _flush(self) -> None:
        # A blocking send waits until no frame of ours is queued at the first link: batches cannot pile up in
        # the softirq backlog (net.core.netdev_max_backlog) where ksoftirqd has taken over. The time limit is
        # for a link that delays frames on purpose.
        for _ in range(_BACK_OFFS):
            try:
                self._socket.send(b"")
            except TimeoutError:
                return
            except OSError as error:
                # The first link's queue is full: the frame in question keeps its SEND_REQUEST (tpacket_snd).
                if error.errno not in _FULL:
                    raise
                time.sleep(_BACK_OFF_S)
            else:
                return

    def count(self) -> RingCount:
        """Frames that the receive ring took, and those it had no room for, since it was opened."""
        return self._counter.read()

    def take_error(self) -> int:
        """What has befallen the socket since the last call, 0 for nothing: ENETDOWN, if its link went down or away.

        Until it is read poll(2) returns at once (SO_ERROR in socket(7)), so whoever waits for frames has to read it.
        """
        return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    @property
    def has_interface(self) -> bool:
        """Whether the interface still exists: when one goes, its packet sockets are of none (packet_notifier)."""
        return bool(self._socket.getsockname()[0])

    def close(self) -> None:
        """Wait for the frames that are still to be sent, if the link is up, then give the rings back."""
        with suppress(OSError):
            self._flush()
        nothing: Batch = np.zeros((0, _SLOT_BYTES), np.uint8)
        self._view(nothing, nothing)  # a mapping stays while there are views of it
        self._map.close()
        self._socket.close()


def _configure(packets: socket.socket, rx_slots: int, tx_slots: int) -> None:
    attach_filter(packets, MARKED_ONLY)
    make_room(packets, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    packets.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
    packets.setsockopt(SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
    packets.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    packets.setsockopt(SOL_PACKET, _PACKET_RX_RING, _request(rx_slots))
    packets.setsockopt(SOL_PACKET, _PACKET_TX_RING, _request(tx_slots))


def _request(slots: int) -> bytes:
    """A struct tpacket_req for that many slots."""
    blocks = slots * _SLOT_BYTES // _BLOCK_BYTES
    return struct.pack("IIII", _BLOCK_BYTES, blocks, _SLOT_BYTES, slots)

"""Places on the way that are listened to, and the engine's own link: AF_PACKET sockets."""

from __future__ import annotations

from contextlib import ExitStack
import socket
import struct
import time
from typing import TYPE_CHECKING, Self

from traffic.engines.scapy.crafting import dissect
from traffic.engines.scapy.story import Place
from traffic.engines.scapy.watch import Seen
from traffic.result import RingCount
from traffic.ring import hear_marked_only

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traffic.engines.scapy.dissected import Packet
    from traffic.spec import Tap

__all__ = ["Link", "Taps"]

# include/uapi/linux/if_packet.h and asm-generic/socket.h
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_IGNORE_OUTGOING = 23
_ETH_P_IP = 0x0800
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")

_LONGEST_BYTES = 65_535
_AT_A_TIME = 256


class Link:
    """The engine's own socket on its interface: frames go out, answers come in."""

    def __init__(self, interface: str) -> None:
        # Protocol 0: nothing is received until bind, when the filter is in place.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            hear_marked_only(self._socket)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            self._socket.bind((interface, _ETH_P_IP))
        except BaseException:
            self._socket.close()
            raise
        self._received = self._dropped = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, frame: bytes) -> None:
        """Send a frame."""
        self._socket.send(frame)

    def receive(self) -> Iterator[Packet]:
        """Packets that wait, dissected."""
        for _ in range(_AT_A_TIME):
            try:
                frame = self._socket.recv(_LONGEST_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            if (packet := dissect(frame)) is not None:
                yield packet

    def count(self) -> RingCount:
        """What the socket took, and what it had no room for, since it was opened."""
        # The kernel counts drops among the packets, and forgets both with each reading.
        packets, drops = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._received += packets - drops
        self._dropped += drops
        return RingCount(self._received, self._dropped)


class Taps:
    """Sockets that the lab has opened in other namespaces, each bound to an interface there."""

    def __init__(self, taps: Iterable[Tap]) -> None:
        self._undo = ExitStack()
        self._open = [(self._inherit(tap.descriptor), _place(tap)) for tap in taps]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _inherit(self, descriptor: int) -> socket.socket:
        inherited = self._undo.enter_context(socket.socket(fileno=descriptor))
        hear_marked_only(inherited)
        inherited.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        return inherited

    def filenos(self) -> Iterator[int]:
        """The sockets' descriptors."""
        return (each.fileno() for each, _ in self._open)

    def read(self, epoch_s: float) -> Iterator[Seen]:
        """Everything that waits; times count from `epoch_s`, which is a time of day."""
        for tap, place in self._open:
            for _ in range(_AT_A_TIME):
                try:
                    frame, ancillary, _, sender = tap.recvmsg(_LONGEST_BYTES, 64, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                kind = sender[2]
                # A bridge floods what is for a MAC address that it has not met yet.
                packet = None if kind == socket.PACKET_OTHERHOST else dissect(frame)
                if packet is not None:
                    yield Seen(_time_s(ancillary) - epoch_s, place, kind == socket.PACKET_OUTGOING, packet)


def _place(tap: Tap) -> Place:
    return Place(tap.node, tap.interface, tap.kind)


def _time_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    """The kernel's time stamp (SCM_TIMESTAMPNS has the option's number)."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds) + float(nanoseconds) / 1e9
    return time.time()

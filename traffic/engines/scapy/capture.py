"""What passes the interfaces on a connection's path: packet sockets that the lab opened in other namespaces."""

from __future__ import annotations

from contextlib import ExitStack
import socket
import time
from typing import TYPE_CHECKING, Self

from traffic.engines.scapy.codec import dissect
from traffic.engines.scapy.explain import NodeInterface
from traffic.engines.scapy.tracker import Captured
from traffic.packet_socket import MARKED_ONLY, attach_filter, enable_timestamps, timestamp_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traffic.spec import PacketSocket

__all__ = ["CaptureSockets"]

_LONGEST_BYTES = 65_535
_AT_A_TIME = 256


class CaptureSockets:
    """Inherited packet sockets, each bound to an interface of a node."""

    def __init__(self, inherited: Iterable[PacketSocket]) -> None:
        self._undo = ExitStack()
        self._sockets = [
            (self._adopt(spec.descriptor), NodeInterface(spec.node, spec.interface, spec.kind)) for spec in inherited
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _adopt(self, descriptor: int) -> socket.socket:
        packets = self._undo.enter_context(socket.socket(fileno=descriptor))
        attach_filter(packets, MARKED_ONLY)
        enable_timestamps(packets)
        return packets

    def descriptors(self) -> Iterator[int]:
        """The sockets' descriptors."""
        return (packets.fileno() for packets, _ in self._sockets)

    def read(self, epoch_s: float) -> Iterator[Captured]:
        """The frames that wait; times count from `epoch_s`, which is Unix time."""
        for packets, interface in self._sockets:
            for _ in range(_AT_A_TIME):
                try:
                    frame, ancillary, _, sender = packets.recvmsg(_LONGEST_BYTES, 64, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                kind = sender[2]
                # A bridge floods what is for a MAC address that it has not learned yet.
                packet = None if kind == socket.PACKET_OTHERHOST else dissect(frame)
                if packet is not None:
                    t_s = (timestamp_s(ancillary) or time.time()) - epoch_s
                    yield Captured(t_s, interface, kind == socket.PACKET_OUTGOING, packet)

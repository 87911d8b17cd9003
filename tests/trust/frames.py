"""Frames that this process's own network namespace sends, receives and forwards, on all of its interfaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import socket
import struct
from threading import Event, Thread
import time
from typing import NamedTuple

from traffic.packet_socket import ETH_P_ALL, SOL_PACKET

__all__ = ["CONTROL", "Heard", "counted"]

_SO_RCVBUFFORCE = 33
_PACKET_STATISTICS = 6
_ROOM_BYTES = 64 << 20
_AFTERWARDS_S = 10.0
"""How long what waits is read for at most: other programs may send all the time."""
_EXPERIMENTAL = 0x88B5  # IEEE Std 802 - Local Experimental Ethertype 1
CONTROL = 3
"""Frames that are sent on purpose, as a lab's would be: they must be counted, or nothing was listened to."""


class Heard(NamedTuple):
    """What came by."""

    frames: int
    """All of them."""
    wanted: int
    """Those that were looked for, without the ones that were sent on purpose."""
    controls: int
    """Those that were sent on purpose; on the loopback interface each is heard twice."""
    lost: int
    """Which the kernel had no room for."""


@contextmanager
def counted(is_wanted: Callable[[bytes], bool], control_mac: bytes) -> Iterator[list[Heard]]:
    """Count frames while the block runs; the list has the result afterwards."""
    ended, result = Event(), list[Heard]()
    with socket.socket(
        socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)
    ) as packets:  # of no interface: of all
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM_BYTES)
        packets.settimeout(0.1)
        listener = Thread(target=lambda: result.append(_count(packets, ended, is_wanted)))
        listener.start()
        try:
            yield result
            _send_controls(control_mac)
        finally:
            ended.set()
            listener.join()


def _count(packets: socket.socket, ended: Event, is_wanted: Callable[[bytes], bool]) -> Heard:
    frames = wanted = controls = 0
    until_s: float | None = None  # what came until the end is read, for no longer than that takes
    while until_s is None or time.monotonic() < until_s:
        if until_s is None and ended.is_set():
            until_s = time.monotonic() + _AFTERWARDS_S
        try:
            frame = packets.recv(2048)
        except TimeoutError:
            if until_s is not None:
                break
            continue
        frames += 1
        if frame[12:14] == struct.pack("!H", _EXPERIMENTAL):
            controls += is_wanted(frame)
        else:
            wanted += is_wanted(frame)
    _, lost = struct.unpack("II", packets.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))
    return Heard(frames, wanted, controls, lost)


def _send_controls(mac: bytes) -> None:
    """Frames to a MAC address of the lab, of a type that nobody answers, on the loopback interface."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("lo", 0))
        for _ in range(CONTROL):
            sender.send(mac + bytes(6) + struct.pack("!H", _EXPERIMENTAL) + bytes(46))

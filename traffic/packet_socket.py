"""AF_PACKET sockets (packet(7)): opened, filtered and counted in one place for rings and for sockets without one."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import TYPE_CHECKING

from traffic.result import RingCount
from traffic.spec import ENGINE_DSCP

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ETH_P_ALL",
    "ETH_P_IP",
    "MARKED_ONLY",
    "PACKET_IGNORE_OUTGOING",
    "SOL_PACKET",
    "FrameCounter",
    "Program",
    "attach_filter",
    "enable_timestamps",
    "open_packet_socket",
    "timestamp_s",
]

# include/uapi/linux/if_packet.h, if_ether.h and asm-generic/socket.h
SOL_PACKET = 263
ETH_P_ALL, ETH_P_IP = 0x0003, 0x0800
PACKET_IGNORE_OUTGOING = 23
_PACKET_STATISTICS = 6
_SO_ATTACH_FILTER = 26
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("ll")

Program = tuple[tuple[int, int, int, int], ...]
"""A classic BPF program (linux/filter.h): code, jump if true, jump if false, operand of each instruction."""

MARKED_ONLY: Program = (
    (0x28, 0, 0, 12),  # ldh [12]: Ethernet type
    (0x15, 0, 4, ETH_P_IP),  # jne reject
    (0x28, 0, 0, 14),  # ldh [14]: version, header length, TOS
    (0x54, 0, 0, 0xFFFC),  # and: without ECN
    (0x15, 0, 1, 0x4500 | ENGINE_DSCP << 2),  # jne reject
    (0x06, 0, 0, 0x40000),  # accept
    (0x06, 0, 0, 0),  # reject
)
"""Accepts IPv4 frames with a 20-byte header and the engines' DSCP, whatever their ECN bits."""


def open_packet_socket(interface: str, protocol: int, configure: Callable[[socket.socket], None]) -> socket.socket:
    """A raw packet socket on an interface; `configure` sets filter and rings while nothing is received yet."""
    # A socket of protocol 0 receives nothing until bind() gives it one.
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        configure(packets)
        packets.bind((interface, protocol))
    except BaseException:
        packets.close()
        raise
    return packets


def attach_filter(packets: socket.socket, program: Program) -> None:
    """Filter what a socket receives from now on; what it has received already stays."""
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    # A struct sock_fprog: how many instructions, and where they are.
    fprog = struct.pack("HP", len(program), ctypes.addressof(instructions))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


class FrameCounter:
    """Frames that a packet socket received, and those that its ring or buffer had no room for, since it was opened."""

    def __init__(self, packets: socket.socket) -> None:
        self._socket = packets
        self._received = self._dropped = 0

    def read(self) -> RingCount:
        """Frames received and dropped up to now."""
        # The kernel counts drops among the packets, and resets both at each reading (packet_getsockopt).
        packets, drops = struct.unpack_from("II", self._socket.getsockopt(SOL_PACKET, _PACKET_STATISTICS, 8))
        self._received += packets - drops
        self._dropped += drops
        return RingCount(self._received, self._dropped)


def enable_timestamps(packets: socket.socket) -> None:
    """Have the kernel time frames as they pass: recvmsg() then returns the time as ancillary data."""
    packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def timestamp_s(ancillary: list[tuple[int, int, bytes]]) -> float | None:
    """The kernel's time stamp in Unix time, if there is one (SCM_TIMESTAMPNS has the option's number)."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            return float(seconds) + float(nanoseconds) / 1e9
    return None

"""Which packets a socket gets: programs of the classic Berkeley Packet Filter, which the kernel runs for each of them.

The instructions are linux/filter.h's; what a program returns is how many bytes of the packet are kept.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import subprocess

from lab.errors import UsageError
from lab.kernel.netns import in_new_namespace
from lab.kernel.preflight import find, require_program

__all__ = ["Program", "attach", "compiled", "everything", "nothing", "without_others"]

Program = tuple[tuple[int, int, int, int], ...]
"""Instructions: code, jump if true, jump if false, operand."""

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_PACKET_TYPE = 0xFFFFF004
"""Where a packet's type is loaded from: SKF_AD_OFF + SKF_AD_PKTTYPE."""
_OTHERHOST = 3
"""The type of a frame for another station (linux/if_packet.h)."""


def everything(snap_bytes: int) -> Program:
    """A program that accepts every packet, and keeps so many bytes of it."""
    return ((_RETURN, 0, 0, snap_bytes),)


nothing: Program = everything(0)
"""A program that accepts no packet."""


def without_others(program: Program) -> Program:
    """The same, but no frame that came here for another station: a bridge floods what it does not know the port of."""
    return (
        (_LOAD_WORD, 0, 0, _PACKET_TYPE),
        (_JUMP_IF_EQUAL, 0, 1, _OTHERHOST),
        (_RETURN, 0, 0, 0),
        *program,
    )


def compiled(expression: str, snap_bytes: int) -> Program:
    """The program of a filter as in pcap-filter(7), for Ethernet; UsageError in tcpdump's words when it is none.

    tcpdump compiles it where there is no network: host names in it are not looked up.
    """
    require_program("tcpdump")
    command = [find("tcpdump") or "tcpdump", "-ddd", "-y", "EN10MB", "-s", str(snap_bytes), "--", expression]
    done = in_new_namespace(lambda: subprocess.run(command, capture_output=True, encoding="utf-8", check=False))
    if done.returncode != 0:
        words = done.stderr.strip().splitlines() or ["no reason given"]
        raise UsageError(f"--filter {expression!r}: {words[-1].removeprefix('tcpdump: ')}")
    _, *lines = done.stdout.splitlines()
    return tuple(_instruction(line) for line in lines)


def _instruction(line: str) -> tuple[int, int, int, int]:
    code, if_true, if_false, operand = map(int, line.split())
    return code, if_true, if_false, operand


def attach(packets: socket.socket, program: Program) -> None:
    """Have a socket take packets by this program from now on; it keeps those that wait in it."""
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    # A struct sock_fprog: how many instructions, and where they are.
    fprog = struct.pack("HP", len(program), ctypes.addressof(instructions))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)

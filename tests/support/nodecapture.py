"""What tcpdump sees in a node, packet by packet, on which interface and in which direction: another count than ours."""

from __future__ import annotations

from collections.abc import Iterator
import socket
import struct
import subprocess
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.support.machine import ip, require_other_users

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Capture", "Packet"]

_FILE_HEADER = 24
_RECORD = struct.Struct("=IIII")
_LINUX_SLL2 = struct.Struct("!HHIHBB8s")
"""Protocol, reserved, interface index, ARPHRD type, packet type, length of the address, the address."""
_OUTGOING = 4
_IPV4 = 0x0800
_SYN, _ACK = 0x02, 0x10


class Packet(NamedTuple):
    """A packet at an interface; what is not IPv4 has no more than a length."""

    interface: str
    sent: bool
    """Whether the node sent it; otherwise it was received."""
    length: int
    """Without the Ethernet header."""
    protocol: int = -1
    flow: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    """Source and destination address, and both ports."""
    flags: int = 0
    """Of TCP."""

    @property
    def is_initial(self) -> bool:
        """Whether it is a SYN, the first one or one that is sent again."""
        return self.protocol == socket.IPPROTO_TCP and self.flags & (_SYN | _ACK) == _SYN


class Capture:
    """Everything in a namespace from when this is entered to the end."""

    def __init__(self, namespace: str, path: Path) -> None:
        require_other_users()  # whoever starts tcpdump as root, it has itself given the groups of a user
        self._path = path
        self._interfaces = {each["ifindex"]: each["ifname"] for each in ip("link", namespace=namespace)}
        # With whole packets its ring has room for eight.
        what = ("-p", "-i", "any", "-y", "LINUX_SLL2", "-s", "128", "-B", "4096")
        how = ("--immediate-mode", "-U", "-Z", "root", "-w", str(path))
        self._running = subprocess.Popen(
            ("ip", "netns", "exec", namespace, "tcpdump", "-n", *what, *how), stderr=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        assert self._running.stderr is not None
        for line in self._running.stderr:
            if line.startswith("tcpdump: listening"):
                return self
        raise RuntimeError("tcpdump has ended")

    def __exit__(self, *_: object) -> None:
        self._running.terminate()
        self._running.communicate()

    def packets(self) -> list[Packet]:
        """Those so far, in their order."""
        return list(self._read(self._path.read_bytes()))

    def _read(self, data: bytes) -> Iterator[Packet]:
        at = _FILE_HEADER
        while at + _RECORD.size <= len(data):
            _, _, kept, whole = _RECORD.unpack_from(data, at)
            record = data[at + _RECORD.size : at + _RECORD.size + kept]
            at += _RECORD.size + kept
            if len(record) == kept:
                protocol, _, index, _, kind, _, _ = _LINUX_SLL2.unpack_from(record)
                here = self._interfaces[index], kind == _OUTGOING
                is_ipv4, rest = protocol == _IPV4, record[_LINUX_SLL2.size :]
                yield _ipv4(*here, rest) if is_ipv4 else Packet(*here, whole - _LINUX_SLL2.size)


def _ipv4(interface: str, sent: bool, data: bytes) -> Packet:  # noqa: FBT001 - a field of the packet
    payload = data[(data[0] & 0xF) * 4 :]
    flags = payload[13] if data[9] == socket.IPPROTO_TCP else 0
    length = int.from_bytes(data[2:4], "big")
    return Packet(interface, sent, length, data[9], (data[12:16], data[16:20], payload[:4]), flags)

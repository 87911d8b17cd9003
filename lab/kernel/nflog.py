"""What a ruleset's `log group N` copies out of its namespace: packets, over a netlink socket.

The format is linux/netfilter/nfnetlink_log.h. The kernel gathers messages of many packets and numbers the packets of a
group: a gap is what it had no room for.
"""

from __future__ import annotations

from collections.abc import Iterator
import errno
import os
import socket
import struct
import sys
import time
from typing import NamedTuple

from lab.kernel.nfnetlink import attribute, attributes

__all__ = ["LogGroup", "Logged"]

_NETLINK_NETFILTER = 12
_SUBSYSTEM = 4  # NFNL_SUBSYS_ULOG
_PACKET, _CONFIGURE = 0, 1
_REQUEST, _ACKNOWLEDGE, _ERROR = 0x1, 0x4, 2
_COMMAND, _MODE, _BUFFER_BYTES, _TIMEOUT, _MOST, _FLAGS = 1, 2, 3, 4, 5, 6
_BIND, _UNBIND = 1, 2
_COPY_PACKET, _NUMBERED = 2, 1
_TIMESTAMP, _PAYLOAD, _PREFIX, _SEQUENCE = 3, 9, 10, 12

_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct(">BBH")
_MESSAGE_BYTES = 1 << 17
"""The most that the kernel gathers (NFULNL_NLBUFSIZ_MAX)."""
_MOST_GATHERED = 1000
_TIMEOUT_CS = 5
"""In hundredths of a second: how long a packet waits for others."""
_RECEIVE_BYTES = 1 << 25
_SO_RCVBUFFORCE = 33
_NUMBERS = 1 << 32
_US, _NS = 1_000, 1_000_000_000


class Logged(NamedTuple):
    """A packet that a rule has logged, from the IP header on."""

    prefix: str
    at_ns: int
    original: int
    """How long it was, in bytes."""
    payload: bytes


class LogGroup:
    """The packets of a group in the calling thread's namespace, from now on; OSError when somebody else has the group.

    `snap_bytes` is how much of each is copied.
    """

    def __init__(self, group: int, snap_bytes: int) -> None:
        self._missing, self._overrun = 0, False
        self._group, self._expected = group, 0
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_NETFILTER)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
            self._socket.bind((0, 0))
            self._configure(attribute(_COMMAND, struct.pack("B", _BIND)))
            self._configure(
                attribute(_MODE, struct.pack(">IBx", snap_bytes, _COPY_PACKET))
                + attribute(_BUFFER_BYTES, struct.pack(">I", _MESSAGE_BYTES))
                + attribute(_TIMEOUT, struct.pack(">I", _TIMEOUT_CS))
                + attribute(_MOST, struct.pack(">I", _MOST_GATHERED))
                + attribute(_FLAGS, struct.pack(">H", _NUMBERED)),
            )
        except BaseException:
            self._socket.close()
            raise

    def read(self) -> Iterator[Logged]:
        """All that waits."""
        while True:
            try:
                datagram = self._socket.recv(2 * _MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._overrun = True
                continue
            for kind, body in _messages(memoryview(datagram)):
                if kind == _SUBSYSTEM << 8 | _PACKET:
                    yield self._logged(body[_FAMILY.size :])

    @property
    def dropped(self) -> int:
        """Packets that the kernel had no room for: those that later ones show to be missing, or one when it says so."""
        return max(self._missing, int(self._overrun))

    def end(self) -> None:
        """Leave the group to others; what the kernel has gathered can be read now (instance_destroy)."""
        self._send(attribute(_COMMAND, struct.pack("B", _UNBIND)), _REQUEST)

    def close(self) -> None:
        """End it, and forget what was not read."""
        self._socket.close()

    def _logged(self, body: memoryview) -> Logged:
        fields = dict(attributes(body))
        number = int.from_bytes(fields[_SEQUENCE], "big")
        self._missing += (number - self._expected) % _NUMBERS
        self._expected = (number + 1) % _NUMBERS
        payload = bytes(fields[_PAYLOAD])
        prefix = bytes(fields.get(_PREFIX, b"")).rstrip(b"\0").decode()
        return Logged(prefix, _time_ns(fields.get(_TIMESTAMP)), _total_length(payload), payload)

    def _configure(self, settings: bytes) -> None:
        self._send(settings, _REQUEST | _ACKNOWLEDGE)
        # The answer is there when send returns: the kernel deals with a request in the sender's call (netlink_rcv_skb).
        for kind, answer in _messages(memoryview(self._socket.recv(_MESSAGE_BYTES))):
            number = -int.from_bytes(answer[:4], sys.byteorder, signed=True) if kind == _ERROR else 0
            if number:
                raise OSError(number, os.strerror(number))

    def _send(self, settings: bytes, how: int) -> None:
        body = _FAMILY.pack(0, 0, self._group) + settings
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), _SUBSYSTEM << 8 | _CONFIGURE, how, 1, 0) + body)


def _messages(datagram: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, at)
        yield kind, datagram[at + _HEADER.size : at + length]
        at += (length + 3) & ~3


def _time_ns(stamp: memoryview | None) -> int:
    """When it was logged; kernels that have no time for it leave that out (nfnetlink_log.c): then it is now."""
    if stamp is None:
        return time.time_ns()
    second, microsecond = struct.unpack(">QQ", stamp)
    return int(second * _NS + microsecond * _US)


def _total_length(packet: bytes) -> int:
    """How long an IPv4 packet was before it was cut off."""
    return max(len(packet), int.from_bytes(packet[2:4], "big"))

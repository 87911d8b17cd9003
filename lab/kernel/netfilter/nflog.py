"""What a ruleset's `log group N` copies out of its namespace: packets, over a netlink socket.

The format is linux/netfilter/nfnetlink_log.h. The kernel gathers messages of many packets and numbers the packets of a
group: a gap is what it had no room for.
"""

from __future__ import annotations

from collections.abc import Iterator
import errno
import socket
import struct
import time
from typing import NamedTuple

from lab.kernel.netfilter.messages import (
    Subsystem,
    acknowledged,
    attribute,
    fields_of,
    messages,
    netfilter_socket,
    request,
    text_of,
)
from traffic.buffers import make_room

__all__ = ["LogGroup", "Logged"]

_PACKET, _CONFIGURE = 0, 1
_COMMAND, _MODE, _BUFFER_BYTES, _TIMEOUT, _MOST, _FLAGS = 1, 2, 3, 4, 5, 6
_BIND, _UNBIND = 1, 2
_COPY_PACKET, _NUMBERED = 2, 1
_TIMESTAMP, _PAYLOAD, _PREFIX, _SEQUENCE = 3, 9, 10, 12

_MESSAGE_BYTES = 1 << 17
"""The most that the kernel gathers (NFULNL_NLBUFSIZ_MAX)."""
_MOST_GATHERED = 1000
_TIMEOUT_CS = 5
"""How long a packet waits for others, in hundredths of a second."""
_RECEIVE_BYTES = 1 << 25
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
    """The packets of a group in the calling thread's namespace, from now on; OSError when another socket has the group.

    `snap_bytes` is how much of each is copied.
    """

    def __init__(self, group: int, snap_bytes: int) -> None:
        self._missing, self._overrun = 0, False
        self._group, self._expected = group, 0
        self._socket = netfilter_socket()
        try:
            make_room(self._socket, socket.SO_RCVBUF, _RECEIVE_BYTES)
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
        self._socket.settimeout(0)

    def read(self) -> Iterator[Logged]:
        """All packets that wait in the socket."""
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
            for kind, body in messages(datagram):
                if kind == Subsystem.LOG << 8 | _PACKET:
                    yield self._logged(body)

    @property
    def dropped(self) -> int:
        """Packets that the kernel had no room for: those that later ones show to be missing, or one when it says so."""
        return max(self._missing, int(self._overrun))

    def end(self) -> None:
        """Unbind from the group; what the kernel has gathered can be read now (instance_destroy)."""
        unbind = attribute(_COMMAND, struct.pack("B", _UNBIND))
        self._socket.send(request(Subsystem.LOG, _CONFIGURE, unbind, resource=self._group))

    def close(self) -> None:
        """Close the socket; packets that were not read are lost."""
        self._socket.close()

    def _logged(self, body: memoryview) -> Logged:
        fields = fields_of(body)
        number = int.from_bytes(fields[_SEQUENCE], "big")
        self._missing += (number - self._expected) % _NUMBERS
        self._expected = (number + 1) % _NUMBERS
        payload = bytes(fields[_PAYLOAD])
        prefix = text_of(fields[_PREFIX]) if _PREFIX in fields else ""
        total_length = int.from_bytes(payload[2:4], "big")  # the IPv4 header's: the payload may be cut off
        return Logged(prefix, _time_ns(fields.get(_TIMESTAMP)), max(len(payload), total_length), payload)

    def _configure(self, settings: bytes) -> None:
        acknowledged(self._socket, Subsystem.LOG, _CONFIGURE, settings, resource=self._group)


def _time_ns(stamp: memoryview | None) -> int:
    """When it was logged; kernels that have no time for it leave that out (nfnetlink_log.c): then it is now."""
    if stamp is None:
        return time.time_ns()
    second, microsecond = struct.unpack(">QQ", stamp)
    return int(second * _NS + microsecond * _US)

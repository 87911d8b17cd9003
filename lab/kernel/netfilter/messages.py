"""The netlink codec of everything that netfilter answers: requests, the messages of an answer, their attributes.

nf_tables, connection tracking and packet logging share one frame (linux/netfilter/nftables.h): a netlink header, a
family header, then attributes, which may hold attributes. A socket belongs to the namespace in which it was opened, so
these functions are called inside one (`NamespaceThread.run`).

A sample reads hundreds of counters and sets each second and a set may have 65,000 elements; struct and memoryview
decode such an answer without an object per field (figures: docs/architecture.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
import errno
import os
import socket
import struct
import sys

__all__ = [
    "Subsystem",
    "acknowledged",
    "ask",
    "attribute",
    "attributes",
    "fields_of",
    "messages",
    "nested",
    "netfilter_socket",
    "order",
    "request",
    "string",
    "text_of",
]

_NETLINK_NETFILTER = 12
_REQUEST, _ACKNOWLEDGE, _DUMP = 0x1, 0x4, 0x300
_ERROR, _MIN_TYPE = 2, 16
"""NLMSG_ERROR; NLMSG_MIN_TYPE, below which are the messages of netlink itself (linux/netlink.h)."""
_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct(">BBH")
"""A struct nfgenmsg: address family, version, resource."""
_ATTRIBUTE = struct.Struct("=HH")
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_RECEIVE_BYTES = 1 << 18


class Subsystem(IntEnum):
    """A netfilter subsystem (NFNL_SUBSYS_*, linux/netfilter/nftables.h)."""

    CONNTRACK = 1
    LOG = 4
    TABLES = 10


_REFUSED_BY = {Subsystem.TABLES: "nf_tables: ", Subsystem.CONNTRACK: "conntrack: "}
"""How a refusal's text begins; packet logging has none, and its callers put a text before it."""


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def nested(kind: int, payload: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, payload)


def string(kind: int, text: str) -> bytes:
    """An attribute that is a text."""
    return attribute(kind, text.encode() + b"\0")


def attributes(payload: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes of a message, or those inside one: number and value of each."""
    at = 0
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        yield kind & _TYPE_MASK, payload[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def fields_of(payload: memoryview) -> dict[int, memoryview]:
    """Attributes by their number."""
    return dict(attributes(payload))


def text_of(value: memoryview) -> str:
    """The text of an attribute."""
    return bytes(value).rstrip(b"\0").decode()


def request(
    subsystem: Subsystem, kind: int, wanted: bytes, *, flags: int = 0, family: int = 0, resource: int = 0
) -> bytes:
    """A message to a subsystem; `resource` is what its header names, a group of packet logging for one."""
    body = _FAMILY.pack(family, 0, resource) + wanted
    return _HEADER.pack(_HEADER.size + len(body), subsystem << 8 | kind, _REQUEST | flags, 1, 0) + body


def messages(datagram: bytes, refused_by: str = "") -> Iterator[tuple[int, memoryview]]:
    """Kind and attributes of each message of a datagram; OSError, its text after `refused_by`, for one with an error.

    A subsystem's kinds are its number in the high byte and a number of its own; netlink's own are below 16.
    """
    view, at = memoryview(datagram), 0
    while at + _HEADER.size <= len(view):
        length, kind, _, _, _ = _HEADER.unpack_from(view, at)
        body = view[at + _HEADER.size : at + length]
        if kind == _ERROR:
            number = -int.from_bytes(body[:4], sys.byteorder, signed=True)
            if number not in (0, errno.EINTR):
                raise OSError(number, f"{refused_by}{os.strerror(number)}")
        yield kind, body[_FAMILY.size :]
        at += (length + 3) & ~3


def netfilter_socket() -> socket.socket:
    """A socket to netfilter of the calling thread's namespace."""
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    netlink.bind((0, 0))
    return netlink


def ask(subsystem: Subsystem, kind: int, wanted: bytes, *, dump: bool, family: int = 0) -> Iterator[memoryview]:
    """The attributes of every message of the answer: of one object, or with `dump` of all that there are."""
    with netfilter_socket() as netlink:
        netlink.send(request(subsystem, kind, wanted, flags=_DUMP if dump else 0, family=family))
        while True:
            for kind_of, body in messages(netlink.recv(_RECEIVE_BYTES), _REFUSED_BY.get(subsystem, "")):
                if kind_of < _MIN_TYPE:  # all that were asked for have come
                    return
                yield body
            if not dump:
                return


def order(subsystem: Subsystem, kind: int, wanted: bytes) -> None:
    """Send a request that has no answer but its acknowledgement; OSError if the subsystem refuses it."""
    with netfilter_socket() as netlink:
        acknowledged(netlink, subsystem, kind, wanted)


def acknowledged(netlink: socket.socket, subsystem: Subsystem, kind: int, wanted: bytes, *, resource: int = 0) -> None:
    """Send a message and return when the kernel has dealt with it; OSError if it has refused.

    The answer is there when send returns: the kernel deals with a request in the sender's call (netlink_rcv_skb).
    """
    netlink.send(request(subsystem, kind, wanted, flags=_ACKNOWLEDGE, resource=resource))
    list(messages(netlink.recv(_RECEIVE_BYTES), _REFUSED_BY.get(subsystem, "")))

"""Readings of nftables over a netlink socket: counters, how full a set is, the age of a set's element.

`nft list` is a process per reading and lists all 65,000 elements to say how many there are; these messages take some
0.1 ms. The format is linux/netfilter/nf_tables.h; pyroute2's nftables module does not know set elements. The functions
open their socket where they are called, so they are called inside a namespace (`Inside.run`).
"""

from __future__ import annotations

from collections.abc import Iterator
import errno
import os
import socket
import struct
import sys
from typing import NamedTuple

__all__ = [
    "IP",
    "NETDEV",
    "Counter",
    "Element",
    "ask",
    "attribute",
    "attributes",
    "counters",
    "element",
    "elements",
    "set_limit",
    "set_size",
    "set_sizes",
]

IP, NETDEV = 2, 5
"""Families of tables: IPv4's, and those that belong to a network interface (NFPROTO_*, linux/netfilter.h)."""

_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_NFTABLES = 10
_GETSET, _GETSETELEM, _GETOBJ = 10, 13, 19
_REQUEST, _DUMP = 0x1, 0x300
_ERROR, _DONE = 2, 3
_TABLE, _NAME = 1, 2
_OBJ_TYPE, _OBJ_DATA, _OBJECT_COUNTER = 3, 4, 1
_COUNTER_BYTES, _COUNTER_PACKETS = 1, 2
_SET_DESCRIPTION, _SET_SIZE = 9, 1
_SET_COUNT = 20  # NFTA_SET_COUNT, since Linux 6.16
_ANONYMOUS = "__"
"""How the kernel names the sets and maps that stand inside rules (`__set%d`, `__map%d`)."""
_ELEMENTS, _ELEM_KEY, _ELEM_EXPIRATION, _DATA_VALUE = 3, 1, 5, 1

_HEADER = struct.Struct("=IHHII")
_FAMILY = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_NESTED = 0x8000
_RECEIVE_BYTES = 1 << 18


class Counter(NamedTuple):
    """A named counter's reading."""

    packets: int
    bytes: int


class Element(NamedTuple):
    """A set element: its key as the kernel packs it (fields padded to four bytes), and what is left of its timeout."""

    key: bytes
    expires_ms: int


def counters(table: str, family: int = IP) -> dict[str, Counter]:
    """All named counters of a table, an `ip` table unless told; none if there is no such table."""
    wanted = _string(_TABLE, table) + attribute(_OBJ_TYPE, struct.pack("!I", _OBJECT_COUNTER))
    return dict(_counter(message) for message in ask(_GETOBJ, wanted, dump=True, family=family))


def _counter(message: memoryview) -> tuple[str, Counter]:
    fields = dict(attributes(message))
    data = dict(attributes(fields[_OBJ_DATA]))
    packets, octets = (int.from_bytes(data[key], "big") for key in (_COUNTER_PACKETS, _COUNTER_BYTES))
    return bytes(fields[_NAME]).rstrip(b"\0").decode(), Counter(packets, octets)


def set_size(table: str, name: str) -> int:
    """How many elements a set of an `ip` table holds; on kernels that do not say, they are counted one by one."""
    for message in ask(_GETSET, _string(_TABLE, table) + _string(_NAME, name), dump=False):
        count = dict(attributes(message)).get(_SET_COUNT)
        if count is not None:
            return int.from_bytes(count, "big")
    return sum(1 for _ in elements(table, name))


def set_sizes(table: str) -> dict[str, int]:
    """How many elements each named set of an `ip` table holds; none if there is no such table."""
    sizes = {}
    for message in ask(_GETSET, _string(_TABLE, table), dump=True):
        fields = dict(attributes(message))
        name = bytes(fields[_NAME]).rstrip(b"\0").decode()
        if not name.startswith(_ANONYMOUS):
            count = fields.get(_SET_COUNT)
            sizes[name] = set_size(table, name) if count is None else int.from_bytes(count, "big")
    return sizes


def set_limit(table: str, name: str) -> int:
    """How many elements a set of an `ip` table has room for; 0 is no limit."""
    for message in ask(_GETSET, _string(_TABLE, table) + _string(_NAME, name), dump=False):
        description = dict(attributes(message)).get(_SET_DESCRIPTION)
        size = dict(attributes(description)).get(_SET_SIZE) if description is not None else None
        if size is not None:
            return int.from_bytes(size, "big")
    return 0


def elements(table: str, name: str) -> Iterator[Element]:
    """The elements of a set with timeouts, in no particular order."""
    for message in ask(_GETSETELEM, _string(_TABLE, table) + _string(_NAME, name), dump=True):
        for kind, payload in attributes(message):
            if kind == _ELEMENTS:
                yield from (_element(each) for _, each in attributes(payload))


def element(table: str, name: str, key: bytes) -> Element | None:
    """The element of a set with this key, however many there are; None if it is not in the set, or has expired."""
    packed = attribute(_ELEM_KEY | _NESTED, attribute(_DATA_VALUE, key))
    wanted = attribute(_ELEMENTS | _NESTED, attribute(1 | _NESTED, packed))
    try:
        answer = list(ask(_GETSETELEM, _string(_TABLE, table) + _string(_NAME, name) + wanted, dump=False))
    except FileNotFoundError:
        return None
    listed = dict(attributes(answer[0]))[_ELEMENTS]
    return next(_element(each) for _, each in attributes(listed))


def _element(payload: memoryview) -> Element:
    fields = dict(attributes(payload))
    key = dict(attributes(fields[_ELEM_KEY]))[_DATA_VALUE]
    return Element(bytes(key), int.from_bytes(fields.get(_ELEM_EXPIRATION, b""), "big"))


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded."""
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + bytes(-length % 4)


def _string(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def attributes(payload: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The netlink attributes of a message, or those inside one: number and value of each."""
    at = 0
    while at + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, at)
        yield kind & _TYPE_MASK, payload[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def ask(
    kind: int,
    attributes: bytes,
    *,
    dump: bool,
    family: int = IP,
    subsystem: int = _NFNL_SUBSYS_NFTABLES,
) -> Iterator[memoryview]:
    """The attribute part of every message of the answer."""
    body = _FAMILY.pack(family, 0, 0) + attributes
    header = _HEADER.pack(
        _HEADER.size + len(body),
        subsystem << 8 | kind,
        _REQUEST | (_DUMP if dump else 0),
        1,
        0,
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.bind((0, 0))
        netlink.send(header + body)
        while True:
            for ended, message in _messages(memoryview(netlink.recv(_RECEIVE_BYTES))):
                if ended:
                    return
                yield message
            if not dump:
                return


def _messages(datagram: memoryview) -> Iterator[tuple[bool, memoryview]]:
    at = 0
    while at < len(datagram):
        length, kind, _, _, _ = _HEADER.unpack_from(datagram, at)
        body = datagram[at + _HEADER.size : at + length]
        if kind == _ERROR:
            _raise(-int.from_bytes(body[:4], sys.byteorder, signed=True))
        yield kind == _DONE, body[_FAMILY.size :]
        at += (length + 3) & ~3


def _raise(number: int) -> None:
    if number not in (0, errno.EINTR):
        raise OSError(number, f"nf_tables: {os.strerror(number)}")

"""The connections that the kernel tracks in a namespace: counted, found by an address and port, forgotten.

The functions are called inside the namespace (`NamespaceThread.run`). ctnetlink picks entries out in the kernel, by
mark and by tuple (CTA_FILTER, since Linux 5.8), so one of 440,000 costs a walk over its table and no list
(net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from socket import AF_INET
import struct
from typing import NamedTuple

from lab.kernel.netfilter.messages import Subsystem, ask, attribute, fields_of, nested, order
from lab.slots.counters import SLOT_MASK

__all__ = [
    "Drops",
    "Endpoint",
    "Entry",
    "Flow",
    "Waiting",
    "drops",
    "entries_from",
    "entries_to",
    "flush",
    "forget",
    "key_of",
    "marked",
    "tracked",
    "without",
]

_LIST = Path("/proc/thread-self/net/nf_conntrack")
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")

_GET, _DELETE, _GET_STATS_CPU = 1, 2, 4
"""IPCTNL_MSG_CT_* of linux/netfilter/nfnetlink_conntrack.h, which has all numbers below, too."""
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK, _MARK_MASK, _FILTER = 1, 2, 3, 4, 7, 8, 21, 25
_TUPLE_IP, _TUPLE_PROTO, _SOURCE, _DESTINATION = 1, 2, 1, 2
_PROTO_NUMBER, _PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
_INSERT_FAILED, _DROP = 9, 10
"""CTA_*, and CTA_STATS_* for the last two."""
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_SOURCE = 1 << 0 | 1 << 3 | 1 << 4
_BY_DESTINATION = 1 << 1 | 1 << 3 | 1 << 5
"""Address, protocol and port of one end (CTA_FILTER_F_*, nf_conntrack_netlink.c)."""
_SEEN_REPLY = 1 << 1
"""IPS_SEEN_REPLY, linux/netfilter/nf_conntrack_common.h."""

_TUPLE = struct.Struct("!8x4s4x4s8xB7xH6xH")
"""A tuple's source, destination, protocol and ports, in the order in which the kernel writes them
(ctnetlink_dump_tuples_ip, nf_ct_port_tuple_to_nlattr)."""
_STATE_AT = 8
"""Where CTA_PROTOINFO has the TCP state, which is the first attribute of CTA_PROTOINFO_TCP (tcp_to_nlattr)."""

_TCP_STATES = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
"""Names of conntrack's TCP states by number (enum tcp_conntrack, linux/netfilter/nf_conntrack_tcp.h)."""

_dump = partial(ask, Subsystem.CONNTRACK, dump=True, family=AF_INET)


class Endpoint(NamedTuple):
    """An address and a port."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Flow(NamedTuple):
    """A tuple of one direction: protocol, source and destination."""

    protocol: int
    source: Endpoint
    destination: Endpoint


class Entry(NamedTuple):
    """A connection that conntrack tracks."""

    original: Flow
    reply: Flow
    state: str
    """The TCP state; for UDP whether the flow was answered."""
    answered: bool
    timeout_s: int
    """Seconds until the entry expires."""
    mark: int


class Waiting(NamedTuple):
    """What is read of an entry that is one of thousands: its original tuple, and how long it will be kept."""

    source: tuple[bytes, int]
    destination: tuple[bytes, int]
    state: str | None
    """The TCP state; None of UDP."""
    timeout_s: int
    """Seconds until the entry expires, without the fraction."""
    mark: int


class Drops(NamedTuple):
    """Packets that connection tracking itself has dropped in a namespace; `conntrack -S` shows them."""

    all: int
    ports_not_found: int
    """Those of them whose connection had, after translation, the tuple of another."""


def drops() -> Drops:
    """Since the namespace was made; the kernel has them by processor."""
    whole, not_found = 0, 0
    for message in _dump(_GET_STATS_CPU, b""):
        fields = fields_of(message)
        whole += int.from_bytes(fields[_DROP], "big")
        not_found += int.from_bytes(fields[_INSERT_FAILED], "big")
    return Drops(whole, not_found)


def tracked() -> int:
    """Entries that have not expired.

    The kernel's count still has those that have, until its collector comes round, which may take a minute
    (nf_conntrack_core.c, gc_worker); reading the list ends them. Kernels built without the list have the count.
    """
    if not _LIST.exists():
        return int(_COUNT.read_text(encoding="utf-8"))
    with _LIST.open("rb") as lines:
        return sum(1 for _ in lines)


def marked(bits: int, mask: int | None = None) -> int:
    """Entries that have not expired and whose mark has these bits, and no others of the mask.

    The kernel picks them out (ctnetlink_filter_match).
    """
    return sum(1 for _ in _dump(_GET, _by_mark(bits, bits if mask is None else mask)))


def without(bit: int) -> Iterator[Waiting]:
    """Entries that have not expired and whose mark has not this bit; picked out by the kernel, too."""
    for message in _dump(_GET, _by_mark(0, bit)):
        fields = fields_of(message)
        source, destination, _, source_port, destination_port = _TUPLE.unpack_from(fields[_TUPLE_ORIG])
        yield Waiting(
            (source, source_port),
            (destination, destination_port),
            _TCP_STATES[fields[_PROTOINFO][_STATE_AT]] if _PROTOINFO in fields else None,
            int.from_bytes(fields.get(_TIMEOUT, b""), "big"),
            int.from_bytes(fields.get(_MARK, b""), "big"),
        )


def flush() -> None:
    """Let conntrack forget every connection of the namespace."""
    order(Subsystem.CONNTRACK, _DELETE, b"")


def forget(marks: Iterable[int]) -> None:
    """Let conntrack forget the connections of the slot sets with these marks: their next packets are invalid."""
    for mark in marks:
        order(Subsystem.CONNTRACK, _DELETE, _by_mark(mark, SLOT_MASK))


def _by_mark(mark: int, mask: int) -> bytes:
    return attribute(_MARK, struct.pack("!I", mark)) + attribute(_MARK_MASK, struct.pack("!I", mask))


def entries_from(protocol: int, source: Endpoint) -> list[Entry]:
    """Connections that come from there, to wherever they go."""
    flow = _tuple(_TUPLE_ORIG, protocol, source, _SOURCE, _PROTO_SOURCE_PORT)
    return _entries(flow, _FILTER_ORIG_FLAGS, _BY_SOURCE)


def entries_to(protocol: int, translated: Endpoint) -> list[Entry]:
    """Connections whose answers go there: those that were given this address and port by translation."""
    flow = _tuple(_TUPLE_REPLY, protocol, translated, _DESTINATION, _PROTO_DESTINATION_PORT)
    return _entries(flow, _FILTER_REPLY_FLAGS, _BY_DESTINATION)


def _tuple(direction: int, protocol: int, end: Endpoint, address: int, port: int) -> bytes:
    ip = nested(_TUPLE_IP, attribute(address, end.address.packed))
    number = attribute(_PROTO_NUMBER, bytes([protocol]))
    proto = nested(_TUPLE_PROTO, number + attribute(port, struct.pack("!H", end.port)))
    return nested(direction, ip + proto)


def _entries(flow: bytes, direction: int, flags: int) -> list[Entry]:
    wanted = flow + nested(_FILTER, attribute(direction, struct.pack("=I", flags)))
    return [_entry(fields_of(message)) for message in _dump(_GET, wanted)]


def _entry(fields: dict[int, memoryview]) -> Entry:
    status = int.from_bytes(fields[_STATUS], "big")
    answered = bool(status & _SEEN_REPLY)
    tcp = fields_of(fields_of(fields[_PROTOINFO])[_PROTOINFO_TCP]) if _PROTOINFO in fields else {}
    udp = "answered" if answered else "unanswered"
    return Entry(
        original=_flow(fields[_TUPLE_ORIG]),
        reply=_flow(fields[_TUPLE_REPLY]),
        state=_TCP_STATES[tcp[_TCP_STATE][0]] if tcp else udp,
        answered=answered,
        timeout_s=int.from_bytes(fields.get(_TIMEOUT, b""), "big"),
        mark=int.from_bytes(fields.get(_MARK, b""), "big"),
    )


def _flow(payload: memoryview) -> Flow:
    fields = fields_of(payload)
    ip, proto = fields_of(fields[_TUPLE_IP]), fields_of(fields[_TUPLE_PROTO])
    ports = (int.from_bytes(proto[kind], "big") for kind in (_PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT))
    source, destination = (IPv4Address(bytes(ip[kind])) for kind in (_SOURCE, _DESTINATION))
    source_port, destination_port = ports
    return Flow(proto[_PROTO_NUMBER][0], Endpoint(source, source_port), Endpoint(destination, destination_port))


def key_of(flow: Flow) -> bytes:
    """A tuple as the key of a set of whole tuples has it: each field padded to four bytes (`lab.slots.ruleset`)."""
    (source, source_port), (destination, destination_port) = flow.source, flow.destination
    return struct.pack(
        "!4sH2x4sH2xB3x", source.packed, source_port, destination.packed, destination_port, flow.protocol
    )

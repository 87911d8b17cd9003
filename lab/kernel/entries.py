"""Single connections as the kernel has them: conntrack entries by one of their ends, sockets; to be called inside.

ctnetlink picks entries out in the kernel (CTA_FILTER, since Linux 5.8), so one of 440,000 costs a walk over its table
and no list (net/netfilter/nf_conntrack_netlink.c, ctnetlink_filter_match).
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
import struct
import sys
from typing import NamedTuple

from lab.kernel import nfnetlink

__all__ = ["Endpoint", "Entry", "Flow", "Socket", "entries_from", "entries_to", "key_of", "sockets"]

_NFNL_SUBSYS_CTNETLINK, _GET = 1, 1
_NESTED = 0x8000
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _PROTOINFO, _TIMEOUT, _MARK, _FILTER = 1, 2, 3, 4, 7, 8, 25
_TUPLE_IP, _TUPLE_PROTO, _SOURCE, _DESTINATION = 1, 2, 1, 2
_PROTO_NUMBER, _PROTO_SOURCE_PORT, _PROTO_DESTINATION_PORT = 1, 2, 3
_PROTOINFO_TCP, _TCP_STATE = 1, 1
"""CTA_* of linux/netfilter/nfnetlink_conntrack.h."""
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_SOURCE = 1 << 0 | 1 << 3 | 1 << 4
_BY_DESTINATION = 1 << 1 | 1 << 3 | 1 << 5
"""Address, protocol and port of one end (CTA_FILTER_F_*, nf_conntrack_netlink.c)."""
_SEEN_REPLY = 1 << 1
"""IPS_SEEN_REPLY, linux/netfilter/nf_conntrack_common.h."""

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
"""Of conntrack (enum tcp_conntrack, linux/netfilter/nf_conntrack_tcp.h)."""
_SOCKET_STATES = (
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)
"""Of sockets (include/net/tcp_states.h)."""
_SOCKETS = Path("/proc/thread-self/net/tcp")


class Endpoint(NamedTuple):
    """An address and a port."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Flow(NamedTuple):
    """A tuple: who sends what to whom, in one direction."""

    protocol: int
    source: Endpoint
    destination: Endpoint


class Entry(NamedTuple):
    """A conntrack entry."""

    original: Flow
    reply: Flow
    state: str
    """Of TCP; for UDP whether it was answered."""
    answered: bool
    timeout_s: int
    """What is left of it."""
    mark: int


class Socket(NamedTuple):
    """A TCP socket with both its ends."""

    local: Endpoint
    remote: Endpoint
    state: str


def entries_from(protocol: int, source: Endpoint) -> list[Entry]:
    """Connections that come from there, to wherever they go."""
    flow = _tuple(_TUPLE_ORIG, protocol, source, _SOURCE, _PROTO_SOURCE_PORT)
    return _entries(flow, _FILTER_ORIG_FLAGS, _BY_SOURCE)


def entries_to(protocol: int, translated: Endpoint) -> list[Entry]:
    """Connections whose answers go there: those that were given this address and port by translation."""
    flow = _tuple(_TUPLE_REPLY, protocol, translated, _DESTINATION, _PROTO_DESTINATION_PORT)
    return _entries(flow, _FILTER_REPLY_FLAGS, _BY_DESTINATION)


def _tuple(direction: int, protocol: int, end: Endpoint, address: int, port: int) -> bytes:
    ip = _nest(_TUPLE_IP, nfnetlink.attribute(address, end.address.packed))
    number = nfnetlink.attribute(_PROTO_NUMBER, bytes([protocol]))
    proto = _nest(_TUPLE_PROTO, number + nfnetlink.attribute(port, struct.pack("!H", end.port)))
    return _nest(direction, ip + proto)


def _nest(kind: int, payload: bytes) -> bytes:
    return nfnetlink.attribute(kind | _NESTED, payload)


def _entries(flow: bytes, direction: int, flags: int) -> list[Entry]:
    wanted = flow + _nest(_FILTER, nfnetlink.attribute(direction, struct.pack("=I", flags)))
    found = nfnetlink.ask(_GET, wanted, dump=True, subsystem=_NFNL_SUBSYS_CTNETLINK)
    return [_entry(_fields(message)) for message in found]


def _fields(payload: memoryview) -> dict[int, memoryview]:
    """Attributes by their number."""
    return dict(nfnetlink.attributes(payload))


def _entry(fields: dict[int, memoryview]) -> Entry:
    status = int.from_bytes(fields[_STATUS], "big")
    answered = bool(status & _SEEN_REPLY)
    tcp = _fields(_fields(fields[_PROTOINFO])[_PROTOINFO_TCP]) if _PROTOINFO in fields else {}
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
    fields = _fields(payload)
    ip, proto = _fields(fields[_TUPLE_IP]), _fields(fields[_TUPLE_PROTO])
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


def sockets() -> Iterator[Socket]:
    """The TCP sockets of the namespace."""
    for line in _SOCKETS.read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        yield Socket(_end(local), _end(remote), _SOCKET_STATES[int(state, 16)])


def _end(text: str) -> Endpoint:
    """The kernel prints an address as a number in its own byte order (net/ipv4/tcp_ipv4.c, get_tcp4_sock)."""
    address, port = text.split(":")
    return Endpoint(IPv4Address(int(address, 16).to_bytes(4, sys.byteorder)), int(port, 16))

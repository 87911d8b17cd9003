"""The TCP sockets of a namespace, from its list in /proc; to be called inside it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
import sys
from typing import NamedTuple

from lab.kernel.netfilter.conntrack import Endpoint

__all__ = ["Socket", "sockets"]

_STATES = (
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
"""Number of a TCP state → its name (include/net/tcp_states.h)."""
_SOCKETS = Path("/proc/thread-self/net/tcp")


class Socket(NamedTuple):
    """A TCP socket with both its ends."""

    local: Endpoint
    remote: Endpoint
    state: str


def sockets() -> Iterator[Socket]:
    """The TCP sockets of the namespace."""
    for line in _SOCKETS.read_text(encoding="utf-8").splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        yield Socket(_end(local), _end(remote), _STATES[int(state, 16)])


def _end(text: str) -> Endpoint:
    """The kernel prints an address as a number in its own byte order (net/ipv4/tcp_ipv4.c, get_tcp4_sock)."""
    address, port = text.split(":")
    return Endpoint(IPv4Address(int(address, 16).to_bytes(4, sys.byteorder)), int(port, 16))

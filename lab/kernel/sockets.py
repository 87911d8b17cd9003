"""The TCP and UDP sockets of a namespace, from its lists in /proc; to be called inside it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
import sys
from typing import Literal, NamedTuple

from lab.kernel.netfilter.conntrack import Endpoint

__all__ = ["REUSED_AFTER_S", "Socket", "sockets"]

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
_LISTS = Path("/proc/thread-self/net")
_TIME_WAIT_S = 60.0
"""TCP_TIMEWAIT_LEN (include/net/tcp.h)."""
_TICK_S = 0.01
"""The unit of times in /proc, a hundredth of a second on every machine (USER_HZ)."""
REUSED_AFTER_S = 1.0
"""The age at which one in TIME_WAIT makes room for a new connection (tcp_tw_reuse_delay in ip-sysctl.rst)."""


class Socket(NamedTuple):
    """A socket with both its ends; a connected one of UDP is ESTABLISHED."""

    local: Endpoint
    remote: Endpoint
    state: str
    age_s: float = 0.0
    """For how long it has been in TIME_WAIT; meaningless in other states."""


def sockets(protocol: Literal["tcp", "udp"] = "tcp") -> Iterator[Socket]:
    """The sockets of the namespace."""
    for line in (_LISTS / protocol).read_text(encoding="utf-8").splitlines()[1:]:
        _, local, remote, state, _, timer, *_ = line.split()
        left_s = int(timer.partition(":")[2], 16) * _TICK_S
        yield Socket(_end(local), _end(remote), _STATES[int(state, 16)], _TIME_WAIT_S - left_s)


def _end(text: str) -> Endpoint:
    """The kernel prints an address as a number in its own byte order (net/ipv4/tcp_ipv4.c, get_tcp4_sock)."""
    address, port = text.split(":")
    return Endpoint(IPv4Address(int(address, 16).to_bytes(4, sys.byteorder)), int(port, 16))

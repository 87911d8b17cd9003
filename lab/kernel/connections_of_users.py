"""What each user's processes open and ask, counted by the kernel of their namespace, whatever the programs say.

A table of nftables that sees what they send: the first SYN of each connection, SYNs that were sent again, and questions
to name servers, each by source address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address
import json
import subprocess
from typing import Any, NamedTuple

from lab.kernel.netns import NamespaceThread
from lab.kernel.nft import apply_text
from lab.kernel.preflight import find

__all__ = ["Opened", "counting"]

_SYN_FORGOTTEN_S = 127
"""After it a client that sends SYNs again has given up (tcp_syn_retries=6, ip-sysctl.rst)."""
_AT_A_TIME = 1_000_000
"""Connections whose SYN has no answer yet."""
_SOURCES = 65_536

_TABLE = """\
table ip {table} {{
    set asked_for {{
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        size {at_a_time}
        flags dynamic, timeout
        timeout {forgotten}s
    }}
    set opened {{
        type ipv4_addr
        size {sources}
        flags dynamic
        counter
    }}
    set again {{
        type ipv4_addr
        size {sources}
        flags dynamic
        counter
    }}
    set questions {{
        type ipv4_addr
        size {sources}
        flags dynamic
        counter
    }}
    chain sent {{
        type filter hook output priority filter
        meta skuid {users} oifname != "lo" jump of_users
    }}
    chain of_users {{
        udp dport 53 update @questions {{ ip saddr }}
        tcp flags & (syn | ack) != syn return
        ip saddr . tcp sport . ip daddr . tcp dport @asked_for update @again {{ ip saddr }} return
        add @asked_for {{ ip saddr . tcp sport . ip daddr . tcp dport }} update @opened {{ ip saddr }}
    }}
    chain received {{
        type filter hook input priority filter
        tcp flags & (syn | ack) == syn | ack delete @asked_for {{ ip daddr . tcp dport . ip saddr . tcp sport }}
        tcp flags & rst == rst delete @asked_for {{ ip daddr . tcp dport . ip saddr . tcp sport }}
    }}
}}
"""


class Opened(NamedTuple):
    """What one source address has sent."""

    connections: int = 0
    """First SYNs."""
    syns_again: int = 0
    questions: int = 0
    """Packets to port 53 over UDP."""


class Counting:
    """The table while it is there."""

    def __init__(self, inside: NamespaceThread, table: str) -> None:
        self._inside, self._table = inside, table

    def read(self) -> dict[IPv4Address, Opened]:
        """What each address has sent so far."""
        sets = self._inside.run(_sets, self._table)
        addresses = sorted({address for counts in sets.values() for address in counts})
        return {
            IPv4Address(address): Opened(*(sets[name].get(address, 0) for name in ("opened", "again", "questions")))
            for address in addresses
        }


@contextmanager
def counting(inside: NamespaceThread, users: range) -> Iterator[Counting]:
    """Count what these users' processes send in a namespace until the block ends."""
    table = f"lab_invoke_{users.start}"
    text = _TABLE.format(
        table=table,
        at_a_time=_AT_A_TIME,
        forgotten=_SYN_FORGOTTEN_S,
        sources=_SOURCES,
        users=f"{users.start}-{users.stop - 1}",
    )
    apply_text(inside, f"add table ip {table}\ndelete table ip {table}\n{text}")
    try:
        yield Counting(inside, table)
    finally:
        apply_text(inside, f"add table ip {table}\ndelete table ip {table}\n")


def _sets(table: str) -> dict[str, Mapping[str, int]]:
    """Set → address → packets."""
    words = (find("nft") or "nft", "-j", "list", "table", "ip", table)
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise OSError(0, done.stderr.strip() or f"nft ended with status {done.returncode}")
    listed = [each["set"] for each in json.loads(done.stdout)["nftables"] if "set" in each]
    return {each["name"]: dict(map(_packets, each.get("elem", ()))) for each in listed if each["type"] == "ipv4_addr"}


def _packets(element: Any) -> tuple[str, int]:
    return element["elem"]["val"], element["elem"]["counter"]["packets"]

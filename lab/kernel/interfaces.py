"""What the interfaces of a namespace have carried, by the kernel's own statistics; to be called inside it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["InterfaceCount", "interface_counts"]

_STATISTICS = Path("/proc/thread-self/net/dev")
_ETHERNET_BYTES = 14
_RECEIVED, _SENT = 0, 8
"""Columns of the first numbers of each direction: bytes, then packets (net/core/net-procfs.c)."""


class InterfaceCount(NamedTuple):
    """Packets, and bytes of them from the IP header on: the kernel counts the Ethernet header, too, here it is off."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int


def interface_counts() -> dict[str, InterfaceCount]:
    """Interface → what it has received and sent since it was made."""
    counts = {}
    for line in _STATISTICS.read_text(encoding="utf-8").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        columns = [int(number) for number in numbers.split()]
        bytes_in, packets_in = columns[_RECEIVED : _RECEIVED + 2]
        bytes_out, packets_out = columns[_SENT : _SENT + 2]
        counts[name.strip()] = InterfaceCount(
            packets_in,
            bytes_in - _ETHERNET_BYTES * packets_in,
            packets_out,
            bytes_out - _ETHERNET_BYTES * packets_out,
        )
    return counts

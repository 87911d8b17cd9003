"""The connections that the kernel tracks in a namespace: how many, and how to forget some; to be called inside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import struct
from typing import NamedTuple

from lab.kernel import nfnetlink
from lab.slots.counters import SLOT_MASK

__all__ = ["Drops", "drops", "forget", "marked", "tracked"]

_LIST = Path("/proc/thread-self/net/nf_conntrack")
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")

_NFNL_SUBSYS_CTNETLINK, _GET, _GET_STATS_CPU = 1, 1, 4
_MARK, _MARK_MASK = 8, 21  # CTA_MARK and CTA_MARK_MASK, linux/netfilter/nfnetlink_conntrack.h
_INSERT_FAILED, _DROP = 9, 10  # CTA_STATS_INSERT_FAILED and CTA_STATS_DROP, as above


class Drops(NamedTuple):
    """Packets that connection tracking itself has dropped in a namespace; `conntrack -S` shows them."""

    all: int
    ports_not_found: int
    """Those of them whose connection had, after translation, the tuple of another."""


def drops() -> Drops:
    """Since the namespace was made; the kernel has them by processor."""
    whole, not_found = 0, 0
    for message in nfnetlink.ask(_GET_STATS_CPU, b"", dump=True, subsystem=_NFNL_SUBSYS_CTNETLINK):
        fields = dict(nfnetlink.attributes(message))
        whole += int.from_bytes(fields[_DROP], "big")
        not_found += int.from_bytes(fields[_INSERT_FAILED], "big")
    return Drops(whole, not_found)


def tracked() -> int:
    """Entries that have not expired.

    The kernel's count still has those that have, until its collector comes round, which may take a minute
    (nf_conntrack_core.c, gc_worker); reading the list ends them. Kernels built without the list have the count.
    """
    if not _LIST.exists():
        return int(_COUNT.read_text())
    with _LIST.open("rb") as lines:
        return sum(1 for _ in lines)


def marked(bit: int) -> int:
    """Entries that have not expired and whose mark has this bit; the kernel picks them out (ctnetlink_filter_match)."""
    value = struct.pack("!I", bit)
    wanted = nfnetlink.attribute(_MARK, value) + nfnetlink.attribute(_MARK_MASK, value)
    return sum(1 for _ in nfnetlink.ask(_GET, wanted, dump=True, subsystem=_NFNL_SUBSYS_CTNETLINK))


def forget(marks: Iterable[int]) -> None:
    """Let conntrack forget the connections of the slot sets with these marks: their next packets are invalid."""
    wanted = tuple(marks)
    if wanted:
        from pyroute2 import NFCTSocket  # noqa: PLC0415  # only here: who counts does not wait for it

        with NFCTSocket() as conntrack:
            for mark in wanted:
                conntrack.flush(mark=mark, mark_mask=SLOT_MASK)

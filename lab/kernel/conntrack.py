"""The connections that the kernel tracks in a namespace: how many, and how to forget some; to be called inside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import struct

from lab.kernel import nfnetlink

__all__ = ["forget", "marked", "tracked"]

_SLOT_MASK = 0xFFFF
"""The part of a connection mark that names a slot set (`lab.plan.nodes.slots`)."""

_LIST = Path("/proc/thread-self/net/nf_conntrack")
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")

_NFNL_SUBSYS_CTNETLINK, _GET = 1, 1
_MARK, _MARK_MASK = 8, 21  # CTA_MARK and CTA_MARK_MASK, linux/netfilter/nfnetlink_conntrack.h


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
                conntrack.flush(mark=mark, mark_mask=_SLOT_MASK)

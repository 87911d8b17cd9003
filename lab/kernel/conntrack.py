"""How many connections the kernel tracks in a namespace; to be called inside it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["tracked"]

_LIST = Path("/proc/thread-self/net/nf_conntrack")
_COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")


def tracked() -> int:
    """Entries that have not expired.

    The kernel's count still has those that have, until its collector comes round, which may take a minute
    (nf_conntrack_core.c, gc_worker); reading the list ends them. Kernels built without the list have the count.
    """
    if not _LIST.exists():
        return int(_COUNT.read_text())
    with _LIST.open("rb") as lines:
        return sum(1 for _ in lines)

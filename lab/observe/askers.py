"""Connections to the name server over TCP, which its limit counts by their source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lab.kernel.netfilter import conntrack
from lab.kernel.netns import Namespaces
from lab.plan.objects import DropCounter

__all__ = ["most_of_one_source"]

_NOT_COUNTED = ("LAST_ACK", "TIME_WAIT", "CLOSE")
"""Closed, or about to be: the kernel counts none in the last two states (nf_conncount.c)."""


def most_of_one_source(namespaces: Namespaces, barriers: Iterable[DropCounter]) -> int:
    """How many the source with the most of them holds now, where the name server has a limit of them."""
    limits = [barrier for barrier in barriers if barrier.kind == "dns_tcp"]
    return max((namespaces[limit.namespace].run(_most) for limit in limits), default=0)


def _most() -> int:
    """Runs inside the name server's namespace, where no connection has a mark."""
    entries = (entry for entry in conntrack.without(0) if entry.state is not None and entry.state not in _NOT_COUNTED)
    return max(Counter(entry.source[0] for entry in entries).values(), default=0)

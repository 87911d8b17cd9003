"""Slots against conntrack entries: the lab's count of connections and the kernel's must come to the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces
from lab.slots.limiter import Limiter

__all__ = ["Tracking", "ports_not_found", "track"]


@dataclass(frozen=True, slots=True)
class Tracking:
    """What one NAT node holds, counted twice."""

    node: str
    slots: int
    conntrack: int

    @property
    def difference(self) -> int:
        """Conntrack entries without a slot, or slots without an entry if negative."""
        return self.conntrack - self.slots


def track(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[Tracking, ...]:
    """Both counts of each node; `limiters` are all of these nodes, node by node.

    ENIs that appear beside another are counted with it: conntrack counts by namespace.
    """
    found = []
    for (node, namespace), group in groupby(limiters, key=lambda each: (each.place, each.namespace)):
        slots, entries = namespaces[namespace].run(_count_here, tuple(group))
        found.append(Tracking(node, slots, entries))
    return tuple(found)


def ports_not_found(namespaces: Namespaces, limiters: Iterable[Limiter]) -> Counter[str]:
    """Kind of node → packets so far for which the kernel's port search found nothing in these limiters' nodes."""
    found: Counter[str] = Counter()
    for kind, namespace in {(each.kind, each.namespace) for each in limiters}:
        found[kind] += namespaces[namespace].run(conntrack.drops).ports_not_found
    return found


def _count_here(limiters: Iterable[Limiter]) -> tuple[int, int]:
    """Runs inside the node's namespace."""
    entries = conntrack.tracked()
    return sum(nftables.set_size(each.table, each.slots) for each in limiters), entries

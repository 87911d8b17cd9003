"""Slots against conntrack entries: the lab's count of connections and the kernel's must come to the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from lab.kernel.netfilter import conntrack
from lab.kernel.netns import Namespaces
from lab.observe.sampling import sample_slots
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
    """Both counts of each node; `limiters` are all of these nodes.

    ENIs that appear beside another are counted with it: conntrack counts by namespace.
    """
    wanted = tuple(limiters)
    sample = sample_slots(namespaces, wanted, entries=True)
    slots = Counter[str]()
    for reading in sample.readings(wanted):
        slots[reading.limiter.place] += reading.in_use
    return tuple(Tracking(name, slots[name], node.entries or 0) for name, node in sample.nodes.items())


def ports_not_found(namespaces: Namespaces, limiters: Iterable[Limiter]) -> Counter[str]:
    """Kind of node → packets so far for which the kernel's port search found nothing in these limiters' nodes."""
    packets = Counter[str]()
    for kind, namespace in {(limiter.kind, limiter.namespace) for limiter in limiters}:
        packets[kind] += namespaces[namespace].run(conntrack.drops).ports_not_found
    return packets

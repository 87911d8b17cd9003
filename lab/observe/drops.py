"""Packets that were dropped whatever the limits: without a route, or forbidden by a firewall's rule."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from lab.plan.objects import DropCounter

__all__ = ["DroppedPackets", "dropped_packets"]

DroppedPackets = Mapping[DropCounter, int]
"""Counter → packets that it has counted since it was made."""


def dropped_packets(namespaces: Namespaces, drops: tuple[DropCounter, ...]) -> DroppedPackets:
    """Read the counters, those of a table together; what `lab up` has taken away meanwhile is left out."""
    packets: dict[DropCounter, int] = {}
    for (namespace, table, family), group in groupby(drops, key=lambda drop: (drop.namespace, drop.table, drop.family)):
        counters = namespaces[namespace].run(nftables.counters, table, nftables.FAMILIES[family])
        packets |= {drop: counters[drop.counter].packets for drop in group if drop.counter in counters}
    return packets

"""What was dropped whatever the limits: packets without a route, or that a firewall's rule forbids."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from lab.plan.objects import Barrier

__all__ = ["Stopped", "stopped"]

Stopped = Mapping[Barrier, int]
"""Barrier → packets that it has dropped since it was made."""

_FAMILIES = {"ip": nftables.IP, "netdev": nftables.NETDEV}


def stopped(namespaces: Namespaces, barriers: tuple[Barrier, ...]) -> Stopped:
    """Read the barriers' counters, those of a table together; what `lab up` has taken away meanwhile is left out."""
    found: dict[Barrier, int] = {}
    for (namespace, table, family), group in groupby(
        barriers, key=lambda each: (each.namespace, each.table, each.family)
    ):
        counters = namespaces[namespace].run(nftables.counters, table, _FAMILIES[family])
        found |= {each: counters[each.counter].packets for each in group if each.counter in counters}
    return found

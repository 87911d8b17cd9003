"""Counters that a lab has no more, for its topology was changed while somebody looked."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from lab.kernel.netfilter.nftables import Counter
from lab.kernel.netns import Namespaces
from lab.observe.drops import dropped_packets
from lab.plan.objects import DropCounter

ROUTE = DropCounter("vpc", "no_route", "private-a", namespace="lab-t-vpc", table="vpc", counter="no_route_private_a")
ACL = DropCounter(
    "vpc", "network_acl", "strict", "egress", namespace="lab-t-vpc", table="vpc", counter="acl_strict_egress_requests"
)


class VpcRouter:
    """Its namespace, where only the network ACL is left."""

    def run(self, _: Callable[..., object], *__: object) -> dict[str, Counter]:
        """The counters of its table."""
        return {ACL.counter: Counter(packets=7, bytes=420)}


def test_a_counter_that_has_gone() -> None:
    """A missing route that is there now has no counter, and the others still tell."""
    namespaces = cast("Namespaces", {"lab-t-vpc": VpcRouter()})
    assert dropped_packets(namespaces, (ROUTE, ACL)) == {ACL: 7}

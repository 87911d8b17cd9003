"""The internet: a router that knows the Elastic IPs on one side, the remote servers on the other, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan.addressing import INTERNET_ROUTER
from lab.plan.layout import Layout
from lab.plan.objects import NodePlan, Route
from lab.schema.names import INTERNET

__all__ = ["plan"]


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The router; what it does not know goes nowhere, so no packet of a lab can mean a real address."""
    yield from parts.router(layout.internet)
    yield NodePlan(INTERNET, "internet", layout.internet, (str(INTERNET_ROUTER),))
    yield Route(layout.internet, parts.ANYWHERE, type="blackhole")
    for nat in layout.nat_gateways:
        yield parts.own_address(nat.internet.far, INTERNET_ROUTER)
        for elastic_ip in nat.elastic_ips:
            yield from parts.host_behind(nat.internet, elastic_ip.address)
    for server in layout.servers:
        yield parts.own_address(server.internet.far, INTERNET_ROUTER)
        yield from parts.host_behind(server.internet, server.server.address)

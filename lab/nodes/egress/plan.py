"""The service VPC's own way to the internet, which functions outside the customer's VPC take: no ENI, no NAT gateway.

AWS does not say how it is made, and no limit of connections is known at a lab's numbers. So it is a router without
translation: each execution environment appears under its own address.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan import addressing
from lab.plan.layout import EgressLayout, Layout
from lab.plan.objects import Neighbour, NodePlan, Route

__all__ = ["plan"]


def plan(layout: Layout) -> Iterator[parts.Part]:
    """One router, if there is a function outside the VPC."""
    for egress in layout.egress:
        yield from parts.router(egress.namespace)
        yield parts.veth(egress.service)
        yield parts.veth(egress.internet)
        yield from _service_side(layout, egress)
        yield from _internet_side(layout, egress)
        yield NodePlan(egress.node, "egress", egress.namespace, (str(egress.address),))


def _service_side(layout: Layout, egress: EgressLayout) -> Iterator[parts.Part]:
    inner = egress.service.near
    segment = addressing.segment(layout.topology.service_vpc.cidr)
    yield parts.own_address(inner, egress.service_address, segment.prefixlen)
    for pair in egress.pairs:
        fleet = layout.fleet(pair.function)
        yield Neighbour(inner.namespace, inner.interface, fleet.address, fleet.service.near.mac)
        yield Route(inner.namespace, pair.network, inner.interface, fleet.address)


def _internet_side(layout: Layout, egress: EgressLayout) -> Iterator[parts.Part]:
    far = egress.internet.far
    yield parts.own_address(egress.internet.near, egress.address)
    yield from parts.through(egress.internet, parts.ANYWHERE, addressing.INTERNET_ROUTER)
    yield parts.own_address(far, addressing.INTERNET_ROUTER)
    yield Neighbour(far.namespace, far.interface, egress.address, egress.internet.near.mac)
    for pair in egress.pairs:
        # Execution environments, and the fleet's own address, from which programs of `lab exec` connect.
        for network in (pair.network, parts.host(layout.fleet(pair.function).address)):
            yield Route(far.namespace, network, far.interface, egress.address)

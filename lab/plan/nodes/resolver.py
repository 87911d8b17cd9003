"""The service VPC's name server: reached without crossing an ENI, which is why DNS succeeds when connections do not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from lab.plan import addressing
from lab.plan.layout import Layout
from lab.plan.nodes import parts
from lab.plan.objects import Neighbour, NodePlan, Process, Route
from traffic.spec import ResolverSpec

__all__ = ["plan"]


def plan(layout: Layout, names: Mapping[str, IPv4Address]) -> Iterator[parts.Part]:
    """One resolver, its way back to every execution environment, its process, which knows these names."""
    resolver, port = layout.resolver, layout.resolver.service.near
    segment = addressing.segment(layout.topology.service_vpc.cidr)
    yield from parts.namespace(resolver.namespace)
    yield parts.veth(resolver.service)
    yield parts.own_address(port, resolver.address, segment.prefixlen)
    for fleet in layout.fleets:
        yield Neighbour(port.namespace, port.interface, fleet.address, fleet.service.near.mac)
        for pair in fleet.pairs:
            yield Route(port.namespace, pair.network, port.interface, fleet.address)
    yield parts.ring_owns_marked(resolver.namespace)
    yield Process(resolver.namespace, "resolver", _spec(layout, names).to_json())
    yield NodePlan(resolver.node, "resolver", resolver.namespace, (str(resolver.address),))


def _spec(layout: Layout, names: Mapping[str, IPv4Address]) -> ResolverSpec:
    return ResolverSpec(
        interface=layout.resolver.service.near.interface,
        address=layout.resolver.address,
        records={name: str(address) for name, address in names.items()},
        ttl_s=layout.topology.service_vpc.resolver.ttl_s,
    )

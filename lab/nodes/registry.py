"""The node kinds, in the order of the drawing: adding one is a package and a line here."""

from __future__ import annotations

from lab.nodes import (
    egress,
    fleet,
    gateway_endpoint,
    hyperplane_eni,
    interface_endpoint,
    internet,
    nat_gateway,
    peering,
    resolver,
    server,
    server_front,
    service_vpc,
    transit_gateway,
    vpc,
)
from lab.nodes.kind import NodeKind

__all__ = ["KINDS", "kind_of"]

KINDS: tuple[NodeKind, ...] = (
    service_vpc.KIND,
    fleet.KIND,
    resolver.KIND,
    egress.KIND,
    hyperplane_eni.KIND,
    vpc.KIND,
    transit_gateway.KIND,
    peering.KIND,
    nat_gateway.KIND,
    internet.KIND,
    server_front.KIND,
    server.KIND,
    interface_endpoint.KIND,
    gateway_endpoint.KIND,
)

_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_of(name: str) -> NodeKind:
    """The node kind of that name, as plans and results have it in `kind`."""
    return _BY_NAME[name]

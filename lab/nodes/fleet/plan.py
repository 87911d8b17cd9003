"""A function's fleet: thousands of execution environments behind one port of the service VPC.

Each (function, ENI) pair has two blocks of addresses. The first is not local to the fleet's kernel, so the kernel
answers nothing (no RST) and the packet engine's ring sees everything. The second is local, by one AnyIP route, for
real sockets. A rule per pair sends both through the pair's ENI; DNS stays in the service VPC if its name server does.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan import addressing
from lab.plan.layout import FleetLayout, Layout
from lab.plan.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    EniPath,
    FleetPlan,
    Neighbour,
    NodePlan,
    Route,
    Rule,
    Sysctl,
)

__all__ = ["plan"]

_WITHIN_SEGMENT = 50
_BY_PAIR = 100

_REAL_SOCKETS = {
    # The next burst may have this one's ports: a connection in TIME_WAIT makes room for a new one (ip-sysctl.rst).
    "net.ipv4.tcp_tw_reuse": "1",
    # Retransmissions of a SYN for a minute and more, longer than clients wait; the usual number, whatever this
    # machine's is.
    "net.ipv4.tcp_syn_retries": "6",
}


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all fleets."""
    for fleet in layout.fleets:
        yield from _fleet(layout, fleet)
        yield from _routes(layout, fleet)
        yield _fleet_plan(layout, fleet)


def _fleet(layout: Layout, fleet: FleetLayout) -> Iterator[parts.Part]:
    port = fleet.service.near
    segment = addressing.segment(layout.topology.service_vpc.cidr)
    yield from parts.namespace(fleet.namespace, name_server=layout.resolver.address)
    yield parts.veth(fleet.service)
    yield parts.own_address(port, fleet.address, segment.prefixlen)
    if layout.resolver.subnet is None:
        yield Neighbour(port.namespace, port.interface, layout.resolver.address, layout.resolver.link.near.mac)
    yield parts.ring_owns_marked(fleet.namespace)
    yield from (Sysctl(fleet.namespace, key, value) for key, value in _REAL_SOCKETS.items())
    yield NodePlan(fleet.node, "fleet", fleet.namespace, (str(fleet.address),), alias=fleet.function.name)


def _routes(layout: Layout, fleet: FleetLayout) -> Iterator[parts.Part]:
    port = fleet.service.near
    yield Rule(
        fleet.namespace,
        _WITHIN_SEGMENT,
        MAIN_TABLE,
        destination=addressing.segment(layout.topology.service_vpc.cidr),
    )
    for pair in fleet.pairs:
        gateway = layout.gateway(pair.gateway)
        yield Neighbour(port.namespace, port.interface, gateway.service_address, gateway.service.near.mac)
        yield Route(port.namespace, pair.sockets, "lo", table=LOCAL_TABLE, type="local")
        yield Route(port.namespace, parts.ANYWHERE, port.interface, gateway.service_address, table=pair.table)
        yield Rule(port.namespace, _BY_PAIR + pair.index, pair.table, source=pair.network)
    first = layout.gateway(fleet.pairs[0].gateway)
    yield Route(port.namespace, parts.ANYWHERE, port.interface, first.service_address)


def _fleet_plan(layout: Layout, fleet: FleetLayout) -> FleetPlan:
    return FleetPlan(
        source=fleet.function.name,
        namespace=fleet.namespace,
        interface=fleet.service.near.interface,
        mac=fleet.service.near.mac,
        resolver_address=layout.resolver.address,
        resolver_mac=layout.resolver.link.near.mac if layout.resolver.subnet is None else None,
        paths=tuple(
            EniPath(
                eni=pair.gateway,
                gateway_mac=layout.gateway(pair.gateway).service.near.mac,
                first_address=pair.rings.network_address,
                environments=pair.rings.num_addresses,
            )
            for pair in fleet.pairs
        ),
        reserved_concurrency=fleet.function.reserved_concurrency,
    )

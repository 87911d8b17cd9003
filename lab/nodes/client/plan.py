"""A client that is no function: a host in a subnet, plugged into its VPC's router.

No Hyperplane ENI is on its connections' way, and its own kernel gives them their ports: of `ip_local_port_range`, one
for each connection of an address to a server. The packet engine's connections have addresses of their own, which are
not local to the client's kernel, so it answers nothing (no RST); the engine gives out as many ports as that would.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan import addressing
from lab.plan.layout import ClientLayout, Layout
from lab.plan.objects import EniPath, FleetPlan, NodePlan, PortBlocks, Sysctl

__all__ = ["plan"]


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all clients."""
    for client in layout.clients:
        yield from _host(layout, client)
        yield _as_source(layout, client)


def _host(layout: Layout, at: ClientLayout) -> Iterator[parts.Part]:
    yield from parts.namespace(at.namespace, name_server=layout.resolver.address)
    yield parts.veth(at.vpc)
    yield from (parts.own_address(at.vpc.near, address) for address in at.addresses)
    yield from parts.through(at.vpc, parts.ANYWHERE, addressing.subnet_router(at.subnet.cidr))
    yield parts.ring_owns_marked(at.namespace)
    yield from (Sysctl(at.namespace, key, value) for key, value in parts.REAL_SOCKETS.items())
    ports = at.client.ports
    yield Sysctl(at.namespace, "net.ipv4.ip_local_port_range", f"{ports[0]} {ports[-1]}")
    addresses = tuple(str(address) for address in (*at.addresses, *at.rings))
    yield NodePlan(at.node, "client", at.namespace, addresses, alias=at.client.name)


def _as_source(layout: Layout, at: ClientLayout) -> FleetPlan:
    ports = at.client.ports
    return FleetPlan(
        source=at.client.name,
        namespace=at.namespace,
        interface=at.vpc.near.interface,
        mac=at.vpc.near.mac,
        resolver_address=layout.resolver.address,
        resolver_mac=None,
        paths=tuple(
            EniPath(at.node, at.vpc.far.mac, ring, 1, real=address)
            for address, ring in zip(at.addresses, at.rings, strict=True)
        ),
        blocks=PortBlocks(ports[0], len(ports), len(ports)),
        own_ports=True,
        descriptors=at.client.descriptor_limit,
    )

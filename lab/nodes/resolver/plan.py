"""The name server: reached without crossing an ENI, which is why DNS succeeds when connections do not.

With `in: vpc` it is one of the customer's own, in a subnet (as by DHCP options): questions then cross the ENI like any
other flow over UDP, and fail with the rest when it is full.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.nodes.diagnosis import counted
from lab.plan import addressing
from lab.plan.layout import Layout, ResolverLayout
from lab.plan.objects import DropCounter, Neighbour, NodePlan, Process, Route, Ruleset
from lab.slots import nft
from lab.topology import Subnet
from traffic.spec import ResolverSpec

__all__ = ["TABLE", "TCP_TABLE", "plan"]

TABLE, TCP_TABLE = "resolver", "resolver_tcp"
_SOURCES = 1_048_576
"""More network interfaces than a lab has execution environments."""
_FORGET_S = 2
"""A source that has asked nothing for a second may send a whole second's packets again."""


def plan(layout: Layout) -> Iterator[parts.Part]:
    """One resolver, its routes back to its clients, its limits, its process."""
    resolver = layout.resolver
    yield from parts.namespace(resolver.namespace, name_server=resolver.address)
    yield parts.veth(resolver.link)
    yield from _in_service_vpc(layout) if resolver.subnet is None else _in_subnet(resolver, resolver.subnet)
    yield parts.ring_owns_marked(resolver.namespace)
    if rate := layout.topology.service_vpc.resolver.packets_per_second:
        yield from _quota(resolver, rate)
    if most := layout.topology.service_vpc.resolver.tcp_connections:
        yield from _tcp_limit(resolver, most)
    yield Process(resolver.namespace, "resolver", _spec(layout).to_json())
    yield NodePlan(resolver.node, "resolver", resolver.namespace, (str(resolver.address),))


def _in_service_vpc(layout: Layout) -> Iterator[parts.Part]:
    resolver, port = layout.resolver, layout.resolver.link.near
    yield parts.own_address(port, resolver.address, addressing.segment(layout.topology.service_vpc.cidr).prefixlen)
    for fleet in layout.fleets:
        yield Neighbour(port.namespace, port.interface, fleet.address, fleet.service.near.mac)
        for pair in fleet.pairs:
            yield Route(port.namespace, pair.network, port.interface, fleet.address)
    for vpc in layout.vpcs:
        if vpc.service is not None:
            for client in layout.clients_in(vpc.vpc):
                for address in (*client.addresses, *client.rings):
                    yield Neighbour(port.namespace, port.interface, address, vpc.service.near.mac)
                    yield Route(port.namespace, parts.host(address), port.interface)


def _in_subnet(resolver: ResolverLayout, subnet: Subnet) -> Iterator[parts.Part]:
    yield parts.own_address(resolver.link.near, resolver.address)
    yield from parts.through(resolver.link, parts.ANYWHERE, addressing.subnet_router(subnet.cidr))


def _quota(resolver: ResolverLayout, rate: int) -> Iterator[parts.Part]:
    """So many packets per second from each interface; the rest is dropped before rings and sockets see it.

    An AF_PACKET ring bound to IPv4 is behind this hook and before all others (net/core/dev.c). An interface may send a
    second's packets at once: then its bucket is empty, and fills at the rate (nft_limit.c).
    """
    interface = resolver.link.near.interface
    yield Ruleset(
        resolver.namespace,
        nft.table(
            TABLE,
            nft.Counter("over_quota"),
            nft.Set("interfaces", "ipv4_addr", _SOURCES, timeout=f"{_FORGET_S}s"),
            nft.chain(
                "arriving",
                # Frames for other stations come as well, as long as a bridge does not know their port.
                f"ip daddr != {resolver.address} accept",
                f"update @interfaces {{ ip saddr limit rate over {rate}/second burst {rate} packets }} "
                "counter name over_quota drop",
                hook=f'type filter hook ingress device "{interface}" priority filter; policy accept;',
            ),
            family="netdev",
        ),
    )
    quota = f"{rate:,} packets/s per interface"
    yield DropCounter(
        resolver.node,
        "dns_quota",
        quota,
        namespace=resolver.namespace,
        table=TABLE,
        counter="over_quota",
        family="netdev",
    )


def _tcp_limit(resolver: ResolverLayout, most: int) -> Iterator[parts.Part]:
    """A limit of connections at a time from each interface; further SYNs are dropped.

    The kernel counts tracked connections, except those in TIME_WAIT or CLOSE (nf_conncount.c); a SYN that is
    dropped here is not tracked. Datagrams are not tracked.
    """
    yield Ruleset(
        resolver.namespace,
        nft.table(
            TCP_TABLE,
            nft.Counter("over_limit"),
            nft.Set("interfaces", "ipv4_addr", _SOURCES),
            nft.chain(
                "untracked",
                "meta l4proto udp notrack",
                hook="type filter hook prerouting priority raw; policy accept;",
            ),
            nft.chain(
                "untracked_answers",
                "meta l4proto udp notrack",
                hook="type filter hook output priority raw; policy accept;",
            ),
            nft.chain(
                "asking",
                f"tcp dport 53 ct state new add @interfaces {{ ip saddr ct count over {most} }} "
                "counter name over_limit drop",
                hook="type filter hook input priority filter; policy accept;",
            ),
        ),
    )
    name = f"{counted(most, 'TCP connection')} per interface"
    yield DropCounter(
        resolver.node, "dns_tcp", name, namespace=resolver.namespace, table=TCP_TABLE, counter="over_limit"
    )


def _spec(layout: Layout) -> ResolverSpec:
    return ResolverSpec(
        interface=layout.resolver.link.near.interface,
        address=layout.resolver.address,
        records={server.hostname: tuple(map(str, layout.addresses_of(server))) for server in layout.topology.servers},
        ttl_s=layout.topology.service_vpc.resolver.ttl_s,
        truncate=layout.topology.service_vpc.resolver.truncate,
    )

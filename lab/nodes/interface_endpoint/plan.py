"""An interface endpoint (AWS PrivateLink): a private address in a subnet that stands for a server outside the VPC.

The resolver answers the server's name with the endpoint's addresses (private DNS), one for each network interface; each
of those is a node, which translates the destination. The source stays the ENI's private address, where AWS shows the
service an address of its load balancer: nothing counts by it. Only where several ways lead from the VPC to one server,
each shows it another block of addresses, and so gets its answers back. The functions' ENIs are in this path as in any
other ("Lambda accesses resources in your VPC using a Hyperplane ENI", AWS Lambda Developer Guide).

The load balancer's own figure, "55,000 simultaneous connections … to each unique target" (Elastic Load Balancing user
guide, "Network Load Balancers"), is a knob. Each address of the server is a target. A hash of the client's end picks
one ("a flow hash algorithm", same guide), the same for every SYN of a connection; one set counts for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from lab.nodes import parts
from lab.nodes.interface_endpoint.model import EndpointInterface
from lab.plan import addressing
from lab.plan.addressing import INTERNET_ROUTER, subnet_router
from lab.plan.layout import ExitLayout, Layout
from lab.plan.objects import NatNode, NodePlan, Route, Rule, Ruleset
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.topology import Server

__all__ = ["TABLE", "plan"]

TABLE = "interface_endpoint"
_UNLIMITED = 1 << 20
"""A set's size where there is no limit: more connections than a lab can hold."""
_PROTOCOLS: tuple[slots.Protocol, ...] = ("tcp", "udp")
_FIRST_TABLE = 2000
_BY_SERVER = 200

_Endpoint = ExitLayout[EndpointInterface]


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all interface endpoints."""
    for endpoint in layout.exits_of(EndpointInterface):
        server = next(known for known in layout.topology.servers if known.name == endpoint.settings.endpoint.server)
        yield from _ports(layout, endpoint)
        yield from _way_back(layout, endpoint, server)
        yield from _translation(layout, endpoint, server)
        yield NodePlan(
            endpoint.node,
            EndpointInterface.KIND,
            endpoint.namespace,
            (str(endpoint.address),),
            alias=endpoint.settings.name,
        )
        yield NatNode(
            endpoint.node,
            EndpointInterface.KIND,
            endpoint.namespace,
            TABLE,
            endpoint.vpc.near.interface,
            endpoint.internet.near.interface,
            endpoint.settings.endpoint.idle_timeout_s,
        )


def _ports(layout: Layout, endpoint: _Endpoint) -> Iterator[parts.Part]:
    yield from parts.router(endpoint.namespace)
    yield parts.veth(endpoint.vpc)
    yield parts.veth(endpoint.internet)
    yield parts.own_address(endpoint.vpc.near, endpoint.address)
    yield from parts.through(
        endpoint.vpc, layout.topology.vpc_of(endpoint.subnet.name).cidr, subnet_router(endpoint.subnet.cidr)
    )
    yield from parts.through(endpoint.internet, parts.ANYWHERE, INTERNET_ROUTER)


def _way_back(layout: Layout, endpoint: _Endpoint, server: Server) -> Iterator[parts.Part]:
    """From the server to private addresses: through its endpoint, at whose side the VPC begins."""
    at, index = endpoint.internet.far, layout.server_index(server)
    yield parts.own_address(at, INTERNET_ROUTER)
    yield from parts.host_behind(endpoint.internet, endpoint.address)
    if clients := _seen_as(layout, endpoint, server):
        yield Route(at.namespace, clients, at.interface, endpoint.address)
        return
    yield Route(
        at.namespace,
        layout.topology.vpc_of(endpoint.subnet.name).cidr,
        at.interface,
        endpoint.address,
        table=_FIRST_TABLE + index,
    )
    yield Rule(
        at.namespace,
        _BY_SERVER + index,
        _FIRST_TABLE + index,
        input_interface=layout.server(server).uplink.far.interface,
        destination=layout.topology.vpc_of(endpoint.subnet.name).cidr,
    )


def _seen_as(layout: Layout, endpoint: _Endpoint, server: Server) -> IPv4Network | None:
    """The block of addresses that stands for the VPC's at the server; None where the VPC's own do."""
    vpc = layout.topology.vpc_of(endpoint.subnet.name)
    interfaces = [exit_ for exit_ in vpc.exits if isinstance(exit_, EndpointInterface)]
    if sum(exit_.endpoint.server == server.name for exit_ in interfaces) == 1 and server.service is None:
        return None
    return addressing.behind_endpoint(layout.endpoint_index(endpoint.node), vpc.cidr.prefixlen)


def _translation(layout: Layout, endpoint: _Endpoint, server: Server) -> Iterator[parts.Part]:
    settings = endpoint.settings.endpoint
    sets = tuple(
        slots.SlotSet(
            name=f"{slots.identifier(server.name)}_{protocol}",
            key=slots.SOURCE_ONLY,
            protocols=(protocol,),
            mark=mark,
            size=(settings.connections_per_target or _UNLIMITED) * len(server.addresses),
            idle_s=settings.idle_timeout_s,
            half_open_s=settings.half_open_timeout_s,
            port_hold_s=settings.port_hold_s,
        )
        for mark, protocol in enumerate(_PROTOCOLS, 1)
    )
    yield from parts.conntrack_sysctls(endpoint.namespace, sets[0])
    yield Ruleset(endpoint.namespace, _ruleset(layout, endpoint, server, sets))
    if settings.connections_per_target is not None:
        for slot_set in sets:
            yield slots.limiter(
                slot_set,
                node=endpoint.node,
                kind=settings.KIND,
                namespace=endpoint.namespace,
                table=TABLE,
                destination=server.name,
            )


def _ruleset(layout: Layout, endpoint: _Endpoint, server: Server, sets: tuple[slots.SlotSet, ...]) -> nft.Table:
    inner = endpoint.vpc.near.interface
    admitted = ", ".join(f"{slot_set.protocols[0]} : goto admit_{slot_set.name}" for slot_set in sets)
    return nft.table(
        TABLE,
        *slots.definitions(sets),
        *(chain for slot_set in sets for chain in slots.track_chains(slot_set)),
        *(slots.refusal_chain(slot_set.name) for slot_set in sets),
        *(nft.chain(f"admit_{slot_set.name}", *slot_set.admit(), f"goto refuse_{slot_set.name}") for slot_set in sets),
        nft.chain("admit", f"meta l4proto vmap {{ {admitted} }}"),
        *slots.forward_chains(sets, inner),
        nft.chain(
            "translate",
            f'iifname "{inner}" ip daddr {endpoint.address} meta l4proto {{ tcp, udp }} th dport {server.port} '
            f"dnat to {_target(server)}",
            hook="type nat hook prerouting priority dstnat; policy accept;",
        ),
        *_sources(layout, endpoint, server),
    )


def _sources(layout: Layout, endpoint: _Endpoint, server: Server) -> Iterator[nft.Part]:
    """Address for address, so that ports stay as they are and none can run out."""
    if clients := _seen_as(layout, endpoint, server):
        vpc = layout.topology.vpc_of(endpoint.subnet.name)
        yield nft.chain(
            "translate_sources",
            f'oifname "{endpoint.internet.near.interface}" snat ip prefix to ip saddr map {{ {vpc.cidr} : {clients} }}',
            hook="type nat hook postrouting priority srcnat; policy accept;",
        )


def _target(server: Server) -> str:
    if len(server.addresses) == 1:
        return str(server.addresses[0])
    targets = ", ".join(f"{number} : {address}" for number, address in enumerate(server.addresses))
    return f"jhash ip saddr . th sport mod {len(server.addresses)} seed 0x1ab map {{ {targets} }}"

"""A NAT gateway: source NAT to its Elastic IPs, each with so many connections per unique destination.

"Each IPv4 address can support up to 55,000 simultaneous connections to each unique destination … a unique
combination of destination IP address, the destination port, and protocol" (Amazon VPC user guide, "NAT gateways").
So there is one slot set per (Elastic IP, address and port of a server, protocol). A new connection starts at the
Elastic IP that the policy picks; when that one's set is full it spills over to the next. When all are full the SYN is
dropped, and the counters say what CloudWatch calls ErrorPortAllocation. Ports are 1024-65535 (same source): 55,000 are
85 % of them, so the kernel's search for a free one does not run dry (nf_nat_core.c gives up after some 248 tries).

With `ports_per_client` there is one slot set per (client, server, protocol) instead, a client being a private address:
its ports are set apart for it, from one Elastic IP, so that all clients of an Elastic IP together cannot have too many.
Packets of other addresses are dropped.

Destinations that the topology does not name share one slow path per Elastic IP, `ct count`, which walks a list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.nodes import firewalls, parts
from lab.plan.addressing import INTERNET_ROUTER, subnet_router
from lab.plan.layout import Destination, ElasticIp, Layout, NatClient, NatLayout
from lab.plan.objects import NatNode, NodePlan, Ruleset
from lab.schema.limits import NAT_EIPS
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.slots.counters import ADMITTED, OTHER_PACKETS, WITHOUT_SLOT
from lab.topology import NatGateway

__all__ = ["TABLE", "plan"]

TABLE = "nat_gateway"
_PORTS = "1024-65535"
_PROTOCOLS: tuple[slots.Protocol, ...] = ("tcp", "udp")
_FIRST_MARK = 1
"""Marks go by destination, protocol and Elastic IP, so that they stay when an Elastic IP comes or goes."""
_FIRST_FALLBACK_MARK = WITHOUT_SLOT
"""Marks from here on belong to destinations that the topology does not name."""
_FALLBACK_DESTINATIONS = 65_535


@dataclass(frozen=True, slots=True)
class _Pool:
    """Ports to one destination: those of an Elastic IP, or a client's share of them."""

    slot_set: slots.SlotSet
    eip: ElasticIp
    client: NatClient | None = None


@dataclass(frozen=True, slots=True)
class _Destination:
    """A unique destination and its pools of ports, one per Elastic IP or client."""

    at: Destination
    protocol: slots.Protocol
    pools: tuple[_Pool, ...]

    @property
    def sets(self) -> tuple[slots.SlotSet, ...]:
        return tuple(pool.slot_set for pool in self.pools)

    @property
    def label(self) -> str:
        return f"{slots.identifier(self.at.name)}_{self.protocol}"

    @property
    def match(self) -> str:
        return f"{self.at.address} . {self.at.server.port} . {self.protocol}"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all NAT gateways."""
    for nat in layout.nat_gateways:
        yield from _ports(layout, nat)
        yield from _limiters(layout, nat)
        yield from _border(layout, nat)


def _ports(layout: Layout, nat: NatLayout) -> Iterator[parts.Part]:
    inner = nat.vpc.near
    yield from parts.router(nat.namespace)
    yield parts.veth(nat.vpc)
    yield parts.veth(nat.internet)
    yield parts.own_address(inner, nat.address)
    vpc = layout.topology.vpc_of(nat.subnet.name)
    for cidr in (vpc.cidr, *(other.cidr for other, _ in layout.joined(vpc))):
        yield from parts.through(nat.vpc, cidr, subnet_router(nat.subnet.cidr))
    yield from parts.through(nat.internet, parts.ANYWHERE, INTERNET_ROUTER)
    # An Elastic IP has no route of its own: replies are translated back before they are routed, and what is left is no
    # answer, and is dropped and counted on its way back out. A blackhole would drop it uncounted.
    addresses = (str(nat.address), *(str(eip.address) for eip in nat.elastic_ips))
    yield NodePlan(nat.node, "nat_gateway", nat.namespace, addresses, alias=nat.gateway.name)
    outer, idle_timeout_s = nat.internet.near.interface, nat.gateway.idle_timeout_s
    yield NatNode(nat.node, "nat_gateway", nat.namespace, TABLE, inner.interface, outer, idle_timeout_s)


def _limiters(layout: Layout, nat: NatLayout) -> Iterator[parts.Part]:
    destinations, gateway = tuple(_destinations(layout, nat)), nat.gateway
    yield from parts.conntrack_timeouts(
        nat.namespace, gateway.idle_timeout_s, gateway.half_open_timeout_s, gateway.port_hold_s
    )
    yield Ruleset(nat.namespace, _ruleset(nat, destinations, tuple(_astray(layout, nat))))
    for destination in destinations:
        for pool in destination.pools:
            yield slots.limiter(
                pool.slot_set,
                node=nat.node,
                kind="nat_gateway",
                namespace=nat.namespace,
                table=TABLE,
                eip=str(pool.eip.address),
                client=pool.client.name if pool.client else None,
                sources=tuple(map(str, pool.client.addresses)) if pool.client else (),
                destination=destination.at.server.name,
                address=destination.at.label,
                spills_over=nat.gateway.spill_over and not pool.client,
            )


def _border(layout: Layout, nat: NatLayout) -> Iterator[parts.Part]:
    """The network ACL of its subnet between it and the internet: what that drops has taken a port before."""
    at, table = nat.internet.far, f"border_{slots.identifier(nat.node)}"
    vpc = layout.topology.vpc_of(nat.subnet.name)
    gates = tuple(
        firewalls.network_acls_at_the_internet(
            vpc, nat.node, nat.subnet.name, at.interface, namespace=at.namespace, table=table
        )
    )
    if gates:
        hook = "type filter hook forward priority filter; policy accept;"
        jumps = nft.chain("network_acls", *(rule for gate in gates for rule in gate.rules), hook=hook)
        yield Ruleset(at.namespace, nft.table(table, *(part for gate in gates for part in gate.definitions), jumps))
    yield from (gate.counter for gate in gates)


def _destinations(layout: Layout, nat: NatLayout) -> Iterator[_Destination]:
    for destination in layout.destinations():
        if destination.server.subnet is not None:
            continue
        for number, protocol in enumerate(_PROTOCOLS):
            index = destination.index * len(_PROTOCOLS) + number
            pools = _of_clients(layout, nat, destination, protocol) or _of_eips(nat, destination, protocol, index)
            yield _Destination(destination, protocol, pools)


def _of_eips(nat: NatLayout, to: Destination, protocol: slots.Protocol, index: int) -> tuple[_Pool, ...]:
    """Every client may have any port of an Elastic IP."""
    gateway, first_mark = nat.gateway, _FIRST_MARK + index * NAT_EIPS
    return tuple(
        _Pool(
            _slot_set(
                gateway,
                f"eip{eip.number}_{slots.identifier(to.name)}_{protocol}",
                protocol,
                mark=first_mark + eip.number - 1,
                size=gateway.connections_per_destination,
                ends=eip.drains_until,
            ),
            eip,
        )
        for eip in nat.elastic_ips
    )


def _of_clients(layout: Layout, nat: NatLayout, to: Destination, protocol: slots.Protocol) -> tuple[_Pool, ...]:
    """Each client has ports of its own; nothing where all ports are for all of them."""
    gateway, size = nat.gateway, nat.gateway.ports_of_each(len(nat.clients))
    if size is None:
        return ()
    return tuple(
        _Pool(
            _slot_set(
                gateway,
                f"client{client.number}_{slots.identifier(to.name)}_{protocol}",
                protocol,
                mark=_FIRST_MARK + layout.port_share(gateway, f"{to.name} {protocol} {client.name}"),
                size=size,
            ),
            client.eip,
            client,
        )
        for client in nat.clients
    )


def _slot_set(
    gateway: NatGateway, name: str, protocol: slots.Protocol, *, mark: int, size: int, ends: int | None = None
) -> slots.SlotSet:
    return slots.SlotSet(
        name=name,
        key=slots.SOURCE_ONLY,
        protocols=(protocol,),
        mark=mark,
        size=size,
        idle_s=gateway.idle_timeout_s,
        half_open_s=gateway.half_open_timeout_s,
        port_hold_s=gateway.port_hold_s,
        ends=ends,
    )


def _astray(layout: Layout, nat: NatLayout) -> Iterator[str]:
    """What a default route has brought here for a server in another VPC ends on the internet, whatever is counted here.

    It bears a mark of its Elastic IP alone: `ct count` would walk a list of half-open connections for each SYN.
    """
    home = layout.topology.vpc_of(nat.subnet.name)
    if ranges := [str(vpc.cidr) for vpc in layout.vpcs_of_servers if vpc != home]:
        eip = next(eip for eip in nat.elastic_ips if eip.drains_until is None)
        match, mark = f"ip daddr {{ {', '.join(ranges)} }}", f"{_FIRST_FALLBACK_MARK + eip.number:#x}"
        yield f"{match} meta l4proto tcp counter name {ADMITTED} ct mark set {mark} goto admitted"
        yield f"{match} ct mark set {mark} accept"


def _ruleset(nat: NatLayout, destinations: tuple[_Destination, ...], astray: tuple[str, ...]) -> nft.Table:
    sets = tuple(slot_set for destination in destinations for slot_set in destination.sets)
    choice = _by_client if nat.clients else _choice
    chains = (chain for destination in destinations for chain in choice(nat.gateway, destination))
    targets = ", ".join(f"{destination.match} : goto choose_{destination.label}" for destination in destinations)
    named = [f"ip daddr . th dport . meta l4proto vmap {{ {targets} }}"] if targets else []
    return nft.table(
        TABLE,
        *slots.definitions(sets),
        *(chain for slot_set in sets for chain in slots.track_chains(slot_set)),
        *(slots.refusal_chain(slot_set.name) for slot_set in sets),
        *chains,
        *_fallback(nat),
        nft.chain("admit", *astray, *named, "goto choose_undeclared"),
        *_ended(nat),
        *slots.forward_chains(sets, nat.vpc.near.interface, without_slots=_fallback_marks(nat)),
        nft.chain(
            "translate",
            *_translations(nat, destinations),
            hook="type nat hook postrouting priority srcnat; policy accept;",
        ),
    )


def _choice(gateway: NatGateway, destination: _Destination) -> Iterator[nft.Part]:
    """Where a new connection starts, and from there on which Elastic IPs it may have; one that drains takes none."""
    sets = [slot_set for slot_set in destination.sets if slot_set.ends is None]
    for start, first in enumerate(sets):
        order = (*sets[start:], *sets[:start]) if gateway.spill_over else (first,)
        yield nft.chain(
            f"start_{first.name}",
            *(rule for slot_set in order for rule in slot_set.admit()),
            f"goto refuse_{first.name}",
        )
    targets = [f"start_{slot_set.name}" for slot_set in sets]
    yield nft.chain(f"choose_{destination.label}", _pick(gateway, targets))


def _by_client(_: NatGateway, destination: _Destination) -> Iterator[nft.Part]:
    """A new connection has a port of its client's, or none."""
    for slot_set in destination.sets:
        yield nft.chain(f"start_{slot_set.name}", *slot_set.admit(), f"goto refuse_{slot_set.name}")
    targets = [(pool.client, f"start_{pool.slot_set.name}") for pool in destination.pools]
    yield nft.chain(f"choose_{destination.label}", *_each_client(targets))


def _each_client(targets: Iterable[tuple[NatClient | None, str]]) -> Iterator[str]:
    """Where a packet of each client goes on; an address that is no client's has no ports."""
    of_clients = [(client, target) for client, target in targets if client]
    verdicts = (f"{address} : goto {target}" for client, target in of_clients for address in client.addresses)
    yield f"ip saddr vmap {{ {', '.join(verdicts)} }}"
    yield f"counter name {OTHER_PACKETS} drop"


def _ended(nat: NatLayout) -> Iterator[nft.Part]:
    """The end of an Elastic IP that clients had, and that drains: their slots are in sets of their own."""
    draining = [eip for eip in nat.elastic_ips if eip.drains_until is not None]
    if nat.clients and draining:
        rules = (
            f"meta time >= {eip.drains_until} ct reply ip daddr {eip.address} counter name {OTHER_PACKETS} drop"
            for eip in draining
        )
        yield nft.chain("ended", *rules, hook="type filter hook forward priority filter - 1; policy accept;")


def _pick(gateway: NatGateway, targets: list[str]) -> str:
    if len(targets) == 1:
        return f"goto {targets[0]}"
    picker = {
        "round_robin": f"numgen inc mod {len(targets)}",
        "hash": f"jhash {slots.WHOLE_TUPLE.original} mod {len(targets)} seed 0x1ab",
    }[gateway.eip_selection]
    verdicts = ", ".join(f"{index} : goto {target}" for index, target in enumerate(targets))
    return f"{picker} vmap {{ {verdicts} }}"


def _fallback(nat: NatLayout) -> Iterator[nft.Part]:
    """Undeclared destinations: `ct count` per (Elastic IP, destination); it counts TCP and UDP in one list each."""
    limit, key = nat.gateway.connections_per_destination, "ip daddr . th dport . meta l4proto"
    if nat.clients:
        limit, key = nat.gateway.ports_of_each(len(nat.clients)) or limit, f"ip saddr . {key}"
    for protocol in _PROTOCOLS:
        yield from slots.refusal_counters(f"undeclared_{protocol}")
        yield slots.refusal_chain(f"undeclared_{protocol}")
    refusals = ", ".join(f"{protocol} : goto refuse_undeclared_{protocol}" for protocol in _PROTOCOLS)
    yield nft.chain("refuse_undeclared", f"meta l4proto vmap {{ {refusals} }}")
    yield from slots.track_chains_without_slots("undeclared")
    indices = []
    for elastic_ip in nat.elastic_ips:
        index = elastic_ip.number
        if elastic_ip.drains_until is not None:
            ended = f"meta time >= {elastic_ip.drains_until} counter name {OTHER_PACKETS} drop"
            yield nft.chain(f"eip{index}_undeclared_track", ended, "goto undeclared_track")
            continue
        indices.append(index)
        types = f"{'ipv4_addr . ' if nat.clients else ''}ipv4_addr . inet_service . inet_proto"
        yield nft.Set(f"eip{index}_undeclared", types, _FALLBACK_DESTINATIONS)
        yield nft.chain(
            f"start_eip{index}_undeclared",
            f"add @eip{index}_undeclared {{ {key} ct count over {limit} }} goto refuse_undeclared",
            f"ct mark set {_FIRST_FALLBACK_MARK + index:#x}",
            f"meta l4proto tcp counter name {ADMITTED} goto admitted",
            "accept",
        )
    if nat.clients:
        by_client = [(client, f"start_eip{client.eip.number}_undeclared") for client in nat.clients]
        yield nft.chain("choose_undeclared", *_each_client(by_client))
        return
    targets = [f"start_eip{index}_undeclared" for index in indices]
    yield nft.chain("choose_undeclared", _pick(nat.gateway, targets))


def _fallback_marks(nat: NatLayout) -> Iterator[tuple[int, str]]:
    """Mark → the name of the chains that track it."""
    for eip in nat.elastic_ips:
        name = "undeclared" if eip.drains_until is None else f"eip{eip.number}_undeclared"
        yield _FIRST_FALLBACK_MARK + eip.number, name


def _translations(nat: NatLayout, destinations: tuple[_Destination, ...]) -> Iterator[str]:
    for elastic_ip in nat.elastic_ips:
        pools = (pool for destination in destinations for pool in destination.pools if pool.eip == elastic_ip)
        marks = [pool.slot_set.mark for pool in pools]
        marks.append(_FIRST_FALLBACK_MARK + elastic_ip.number)
        listed = ", ".join(f"{mark:#x}" for mark in marks)
        yield f"meta l4proto {{ tcp, udp }} ct mark {{ {listed} }} snat to {elastic_ip.address}:{_PORTS}"

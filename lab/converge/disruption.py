"""What a change of a lab that is up would break: pure, from two plans and what the kernel holds.

Additions break nothing. What is removed or changed breaks the connections whose way it is on: of its node, its link's
far end, its next hop, the addresses that it names; where several of these are known, the fewest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import NamedTuple

from lab.converge.diff import Difference, elastic_ips
from lab.nodes.diagnosis import connections
from lab.nodes.registry import kind_of
from lab.observe.readings import Reading
from lab.paths.leg import DeadEnd
from lab.paths.path import Path
from lab.paths.routes import paths
from lab.plan.describe import describe_object
from lab.plan.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    BridgePort,
    Certificate,
    ConntrackMax,
    EniPath,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    NodePlan,
    Plan,
    Process,
    Route,
    Rule,
    Ruleset,
    Sysctl,
    VethPair,
)
from lab.schema.firewall import Transport
from lab.slots.limiter import Limiter
from lab.slots.nft import sets_lost
from lab.topology import Topology

__all__ = ["Breakage", "Held", "breakages", "cut_off", "newly_limited", "sets_to_rebuild"]

Sources = Callable[[], Sequence[IPv4Address]]
"""Tells the source address of each connection that an ENI holds, as often as it has connections."""

_ANYWHERE = IPv4Network("0.0.0.0/0")
_TRANSPORTS: tuple[Transport, ...] = ("tcp", "udp")
_PROTOCOLS = ("any", *_TRANSPORTS)
"""What a limiter may count."""


class Breakage(NamedTuple):
    """What would break connections that are held now."""

    node: str
    what: str
    connections: int

    def __str__(self) -> str:
        return f"{self.node}: {self.what}: {connections(self.connections)} held"


@dataclass(frozen=True, slots=True)
class Held:
    """Connections that a lab holds now: how many slots of each limiter are taken, from where and to where."""

    plan: Plan
    readings: tuple[Reading, ...]
    """Readings of the plan's limiters, and of new limiters whose sets exist already."""
    sources: Sources
    now_s: float
    destinations: Sources = tuple
    """Tells the destination of each connection that an ENI holds, where the ENI's limit is for all together."""

    def by(self, limiter: Limiter) -> int:
        """Connections that hold slots of a limiter; an Elastic IP that has ended its draining passes no packet."""
        if limiter.eip is not None:
            gateway, number = elastic_ips(self.plan).get(IPv4Address(limiter.eip), ("", 0))
            ends = self.plan.standing.draining.get(gateway, {}).get(number)
            if ends is not None and ends <= self.now_s:
                return 0
        return sum(reading.in_use for reading in self.readings if reading.limiter == limiter)

    def by_all(self, chosen: Callable[[Limiter], bool]) -> int:
        """Connections that hold slots of these limiters."""
        return sum(self.by(limiter) for limiter in self.plan.limiters if chosen(limiter))

    def through(self, node: NodePlan) -> int:
        """Connections on whose way a node is."""
        if node.namespace in self._resolvers():
            return 0
        if fleets := [fleet for fleet in self.plan.fleets if fleet.namespace == node.namespace]:
            enis = {path.eni for fleet in fleets for path in fleet.paths}
            return self.by_all(lambda limiter: limiter.node in enis)
        if kind_of(node.kind).answers:
            return self._to_server(node.alias)
        if any(limiter.node == node.name for limiter in self.plan.limiters):
            return self.by_all(lambda limiter: limiter.node == node.name)
        # A node that limits nothing forwards what the limiting nodes beside it hold; far from those, it may be all.
        beside = self._linked_to(node.namespace)
        nearest = [limiter for limiter in self.plan.limiters if limiter.namespace in beside]
        held: dict[str, int] = {}
        for limiter in nearest or self.plan.limiters:
            held[limiter.kind] = held.get(limiter.kind, 0) + self.by(limiter)
        return max(held.values(), default=0)

    def _linked_to(self, namespace: str) -> frozenset[str]:
        """Namespaces that a veth pair joins to this one."""
        pairs = (item for item in self.plan.objects if isinstance(item, VethPair))
        ends = ((pair.a.namespace, pair.b.namespace) for pair in pairs)
        return frozenset(far for pair in ends for near, far in (pair, pair[::-1]) if near == namespace)

    def _resolvers(self) -> frozenset[str]:
        """Namespaces of name servers, on the way of no connection that is counted."""
        processes = (item for item in self.plan.objects if isinstance(item, Process))
        return frozenset(process.namespace for process in processes if process.verb == "resolver")

    def along(self, gateway: str, server: str, transport: Transport) -> int:
        """Connections over one protocol through an ENI to a server: the fewer of the ENI's and of all to the server.

        Those of an endpoint that counts none are taken for TCP.
        """
        kinds = ("any", transport)
        through = self.by_all(
            lambda limiter: (
                limiter.place == gateway and limiter.destination in (None, server) and limiter.protocol in kinds
            )
        )
        return min(through, self._to_server(server, kinds))

    def _to_server(self, server: str | None, kinds: Collection[str] = _PROTOCOLS) -> int:
        """Connections to a server: at the server, where they leave the VPC, or where neither counts, in the ENIs."""
        mine = [
            limiter for limiter in self.plan.limiters if limiter.destination == server and limiter.protocol in kinds
        ]
        inner = sum(self.by(limiter) for limiter in mine if kind_of(limiter.kind).sees_environments)
        there = sum(self.by(limiter) for limiter in mine if kind_of(limiter.kind).answers)
        outer = sum(self.by(limiter) for limiter in mine) - inner - there
        uncounted = self._uncounted(server) if "tcp" in kinds else ()
        return max(inner, there, outer + sum(map(self.destinations().count, uncounted)))

    def _uncounted(self, server: str | None) -> Iterator[IPv4Address]:
        """The address of a server's interface endpoint, if that has no limit, and so no limiter."""
        uncounting = {nat_node.node for nat_node in self.plan.nat_nodes} - {
            limiter.node for limiter in self.plan.limiters
        }
        endpoints = {address for node in self.plan.nodes if node.name in uncounting for address in node.addresses}
        yield from (
            address
            for known in self.plan.servers
            for address in known.addresses
            if known.name == server and str(address) in endpoints
        )

    def on_the_way(self, item: KernelObject) -> int:
        """Connections on whose way an object is: the fewest of what it says about them."""
        return min((*self._counts(item), *map(self._through_namespace, self.places_of(item))), default=0)

    def places_of(self, item: KernelObject) -> frozenset[str]:
        """The namespaces of the nodes that an object names: its own, its link's far end, owners of its addresses."""
        return frozenset(self._places(item))

    def _counts(self, item: KernelObject) -> Iterator[int]:
        """How many connections the addresses that an object names have, where that is less than a node's."""
        for network in _networks(item):
            if self._paths_in(network):
                yield self._from(network)
            elif any(str(network) in node.addresses for node in self.plan.nodes):
                yield self._of_enis_in(network)
            if network.prefixlen == network.max_prefixlen:
                eip = str(network.network_address)
                if any(limiter.eip == eip for limiter in self.plan.limiters):
                    yield sum(self.by(limiter) for limiter in self.plan.limiters if limiter.eip == eip)
        if isinstance(item, Route):
            yield from self._in_table(item)

    def _of_enis_in(self, vpc: IPv4Network) -> int:
        """Connections of the ENIs whose addresses are in a VPC's range."""
        enis = {
            node.name
            for node in self.plan.nodes
            if kind_of(node.kind).sees_environments and any(IPv4Address(address) in vpc for address in node.addresses)
        }
        return self.by_all(lambda limiter: limiter.place in enis)

    def _in_table(self, route: Route) -> Iterator[int]:
        """Of the rules that lead to a route's table; what no rule takes elsewhere is sent by a fleet's own address."""
        here = [item for item in self.plan.objects if getattr(item, "namespace", None) == route.namespace]
        if route.table not in (MAIN_TABLE, LOCAL_TABLE):
            yield sum(self.on_the_way(item) for item in here if isinstance(item, Rule) and item.table == route.table)
        elif route.destination == _ANYWHERE and route.namespace in {fleet.namespace for fleet in self.plan.fleets}:
            yield sum(self._from(IPv4Network(item.address.ip)) for item in here if isinstance(item, Address))

    def _places(self, item: KernelObject) -> Iterator[str]:
        yield from _namespaces(item)
        if isinstance(item, Address | Neighbour | Route | BridgePort):
            yield from self._far_end(item.namespace, item.interface)
        if isinstance(item, Rule):
            yield from self._far_end(item.namespace, item.input_interface)
        for network in _networks(item):
            if network.prefixlen == network.max_prefixlen:
                yield from self._owners(network.network_address)
            enis = {path.eni for path in self._paths_in(network)}
            yield from (node.namespace for node in self.plan.nodes if len(enis) == 1 and node.name in enis)

    def _far_end(self, namespace: str, interface: str | None) -> Iterator[str]:
        for pair in self.plan.objects:
            if isinstance(pair, VethPair):
                for near, far in ((pair.a, pair.b), (pair.b, pair.a)):
                    if (near.namespace, near.interface) == (namespace, interface):
                        yield far.namespace

    def _owners(self, address: IPv4Address) -> Iterator[str]:
        """Namespaces that have this address on an interface; a router's comes once for each port that has it."""
        for item in self.plan.objects:
            if isinstance(item, Address) and item.address.ip == address:
                yield item.namespace

    def _paths_in(self, network: IPv4Network) -> list[EniPath]:
        """The paths whose execution environments, or whose real sockets, have these addresses."""
        paths = (path for fleet in self.plan.fleets for path in fleet.paths)
        if network == _ANYWHERE:
            return []
        return [path for path in paths if path.first_address in network or path.sockets.first_address in network]

    def _from(self, network: IPv4Network) -> int:
        return sum(source in network for source in self.sources())

    def _through_namespace(self, namespace: str) -> int:
        return self.through(self._node_of(namespace))

    def _node_of(self, namespace: str) -> NodePlan:
        return next(node for node in self.plan.nodes if node.namespace == namespace)


def _networks(item: KernelObject) -> Iterator[IPv4Network]:
    """The addresses that an object names, as networks."""
    match item:
        case Route():
            yield item.destination
            if item.via is not None:
                yield IPv4Network(item.via)
        case Rule():
            yield from (network for network in (item.source, item.destination) if network is not None)
        case Neighbour():
            yield IPv4Network(item.address)
        case Address():
            yield IPv4Network(item.address.ip)


def newly_limited(old: Plan, new: Plan) -> tuple[Limiter, ...]:
    """The new plan's limiters of sets that are there already and have no limit: the old plan does not read them."""
    known = {(limiter.namespace, limiter.slots) for limiter in old.limiters}
    there = _sets(old) - known
    return tuple(limiter for limiter in new.limiters if (limiter.namespace, limiter.slots) in there)


def _sets(plan: Plan) -> frozenset[tuple[str, str]]:
    """(namespace, set name) of every set in a plan's rulesets."""
    rulesets = (item for item in plan.objects if isinstance(item, Ruleset))
    return frozenset((ruleset.namespace, name) for ruleset in rulesets for name in ruleset.table.sets)


def sets_to_rebuild(new: Plan, held: Held) -> dict[str, frozenset[str]]:
    """Namespace → sets that hold more than they should have room for; smaller, they would have no limit at all.

    The kernel compares what a set holds with its size for equality (nft_dynset.c, atomic_add_unless).
    """
    places = {(limiter.namespace, limiter.slots): limiter.limit for limiter in new.limiters}
    too_full: dict[str, set[str]] = {}
    for reading in held.readings:
        place = reading.limiter.namespace, reading.limiter.slots
        if reading.in_use > places.get(place, reading.in_use):
            too_full.setdefault(place[0], set()).add(place[1])
    return {namespace: frozenset(sets) for namespace, sets in too_full.items()}


def breakages(new: Plan, change_set: Difference, held: Held) -> tuple[Breakage, ...]:
    """What the difference would break: of each node the change that breaks most, and how many others there are."""
    by_node: dict[str, list[Breakage]] = {}
    for breakage in (*_of_limits(new, change_set, held), *_of_objects(change_set, held)):
        if breakage.connections:
            by_node.setdefault(breakage.node, []).append(breakage)
    return tuple(_as_one(of_a_node) for of_a_node in by_node.values())


def cut_off(before: Topology, after: Topology, held: Held) -> tuple[Breakage, ...]:
    """Connections whose packets a network ACL would drop: it is stateless. A security group judges new ones only."""
    causes = [breakage for breakage in _cut_off(before, after, held) if breakage.connections]
    return (_as_one(causes),) if causes else ()


def _cut_off(before: Topology, after: Topology, held: Held) -> Iterator[Breakage]:
    sources = {source.name for source in before.sources} & {source.name for source in after.sources}
    servers = {server.name for server in before.servers} & {server.name for server in after.servers}
    for source, server, transport in product(sorted(sources), sorted(servers), _TRANSPORTS):
        ends_before = {path.gateway: _dropped_by_acl(path) for path in paths(before, source, server, transport)}
        for path in paths(after, source, server, transport):
            end = _dropped_by_acl(path)
            if end and path.gateway in ends_before and _is_worse(end, ends_before[path.gateway]):
                yield Breakage(end.node, end.sentence, held.along(path.gateway, server, transport))


def _dropped_by_acl(path: Path) -> DeadEnd | None:
    end = path.dead_end or path.doubt
    return end if end and end.kind == "network_acl" else None


def _is_worse(end: DeadEnd, before: DeadEnd | None) -> bool:
    """Whether more connections end here than before: some where all passed, or all where some did."""
    return before is None or (end.certain and not before.certain)


def _as_one(causes: list[Breakage]) -> Breakage:
    of_a_node = list(dict.fromkeys(causes))
    worst, more = max(of_a_node, key=lambda breakage: breakage.connections), len(of_a_node) - 1
    return worst._replace(what=f"{worst.what} (and {more} more)") if more else worst


def _of_limits(new: Plan, change_set: Difference, held: Held) -> Iterator[Breakage]:
    """Sets that go, are made anew, or are too small for what they hold."""
    wanted = {(limiter.namespace, limiter.table, limiter.slots): limiter for limiter in new.limiters}
    gone = change_set.namespaces_gone | _servers_gone(new, held.plan)
    lost = {
        (change.old.namespace, name)
        for change in change_set.changed
        if isinstance(change.old, Ruleset) and isinstance(change.new, Ruleset)
        for name in sets_lost(change.old.table, change.new.table)
    }
    kept = _sets(new)
    for limiter in dict.fromkeys((*held.plan.limiters, *(reading.limiter for reading in held.readings))):
        now = wanted.get((limiter.namespace, limiter.table, limiter.slots))
        if limiter.namespace in gone or limiter.destination in gone:
            continue
        count, of = held.by(limiter), _of(limiter)
        place = limiter.namespace, limiter.slots
        if place in lost or (now is None and place not in kept):
            yield Breakage(limiter.node, f"it would forget its {of}", count)
        elif now is not None and now.limit < count:
            yield Breakage(limiter.node, f"the limit of its {of} would be {now.limit:,}", count)


def _servers_gone(new: Plan, old: Plan) -> frozenset[str]:
    """Names of servers that go. `_of_objects` reports the removal of their namespaces, so `_of_limits` skips them."""
    return frozenset(server.name for server in old.servers) - {server.name for server in new.servers}


def _of(limiter: Limiter) -> str:
    words = ["connections"]
    if limiter.towards is not None:
        words.append(f"to {limiter.towards}")
    if limiter.share is not None:
        words.append(f"from {limiter.share}")
    return " ".join(words)


def _of_objects(change_set: Difference, held: Held) -> Iterator[Breakage]:
    gone = change_set.namespaces_gone
    for item in change_set.removed:
        if isinstance(item, Ruleset) and not item.table.sets:
            continue  # it holds nothing: what it dropped passes
        # The node's own removal is reported already.
        if isinstance(item, Namespace) or not gone & held.places_of(item):
            yield _breakage(item, "would go", held)
    for change in change_set.changed:
        if not isinstance(change.old, Ruleset) and _matters(change.old, change.new):
            yield _breakage(change.old, "would be shorter" if _is_timeout(change.old) else "would change", held)


def _breakage(item: KernelObject, verb: str, held: Held) -> Breakage:
    namespaces = _namespaces(item)
    node = next((node for node in held.plan.nodes if node.namespace in namespaces), None)
    name = "the lab" if node is None else node.name
    what = "it" if isinstance(item, Namespace) else _short(item, namespaces)
    return Breakage(name, f"{what} {verb}", held.on_the_way(item))


def _namespaces(item: KernelObject) -> tuple[str, ...]:
    match item:
        case Namespace(name):
            return (name,)
        case VethPair(a, b):
            return (a.namespace, b.namespace)
        case ConntrackMax() | File() | Certificate():
            return ()
        case _:
            return (item.namespace,)


def _short(item: KernelObject, namespaces: Iterable[str]) -> str:
    """An object without the namespace that its node says already."""
    if isinstance(item, Process):
        return f"its {item.verb} process"
    if _is_timeout(item):
        return "its timeouts"
    text = describe_object(item).partition("\n")[0]
    for namespace in namespaces:
        text = text.removeprefix(f"{namespace}: ")
    return text


def _matters(old: KernelObject, new: KernelObject) -> bool:
    """Whether a change can break anything: timeouts that grow do not."""
    if isinstance(old, Sysctl) and isinstance(new, Sysctl) and old.value.isdigit() and new.value.isdigit():
        return not _is_timeout(old) or int(new.value) < int(old.value)
    return not isinstance(old, ConntrackMax | File | Certificate)


def _is_timeout(item: KernelObject) -> bool:
    return isinstance(item, Sysctl) and "timeout" in item.key

"""Follows one connection: finds where it comes from and goes to, then asks each node on that way.

An address and a port may be those at the function, those behind the ENI or those of an Elastic IP: conntrack keeps both
ends of a translation, so the way is found from either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

from lab.capacity.predict import choose
from lab.kernel.entries import Endpoint, Entry, Flow
from lab.paths.ways import Way, ways
from lab.plan.objects import FleetPlan, NodePlan, Plan, Ruleset, ServerPlan
from lab.schema.firewall import Transport
from lab.schema.names import NO_ROUTE, VPC
from lab.slots.counters import SLOT_MASK, NatNode
from lab.topology import InterfaceEndpoint, Topology, hyperplane_enis
from lab.trace.conclusion import Found, conclude
from lab.trace.values import Hop, Trace
from lab.trace.view import Surroundings, View

__all__ = ["Scene", "follow"]

_TCP, _UDP = 6, 17
_TRANSPORTS: dict[int, Transport] = {_TCP: "tcp", _UDP: "udp"}
"""The part of a connection mark that names a slot set (`lab.slots.ruleset`)."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A lab, and who answers for its nodes."""

    plan: Plan
    topology: Topology
    view: View
    around: Surroundings


def follow(scene: Scene, end: Endpoint, to: str | None = None) -> tuple[Trace, ...]:
    """Every connection that has this end, to one server if told; one that nobody has seen is a trace, too.

    UsageError for a server that the topology has not.
    """
    if to is not None:
        choose((each.name for each in scene.topology.servers), to, "server")
    starts = tuple(_starts(scene, end))
    if not starts:
        return (_unknown_end(scene, end),)
    found = [trace for start in starts for trace in _traces(scene, start, to)]
    return tuple(found) or tuple(_unseen(scene, start, to) for start in starts[:1])


# ── Where it comes from ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Start:
    """One end of a connection: an execution environment's, or at least what an ENI made of it."""

    gateway: str
    fleet: FleetPlan | None = None
    source: Endpoint | None = None
    """At the function."""
    behind: Endpoint | None = None
    """Behind the ENI, where nothing but that is known."""


def _starts(scene: Scene, end: Endpoint) -> Iterator[_Start]:
    for fleet in scene.plan.fleets:
        gateway = _gateway_of(scene, fleet, end.address)
        if gateway is not None:
            yield _Start(gateway, fleet, end)
            return
    for node in scene.plan.nodes:
        if str(end.address) not in node.addresses:
            continue
        if node.kind == "hyperplane_eni":
            yield from _behind_eni(scene, node, end)
        elif node.kind == "nat_gateway" and str(end.address) in node.addresses[1:]:
            yield from _at_elastic_ip(scene, node, end)


def _gateway_of(scene: Scene, fleet: FleetPlan, address: IPv4Address) -> str | None:
    """The ENI or egress by which this address of a fleet leaves; None if it is not the fleet's."""
    for path in fleet.paths:
        # Behind the environments of the rings are as many for real sockets (`lab.plan.addressing`).
        if path.first_address <= address < path.first_address + 2 * path.environments:
            return path.eni
    own = next(each for each in scene.plan.nodes if each.namespace == fleet.namespace)
    return fleet.paths[0].eni if str(address) in own.addresses else None


def _behind_eni(scene: Scene, node: NodePlan, end: Endpoint) -> Iterator[_Start]:
    entries = _translated(scene, node.namespace, end)
    for entry in entries:
        source = entry.original.source
        yield from (_Start(node.name, each, source) for each in _fleets_of(scene, source.address))
    if not entries:
        yield _Start(node.name, behind=end)


def _at_elastic_ip(scene: Scene, node: NodePlan, end: Endpoint) -> Iterator[_Start]:
    for entry in _translated(scene, node.namespace, end):
        behind = entry.original.source
        for eni in scene.plan.nodes:
            if eni.kind == "hyperplane_eni" and str(behind.address) in eni.addresses:
                yield from _behind_eni(scene, eni, behind)


def _translated(scene: Scene, namespace: str, end: Endpoint) -> list[Entry]:
    return [entry for protocol in _TRANSPORTS for entry in scene.view.entries_to(namespace, protocol, end)]


def _fleets_of(scene: Scene, address: IPv4Address) -> Iterator[FleetPlan]:
    return (each for each in scene.plan.fleets if _gateway_of(scene, each, address) is not None)


def _ranges(fleet: FleetPlan) -> str:
    spans = (f"{path.first_address} to {path.first_address + (2 * path.environments - 1)}" for path in fleet.paths)
    return " and ".join(spans)


def _unknown_end(scene: Scene, end: Endpoint) -> Trace:
    ranges = "; ".join(f"those of {each.function} have {_ranges(each)}" for each in scene.plan.fleets)
    owner = next((each for each in scene.plan.nodes if str(end.address) in each.addresses), None)
    whose = f"{end.address} is an address of {owner.name}" if owner else f"nobody has the address {end.address}"
    if owner is not None and owner.kind == "nat_gateway" and str(end.address) in owner.addresses[1:]:
        whose = f"{owner.name} has no connection from {end}"
    text = f"No connection is known by {end}: {whose}. Of the execution environments, {ranges}."
    return Trace(_TCP, None, None, None, None, (), "never_seen", None, text)


# ── Where it goes ───────────────────────────────────────────────────────────────────────────────────────────


def _traces(scene: Scene, start: _Start, to: str | None) -> Iterator[Trace]:
    wanted = next((Endpoint(each.address, each.port) for each in scene.plan.servers if each.name == to), None)
    for protocol in _TRANSPORTS:
        for destination in dict.fromkeys(_destinations(scene, start, protocol)):
            if wanted in (None, destination):
                yield _trace(scene, start, protocol, destination)


def _destinations(scene: Scene, start: _Start, protocol: int) -> Iterator[Endpoint]:
    """Where anybody remembers that it went."""
    nodes = {each.node: each for each in scene.plan.nat_nodes}
    # At the ENI the source is the environment's own; further on, what the ENI made of it.
    ends = ((start.gateway, start.source), *((node, start.behind) for node in _exits(scene, start.gateway)))
    for name, source in ends:
        if source is None or name not in nodes:
            continue
        entries = scene.view.entries_from(nodes[name].namespace, protocol, source)
        yield from (entry.original.destination for entry in entries)
        for server in scene.plan.servers:
            destination = Endpoint(server.address, server.port)
            if _refused_ago_s(scene, nodes[name], Flow(protocol, source, destination)) is not None:
                yield destination
    if start.fleet is not None and protocol == _TCP:
        sockets = scene.view.sockets(start.fleet.namespace)
        yield from (each.remote for each in sockets if each.local == start.source and each.state != "LISTEN")


def _exits(scene: Scene, gateway: str) -> list[str]:
    """The ways out behind an ENI."""
    eni = next((each for each in hyperplane_enis(scene.topology) if each.name == gateway), None)
    if eni is None:
        return []
    return [
        each.node
        for each in scene.topology.exits
        if any(each.takes(eni.subnet.default_route, server.name) for server in scene.topology.servers)
    ]


def _unseen(scene: Scene, start: _Start, to: str | None) -> Trace:
    """A trace to where it would go."""
    server = next(each for each in scene.plan.servers if to in (None, each.name))
    return _trace(scene, start, _TCP, Endpoint(server.address, server.port))


# ── The way ─────────────────────────────────────────────────────────────────────────────────────────────────


def _trace(scene: Scene, start: _Start, protocol: int, destination: Endpoint) -> Trace:
    server = next((each for each in scene.plan.servers if (each.address, each.port) == destination), None)
    way = _way(scene, start, server, protocol)
    hops = tuple(_hops(scene, start, way, Flow(protocol, start.source or _nowhere(start), destination), server))
    function = start.fleet.function if start.fleet else None
    found = Found(
        plan=scene.plan,
        around=scene.around,
        protocol=_TRANSPORTS[protocol],
        gateway=start.gateway,
        server=None if server is None else server.name,
        way=way,
        hops=hops,
    )
    outcome, died_at, conclusion = conclude(found)
    name = None if server is None else server.name
    return Trace(protocol, start.source, destination, function, name, hops, outcome, died_at, conclusion)


def _nowhere(start: _Start) -> Endpoint:
    """Stands for a source that nobody remembers: no entry has it."""
    if start.behind is None:
        raise ValueError("a start has a source, or an end behind its ENI")
    return start.behind


def _way(scene: Scene, start: _Start, server: ServerPlan | None, protocol: int) -> Way | None:
    """As the topology has it; None to a destination that it does not name."""
    functions = [start.fleet.function] if start.fleet else [each.name for each in scene.topology.functions]
    for function in functions if server else ():
        for way in ways(scene.topology, function, server.name if server else "", _TRANSPORTS[protocol]):
            if way.gateway == start.gateway:
                return way
    return None


def _hops(scene: Scene, start: _Start, way: Way | None, flow: Flow, server: ServerPlan | None) -> Iterator[Hop]:
    nodes = {each.node: each for each in scene.plan.nat_nodes}
    seen: Endpoint | None = flow.source
    if start.fleet is not None:
        yield _at_fleet(scene, start.fleet, flow, server)
    if start.gateway in nodes:
        eni = _at_nat(scene, nodes[start.gateway], flow if start.source else None)
        behind = eni.leaves_as or start.behind or _untranslated(scene, start.gateway, flow)
        yield eni
        yield Hop(VPC, "vpc", _routing(scene, start, way, server))
        seen, out = None, _out(scene, start, way)
        if out in nodes:
            exit_ = _at_nat(scene, nodes[out], Flow(flow.protocol, behind, flow.destination))
            yield exit_
            seen = exit_.leaves_as
    if server is not None:
        yield _at_server(scene, server, flow.protocol, seen)


def _untranslated(scene: Scene, gateway: str, flow: Flow) -> Endpoint:
    """What an ENI that has forgotten a connection had made of it: its own address, and the port as it was."""
    node = next(each for each in scene.plan.nodes if each.name == gateway)
    return Endpoint(IPv4Address(node.addresses[0]), flow.source.port)


def _out(scene: Scene, start: _Start, way: Way | None) -> str | None:
    """The node that takes it out of the VPC."""
    if way is not None:
        return way.exit.node if way.exit else None
    eni = next((each for each in hyperplane_enis(scene.topology) if each.name == start.gateway), None)
    route = None if eni is None else eni.subnet.default_route
    return next((each.node for each in scene.topology.nat_gateways if each.name == route), None)


def _routing(scene: Scene, start: _Start, way: Way | None, server: ServerPlan | None) -> str:
    if way is not None and way.dead_end is not None and way.dead_end.node == VPC:
        return way.dead_end.sentence
    out = _out(scene, start, way)
    if out is None:
        return f"has no route there ({NO_ROUTE})"
    return f"routes {server.name if server else 'it'} to {out}, keeps no state"


# ── Each node ───────────────────────────────────────────────────────────────────────────────────────────────


def _at_fleet(scene: Scene, fleet: FleetPlan, flow: Flow, server: ServerPlan | None) -> Hop:
    node = next(each for each in scene.plan.nodes if each.namespace == fleet.namespace)
    name = f" ({server.name})" if server else ""
    state = _socket(scene, fleet.namespace, flow.source, flow.destination) if flow.protocol == _TCP else None
    socket = f", socket {state}" if state else ""
    text = f"{flow.source} to {flow.destination}{name}{socket}"
    return Hop(node.name, node.kind, text, socket=state)


def _socket(scene: Scene, namespace: str, local: Endpoint, remote: Endpoint) -> str | None:
    found = (each.state for each in scene.view.sockets(namespace) if (each.local, each.remote) == (local, remote))
    return next(found, None)


def _at_nat(scene: Scene, node: NatNode, flow: Flow | None) -> Hop:
    if flow is None:
        return Hop(node.node, node.kind, "has no entry of it")
    entries = scene.view.entries_from(node.namespace, flow.protocol, flow.source)
    entry = next((each for each in entries if each.original.destination == flow.destination), None)
    if entry is not None:
        slot = _slot(scene, node, entry)
        leaves_as = entry.reply.destination
        return Hop(node.node, node.kind, _entry_text(entry, slot), entry, slot, leaves_as)
    ago_s = _refused_ago_s(scene, node, flow)
    text = "has no entry of it" if ago_s is None else f"refused it {ago_s:.0f} s ago; has no entry of it"
    return Hop(node.node, node.kind, text, refused_ago_s=ago_s)


def _refused_ago_s(scene: Scene, node: NatNode, flow: Flow) -> float | None:
    """An interface endpoint refuses what it has translated already: its tuples have the server's own address."""
    if node.kind == InterfaceEndpoint.KIND:
        to = flow.destination
        server = next((each for each in scene.plan.servers if (each.address, each.port) == to), None)
        flow = flow if server is None else flow._replace(destination=_own_end(scene, server))
    return scene.view.refused_ago_s(node, flow)


def _own_end(scene: Scene, server: ServerPlan) -> Endpoint:
    """A server's own address, whatever address clients know it by."""
    return Endpoint(IPv4Address(_node_of(scene, server).addresses[0]), server.port)


def _node_of(scene: Scene, server: ServerPlan) -> NodePlan:
    return next(each for each in scene.plan.nodes if each.kind == "server" and each.alias == server.name)


def _slot(scene: Scene, node: NatNode, entry: Entry) -> str | None:
    """The slot set that the entry's mark names."""
    rulesets = (each for each in scene.plan.objects if isinstance(each, Ruleset) and each.namespace == node.namespace)
    by_mark = {mark: name for each in rulesets for name, mark in each.table.marks.items()}
    return by_mark.get(entry.mark & SLOT_MASK)


def _entry_text(entry: Entry, slot: str | None) -> str:
    answered = "" if entry.answered or entry.state == "unanswered" else ", unanswered"
    held = f", slot in {slot}" if slot else ""
    leaves = f"; leaves as {entry.reply.destination}" if entry.reply.destination != entry.original.source else ""
    to = f" to {entry.reply.source}" if entry.reply.source != entry.original.destination else ""
    return f"{entry.state}{answered}, {entry.timeout_s} s left{held}{leaves}{to}"


def _at_server(scene: Scene, server: ServerPlan, protocol: int, source: Endpoint | None) -> Hop:
    node = _node_of(scene, server)
    if source is None:
        return Hop(node.name, node.kind, "has not seen it, as far as anybody knows")
    state = _socket(scene, node.namespace, _own_end(scene, server), source) if protocol == _TCP else None
    socket = f"socket {state}" if state else "no socket: the lab's responder keeps none"
    return Hop(node.name, node.kind, f"sees {source}; {socket}", socket=state)

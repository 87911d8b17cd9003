"""Follows one connection: finds where it comes from and goes to, then asks each node on that way.

An address and a port may be those at the function, those behind the ENI or those of an Elastic IP: conntrack keeps both
ends of a translation, so the way is found from either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lab.capacity.predict import choose
from lab.kernel.netfilter.conntrack import Endpoint, Entry, Flow
from lab.nodes.registry import kind_of
from lab.paths.path import Path
from lab.paths.routes import exit_nodes, paths
from lab.plan.objects import FleetPlan, NodePlan, Plan, Ruleset, ServerPlan
from lab.schema.firewall import Transport
from lab.schema.names import NO_ROUTE, node_name_of_server
from lab.slots.counters import SLOT_MASK, NatNode
from lab.topology import Topology, hyperplane_enis
from lab.trace.conclusion import KnownConnection, conclude
from lab.trace.values import Hop, Trace
from lab.trace.view import Surroundings, View

__all__ = ["TracedLab", "follow"]

_TCP, _UDP = 6, 17
_TRANSPORTS: dict[int, Transport] = {_TCP: "tcp", _UDP: "udp"}


@dataclass(frozen=True, slots=True)
class TracedLab:
    """A lab, and the view by which its nodes are read."""

    plan: Plan
    topology: Topology
    view: View
    around: Surroundings


def follow(lab: TracedLab, end: Endpoint, to: str | None = None) -> tuple[Trace, ...]:
    """Every connection that has this end, to one server if told; one that no node has an entry of is a trace, too.

    UsageError for a server that the topology has not.
    """
    if to is not None:
        choose((known.name for known in lab.topology.servers), to, "server")
    starts = tuple(_starts(lab, end))
    if not starts:
        return (_unknown_end(lab, end),)
    traces = [trace for start in starts for trace in _traces(lab, start, to)]
    return tuple(traces) or tuple(_unseen(lab, start, to) for start in starts[:1])


# ── Where it comes from ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Start:
    """One end of a connection: an execution environment's or a client's, or at least what an ENI made of it."""

    gateway: str
    fleet: FleetPlan | None = None
    source: Endpoint | None = None
    """Its address and port at the function."""
    behind: Endpoint | None = None
    """Behind the ENI, where nothing but that is known."""


def _starts(lab: TracedLab, end: Endpoint) -> Iterator[_Start]:
    for fleet in lab.plan.fleets:
        gateway = _gateway_of(lab, fleet, end.address)
        if gateway is not None:
            yield _Start(gateway, fleet, end)
            return
    yield from _translated_to(lab, end)


def _translated_to(lab: TracedLab, end: Endpoint) -> Iterator[_Start]:
    """Starts of the connections that a node gave this source, found back through one translation after the other."""
    for node in lab.plan.nodes:
        if not _leaves_with(lab, node, end.address):
            continue
        entries = [entry for protocol in _TRANSPORTS for entry in lab.view.entries_to(node.namespace, protocol, end)]
        for source in (entry.original.source for entry in entries if entry.original.source != end):
            if direct := [
                fleet for fleet in lab.plan.fleets if fleet.own_ports and _gateway_of(lab, fleet, source.address)
            ]:
                yield from (_Start(fleet.paths[0].eni, fleet, source) for fleet in direct)
            elif kind_of(node.kind).sees_environments:
                fleets = (fleet for fleet in lab.plan.fleets if _gateway_of(lab, fleet, source.address) is not None)
                yield from (_Start(node.name, fleet, source) for fleet in fleets)
            else:
                yield from _translated_to(lab, source)
        if not entries and kind_of(node.kind).sees_environments:
            yield _Start(node.name, behind=end)


def _leaves_with(lab: TracedLab, node: NodePlan, address: IPv4Address) -> bool:
    """Whether connections leave a node with this address as their source."""
    translates = any(nat.node == node.name for nat in lab.plan.nat_nodes)
    return translates and str(address) in node.addresses[kind_of(node.kind).own_addresses :]


def _gateway_of(lab: TracedLab, fleet: FleetPlan, address: IPv4Address) -> str | None:
    """The ENI or egress by which this address of a fleet leaves; None if it is not the fleet's."""
    for path in fleet.paths:
        if path.has(address):
            return path.eni
    own = next(known for known in lab.plan.nodes if known.namespace == fleet.namespace)
    return fleet.paths[0].eni if str(address) in own.addresses else None


def _ranges(fleet: FleetPlan) -> str:
    spans = (
        f"{path.real or path.first_address} {'and' if path.real else 'to'} {path.last_address}" for path in fleet.paths
    )
    return " and ".join(spans)


def _unknown_end(lab: TracedLab, end: Endpoint) -> Trace:
    ranges = "; ".join(f"those of {fleet.source} have {_ranges(fleet)}" for fleet in lab.plan.fleets)
    owner = next((known for known in lab.plan.nodes if str(end.address) in known.addresses), None)
    whose = (
        f"{end.address} is an address of {owner.name}" if owner else f"no node of the lab has the address {end.address}"
    )
    if owner is not None and _leaves_with(lab, owner, end.address):
        whose = f"{owner.name} has no connection from {end}"
    text = f"No connection is known by {end}: {whose}. Of the execution environments and clients, {ranges}."
    return Trace(_TCP, None, None, None, None, (), "never_seen", None, text)


# ── Where it goes ───────────────────────────────────────────────────────────────────────────────────────────


def _traces(lab: TracedLab, start: _Start, to: str | None) -> Iterator[Trace]:
    wanted = [end for known in lab.plan.servers if known.name == to for end in _ends(known)]
    for protocol in _TRANSPORTS:
        for destination in dict.fromkeys(_destinations(lab, start, protocol)):
            if to is None or destination in wanted:
                yield _trace(lab, start, protocol, destination)


def _destinations(lab: TracedLab, start: _Start, protocol: int) -> Iterator[Endpoint]:
    """The destinations that conntrack entries, sets of refused tuples and sockets have for it."""
    nodes = {known.node: known for known in lab.plan.nat_nodes}
    # At the ENI the source is the environment's own; further on, what the ENI made of it.
    behind = start.source if start.fleet and start.fleet.own_ports else start.behind
    ends = ((start.gateway, start.source), *((node, behind) for node in _exits(lab, start.gateway)))
    for name, source in ends:
        if source is None or name not in nodes:
            continue
        entries = lab.view.entries_from(nodes[name].namespace, protocol, source)
        yield from (entry.original.destination for entry in entries)
        for destination in (end for server in lab.plan.servers for end in _ends(server)):
            if _refused_ago_s(lab, nodes[name], Flow(protocol, source, destination)) is not None:
                yield destination
    if start.fleet is not None and protocol == _TCP:
        sockets = lab.view.sockets(start.fleet.namespace)
        yield from (socket.remote for socket in sockets if socket.local == start.source and socket.state != "LISTEN")


def _ends(server: ServerPlan) -> list[Endpoint]:
    """Where clients connect to a server."""
    return [Endpoint(address, server.port) for address in server.addresses]


def _exits(lab: TracedLab, gateway: str) -> list[str]:
    """What takes connections out of the VPCs behind an ENI, or from a client."""
    subnets = {subnet.name: subnet for subnet in lab.topology.subnets}
    homes = {client.node: subnets[client.subnet] for client in lab.topology.clients}
    homes |= {eni.name: eni.subnet for eni in hyperplane_enis(lab.topology)}
    leading_out = exit_nodes(lab.topology, homes[gateway]) if gateway in homes else set()
    return [exit_.node for exit_ in lab.topology.exits if exit_.node in leading_out]


def _unseen(lab: TracedLab, start: _Start, to: str | None) -> Trace:
    """A trace to where it would go."""
    server = next(known for known in lab.plan.servers if to in (None, known.name))
    return _trace(lab, start, _TCP, Endpoint(server.address, server.port))


# ── The path ────────────────────────────────────────────────────────────────────────────────────────────────


def _trace(lab: TracedLab, start: _Start, protocol: int, destination: Endpoint) -> Trace:
    server = next((known for known in lab.plan.servers if destination in _ends(known)), None)
    path = _path(lab, start, server, protocol, destination)
    hops = tuple(_hops(lab, start, path, Flow(protocol, start.source or _nowhere(start), destination), server))
    source = start.fleet.source if start.fleet else None
    function, client = (None, source) if start.fleet and start.fleet.own_ports else (source, None)
    connection = KnownConnection(
        plan=lab.plan,
        around=lab.around,
        protocol=_TRANSPORTS[protocol],
        gateway=start.gateway,
        server=None if server is None else server.name,
        address=str(destination.address),
        path=path if server else None,
        hops=hops,
    )
    outcome, died_at, conclusion = conclude(connection)
    name = None if server is None else server.name
    return Trace(protocol, start.source, destination, function, name, hops, outcome, died_at, conclusion, client)


def _nowhere(start: _Start) -> Endpoint:
    """The end behind the ENI, in place of a source that no conntrack entry tells."""
    if start.behind is None:
        raise ValueError("a start has a source, or an end behind its ENI")
    return start.behind


def _path(
    lab: TracedLab, start: _Start, server: ServerPlan | None, protocol: int, destination: Endpoint
) -> Path | None:
    """The path in the topology; None through an egress to a destination that the topology does not name."""
    topology, name = lab.topology, None if server is None else server.name
    if name is None:
        name = str(destination.address)
        unnamed = topology.servers[0].at(destination.address).model_copy(update={"name": name})
        topology = topology.model_copy(update={"servers": (unnamed,)})
    sources = [start.fleet.source] if start.fleet else [source.name for source in topology.sources]
    for source in sources:
        for path in paths(topology, source, name, _TRANSPORTS[protocol]):
            called = None if server is None or path.answer is None else server.addresses[path.answer]
            if path.gateway == start.gateway and called in (None, destination.address):
                return path
    return None


def _hops(lab: TracedLab, start: _Start, path: Path | None, flow: Flow, server: ServerPlan | None) -> Iterator[Hop]:
    """What each node on the path has of it; behind a NAT node it has another source."""
    if start.fleet is not None:
        yield _at_fleet(lab, start.fleet, flow, server)
    source, seen = flow.source if start.source else None, start.source
    nat_nodes = {node.node: node for node in lab.plan.nat_nodes}
    front: Hop | None = None
    crossing = tuple(enumerate(path.hops)) if path else ()
    for index, crossed in crossing if path and path.eni else crossing[1:]:
        if crossed.node in nat_nodes:
            hop = _at_nat(lab, nat_nodes[crossed.node], flow._replace(source=source) if source else None)
            if kind_of(hop.kind).answers:
                front = hop
                continue
            yield hop
            source = seen = hop.leaves_as
            if crossed.node == start.gateway:
                source, seen = source or start.behind or _untranslated(lab, start.gateway, flow), None
        elif path is not None and not kind_of(crossed.kind).answers:  # the server is told of last
            yield Hop(crossed.node, crossed.kind, _routing(path, index, server))
    if server is not None:
        yield _at_server(lab, server, flow._replace(source=seen) if seen else None, front)


def _untranslated(lab: TracedLab, gateway: str, flow: Flow) -> Endpoint:
    """What an ENI that has forgotten a connection had made of it: its own address, and the port as it was."""
    node = next(known for known in lab.plan.nodes if known.name == gateway)
    return Endpoint(IPv4Address(node.addresses[0]), flow.source.port)


def _routing(path: Path, index: int, server: ServerPlan | None) -> str:
    """Where a router on the path leads."""
    if path.dead_end is not None and path.dead_end.node == path.hops[index].node:
        return path.dead_end.sentence
    if index + 1 == len(path.hops):
        return f"has no route there ({NO_ROUTE})"
    return f"routes {server.name if server else 'it'} to {path.hops[index + 1].node}, keeps no state"


# ── Each node ───────────────────────────────────────────────────────────────────────────────────────────────


def _at_fleet(lab: TracedLab, fleet: FleetPlan, flow: Flow, server: ServerPlan | None) -> Hop:
    node = next(known for known in lab.plan.nodes if known.namespace == fleet.namespace)
    name = f" ({server.name})" if server else ""
    state = _socket(lab, fleet.namespace, flow.source, flow.destination) if flow.protocol == _TCP else None
    socket = f", socket {state}" if state else ""
    text = f"{flow.source} to {flow.destination}{name}{socket}"
    return Hop(node.name, node.kind, text, socket=state)


def _socket(lab: TracedLab, namespace: str, local: Endpoint, remote: Endpoint) -> str | None:
    states = (
        socket.state for socket in lab.view.sockets(namespace) if (socket.local, socket.remote) == (local, remote)
    )
    return next(states, None)


def _at_nat(lab: TracedLab, node: NatNode, flow: Flow | None) -> Hop:
    if flow is None:
        return Hop(node.node, node.kind, "has no entry of it")
    entries = lab.view.entries_from(node.namespace, flow.protocol, flow.source)
    entry = next((known for known in entries if known.original.destination == flow.destination), None)
    slot = None if entry is None else _slot(lab, node, entry)
    ago_s = None if slot else _refused_ago_s(lab, node, flow)
    if entry is not None:
        turned_away = "" if ago_s is None else f"; refused it {ago_s:.0f} s ago"
        text = _entry_text(entry, slot) + turned_away
        return Hop(node.node, node.kind, text, entry, slot, entry.reply.destination, refused_ago_s=ago_s)
    text = "has no entry of it" if ago_s is None else f"refused it {ago_s:.0f} s ago; has no entry of it"
    return Hop(node.node, node.kind, text, refused_ago_s=ago_s)


def _refused_ago_s(lab: TracedLab, node: NatNode, flow: Flow) -> float | None:
    if kind_of(node.kind).refuses_translated:
        to = flow.destination
        server = next((known for known in lab.plan.servers if to in _ends(known)), None)
        flow = flow if server is None else flow._replace(destination=_own_end(lab, server, to.address))
    return lab.view.refused_ago_s(node, flow)


def _own_end(lab: TracedLab, server: ServerPlan, address: IPv4Address) -> Endpoint:
    """A server's own address, whatever address clients know it by; of several the one that they know, or the first."""
    own = _node_of(lab, server).addresses
    return Endpoint(address if str(address) in own else IPv4Address(own[0]), server.port)


def _node_of(lab: TracedLab, server: ServerPlan) -> NodePlan:
    return next(known for known in lab.plan.nodes if known.name == node_name_of_server(server.name))


def _slot(lab: TracedLab, node: NatNode, entry: Entry) -> str | None:
    """The slot set that the entry's mark names."""
    tables = (
        ruleset.table
        for ruleset in lab.plan.objects
        if isinstance(ruleset, Ruleset) and ruleset.namespace == node.namespace
    )
    by_mark = {mark: name for table in tables for name, mark in table.marks.items()}
    return by_mark.get(entry.mark & SLOT_MASK)


def _entry_text(entry: Entry, slot: str | None) -> str:
    answered = "" if entry.answered or entry.state == "unanswered" else ", unanswered"
    held = f", slot in {slot}" if slot else ""
    leaves = f"; leaves as {entry.reply.destination}" if entry.reply.destination != entry.original.source else ""
    to = f" to {entry.reply.source}" if entry.reply.source != entry.original.destination else ""
    return f"{entry.state}{answered}, {entry.timeout_s} s left{held}{leaves}{to}"


def _at_server(lab: TracedLab, server: ServerPlan, flow: Flow | None, front: Hop | None) -> Hop:
    """What the server has of it, after what is known where its connections are counted, if they are."""
    node = _node_of(lab, server)
    if front is not None and front.entry is None:
        return front
    if flow is None:
        return Hop(node.name, node.kind, "has not seen it, as far as anybody knows")
    own = front.entry.reply.source if front and front.entry else _own_end(lab, server, flow.destination.address)
    state = _socket(lab, node.namespace, own, flow.source) if flow.protocol == _TCP else None
    socket = f"socket {state}" if state else "no socket: the lab's responder keeps none"
    hop = Hop(node.name, node.kind, f"sees {flow.source}; {socket}", socket=state)
    return hop if front is None else replace(front, text=f"{hop.text}; {front.text}", socket=state)

"""What is drawn of a topology: nodes from left to right, who leads to whom, and what each node says. Values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lab.paths.dead_ends import dead_end
from lab.paths.routes import legs
from lab.paths.ways import exit_of, ways
from lab.schema.base import Model
from lab.schema.exits import Exit
from lab.schema.firewall import Transport
from lab.schema.names import EGRESS, NO_ROUTE, RESOLVER, name_of_further_eni, node_name_of_function, node_name_of_server
from lab.topology import Eni, InterfaceEndpoint, NatGateway, Server, Subnet, Topology, enis_of, hyperplane_enis

_TRANSPORTS: tuple[Transport, ...] = ("tcp", "udp")

__all__ = ["Drawing", "Node", "Occupancy", "Pairs", "draw"]

Pairs = tuple[tuple[str, str], ...]
"""Names of nodes, each with one to its right."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a limiter holds and has refused; a node with several limits counts all of them together."""

    held: int
    limit: int | None
    refused: int

    @property
    def full(self) -> bool:
        """Whether there is no room for another connection."""
        return self.limit is not None and self.held >= self.limit

    @property
    def share(self) -> float:
        """How much of the limit is held, from 0 to 1."""
        return min(1.0, self.held / self.limit) if self.limit else 0.0

    @property
    def words(self) -> tuple[str, ...]:
        """In a line for what is held and one for what is wrong, if anything is."""
        held = f"{self.held:,} held" if self.limit is None else f"{self.held:,} of {self.limit:,}"
        wrong = (*(("FULL",) if self.full else ()), *((f"{self.refused:,} refused",) if self.refused else ()))
        return (held, *((", ".join(wrong),) if wrong else ()))

    @property
    def brief(self) -> str:
        """In a word or two."""
        return f"{self.held:,}{' FULL' if self.full else ''}"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a drawing."""

    name: str
    """As in the plan."""
    kind: str
    """Its node kind."""
    title: str
    """What people call it."""
    lines: tuple[str, ...] = ()
    """What is said below the title."""
    brief: str = ""
    """The same in a word or two, for where there are many of its kind."""
    labels: tuple[str, ...] = ()
    """Who leads to whom, where lines do not say it."""
    subnet: str | None = None
    """In which it is."""
    occupancy: Occupancy | None = None
    later: bool = False
    """Whether it is not there from the beginning."""
    dead: bool = False
    """Whether no connection gets any further."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A topology as it is drawn, each column in the order of the file."""

    name: str
    vpc: str
    """Its address range."""
    subnets: tuple[Subnet, ...]
    functions: tuple[Node, ...]
    enis: tuple[Node, ...]
    exits: tuple[Node, ...]
    servers: tuple[Node, ...]
    resolver: Node
    """In the service VPC, unless it has a subnet."""
    egress: Node | None
    """By which functions outside the VPC reach servers."""
    entries: Pairs
    """Function → ENI, or the egress."""
    routes: Pairs
    """ENI → how its connections leave the VPC."""
    ways_out: Pairs
    """Way out of the VPC, or the egress → server."""
    remarks: tuple[str, ...]
    """Where connections end whatever the limits: sentences without a full stop."""

    @property
    def nodes(self) -> Iterator[Node]:
        """All of them, from left to right."""
        yield from (*self.functions, self.resolver, *self.enis)
        yield from () if self.egress is None else (self.egress,)
        yield from (*self.exits, *self.servers)


_NOTHING_KNOWN: Mapping[str, Occupancy] = MappingProxyType({})


def draw(topology: Topology, occupancy: Mapping[str, Occupancy] = _NOTHING_KNOWN) -> Drawing:
    """The drawing of a topology; of a lab that is up, with what its limiters hold, by the plan's names of nodes."""
    outside = [each for each in topology.functions if not each.subnets]
    enis = hyperplane_enis(topology)
    passing = tuple(eni for eni in enis if not _dead(topology, eni))
    routes = tuple(dict.fromkeys(_routes(topology, passing)))
    used = {out for _, out in routes}
    return Drawing(
        name=topology.name,
        vpc=str(topology.vpcs[0].cidr),
        subnets=topology.subnets,
        functions=tuple(Node(node_name_of_function(each.name), "fleet", each.name) for each in topology.functions),
        enis=tuple(node for eni in enis for node in _enis(topology, eni, occupancy)),
        exits=tuple(_exit(topology, each, occupancy.get(each.node), used) for each in topology.exits),
        servers=tuple(_server(each) for each in topology.servers),
        resolver=_resolver(topology),
        egress=Node(EGRESS, "egress", EGRESS, ("no limit",), "no limit") if outside else None,
        entries=tuple(_entries(topology)),
        routes=routes,
        ways_out=tuple(dict.fromkeys(_ways_out(topology, passing, outside=bool(outside)))),
        remarks=tuple(dict.fromkeys(_remarks(topology))),
    )


# ── Who leads to whom ───────────────────────────────────────────────────────────────────────────────────────


def _entries(topology: Topology) -> Iterator[tuple[str, str]]:
    for function in topology.functions:
        node = node_name_of_function(function.name)
        if not function.subnets:
            yield node, EGRESS
        for eni in enis_of(topology, function.name):
            yield from ((node, name) for name in _names(topology, eni))


def _names(topology: Topology, eni: Eni) -> tuple[str, ...]:
    """Of an ENI and of those that may appear beside it."""
    most = topology.hyperplane_eni.most_enis
    return (eni.name, *(name_of_further_eni(eni.name, number) for number in range(2, most + 1)))


def _routes(topology: Topology, enis: tuple[Eni, ...]) -> Iterator[tuple[str, str]]:
    for eni in enis:
        for server in topology.servers:
            if out := exit_of(topology, eni.subnet, server):
                yield from ((name, out.node) for name in _names(topology, eni))


def _ways_out(topology: Topology, enis: tuple[Eni, ...], *, outside: bool) -> Iterator[tuple[str, str]]:
    for server in topology.servers:
        node = node_name_of_server(server.name)
        for eni in enis:
            if out := exit_of(topology, eni.subnet, server):
                yield out.node, node
        if outside:
            yield EGRESS, node


def _dead(topology: Topology, eni: Eni) -> bool:
    """Whether no SYN and no datagram to a server gets through the ENI and out of the VPC."""
    ends = (
        dead_end(topology, eni, legs(topology, eni.subnet, server), server, transport)
        for server in topology.servers
        for transport in _TRANSPORTS
    )
    return all(end and end.certain and not end.answers for end in ends)


def _remarks(topology: Topology) -> Iterator[str]:
    for function in topology.functions:
        for server in topology.servers:
            for way in ways(topology, function.name, server.name):
                end = way.dead_end or way.doubt
                if end and way.eni:
                    yield f"{way.eni.name}: {end.sentence}"


# ── What a node says ────────────────────────────────────────────────────────────────────────────────────────


def _enis(topology: Topology, eni: Eni, occupancy: Mapping[str, Occupancy]) -> Iterator[Node]:
    settings, dead = topology.hyperplane_eni, _dead(topology, eni)
    acls = [acl.name for acl in topology.network_acls if eni.subnet.name in acl.subnets]
    groups = {each.name for each in topology.security_groups} & set(eni.security_groups)
    more = (
        *_timeouts(settings),
        *((f"groups {', '.join(eni.security_groups)}",) if groups else ()),
        *(f"ACL {name}" for name in acls),
        *(("no route" if dead else "no default route",) if eni.subnet.default_route == NO_ROUTE else ()),
    )
    limit = f"{settings.connection_limit:,}"
    first = (f"limit {limit}", "per server") if settings.per_destination else (f"limit {limit}",)
    for number, name in enumerate(_names(topology, eni), 1):
        said = (*first, *more)
        if number > 1 and settings.eni_scaling:
            said = (f"{limit} more,", f"{settings.eni_scaling.after_s} s later")
        node = Node(name, "hyperplane_eni", name, said, limit, subnet=eni.subnet.name, later=number > 1, dead=dead)
        yield _limiter(node, occupancy.get(name))


def _exit(topology: Topology, out: Exit, occupancy: Occupancy | None, used: set[str]) -> Node:
    lines = tuple(_said(topology, out))
    if out.node not in used:
        lines = (*lines[:1], "idle")
    brief = "" if out.capacity is None else f"{out.capacity:,}"
    return _limiter(Node(out.node, out.KIND, out.node, lines, brief, subnet=out.subnet), occupancy)


def _said(topology: Topology, out: Exit) -> Iterator[str]:
    if isinstance(out, NatGateway):
        alone = len(topology.servers) == 1
        yield f"{out.elastic_ips} EIP{'s' if out.elastic_ips > 1 else ''}"
        yield from (f"{out.capacity:,} to", "one server") if alone else (f"{out.capacity:,}", "per server")
        yield from () if out.spill_over or out.elastic_ips == 1 else ("no spill-over",)
        yield from _timeouts(out)
    elif isinstance(out, InterfaceEndpoint):
        limit = out.connections_per_target
        yield f"for {out.server}"
        yield "no limit" if limit is None else f"limit {limit:,}"
        yield from _timeouts(out)


def _limiter(node: Node, occupancy: Occupancy | None) -> Node:
    """The node with its numbers in the place of its limit, if they are known."""
    if occupancy is None:
        return node
    kept = node.lines[1:] if node.kind == "hyperplane_eni" else node.lines[:1]
    lines = (*occupancy.words, *(() if node.later else kept))
    return replace(node, lines=lines, brief=occupancy.brief, occupancy=occupancy)


def _timeouts(settings: Model) -> Iterator[str]:
    """Those that differ from what they are by default."""
    words = (("idle_timeout_s", "idle"), ("half_open_timeout_s", "half-open"), ("port_hold_s", "held"))
    for field, said in words:
        value = getattr(settings, field)
        if value != type(settings).model_fields[field].default:
            yield f"{said} {value} s"


def _server(server: Server) -> Node:
    lines = (f"{server.address}:{server.port}", *(() if server.embedded else ("a real program",)))
    return Node(node_name_of_server(server.name), "server", server.hostname, lines)


def _resolver(topology: Topology) -> Node:
    resolver = topology.service_vpc.resolver
    quota = resolver.packets_per_second
    subnet = (resolver.subnet or topology.subnets[0].name) if resolver.behind_eni else None
    lines = () if subnet is None else (f"in {subnet}",)
    said = () if quota is None else (f"{quota:,} packets/s", "per interface")
    return Node(RESOLVER, "resolver", RESOLVER, (*lines, *said), subnet=subnet)

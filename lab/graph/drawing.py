"""What is drawn of a topology: nodes in columns from left to right, edges between them, texts. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from types import MappingProxyType
from typing import NamedTuple

from lab.nodes.drawing import Drawn, drawn
from lab.nodes.kind import NodeKind, Shape
from lab.nodes.registry import KINDS
from lab.paths.routes import paths
from lab.schema.firewall import Transport
from lab.schema.names import node_name_of_server
from lab.topology import Subnet, Topology, Vpc

__all__ = ["COLUMNS", "Cluster", "Drawing", "Node", "Occupancy", "Pairs", "draw"]

COLUMNS = ("functions", "aside", "enis", "leaving", "middle", "entering", "exits", "servers")
"""From left to right. The routers of VPCs stand in `leaving` and `entering` where there are several VPCs."""

Pairs = tuple[tuple[str, str], ...]
"""Names of nodes, each with one to its right."""

_TRANSPORTS: tuple[Transport, ...] = ("tcp", "udp")


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
        """What is held, in one line, and what is wrong in another, if anything is."""
        held = f"{self.held:,} held" if self.limit is None else f"{self.held:,} of {self.limit:,}"
        wrong = (*(("FULL",) if self.full else ()), *((f"{self.refused:,} refused",) if self.refused else ()))
        return (held, *((", ".join(wrong),) if wrong else ()))

    @property
    def brief(self) -> str:
        """What is held or wrong, in a word or two."""
        return f"{self.held:,}{' FULL' if self.full else ''}"


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a drawing."""

    name: str
    """The node's name in the plan."""
    column: str
    """One of `COLUMNS`."""
    shape: Shape
    title: str
    """The name in the box."""
    lines: tuple[str, ...] = ()
    """What is said below the title."""
    brief: str = ""
    """The same in a word or two, for where there are many of its kind."""
    labels: tuple[str, ...] = ()
    """Which nodes it leads to, in words, where lines do not show it."""
    subnet: str | None = None
    """The subnet that it is in."""
    vpc: str | None = None
    """The name of the VPC that it is in."""
    occupancy: Occupancy | None = None
    later: bool = False
    """Whether it appears only once another node is full."""
    dead: bool = False
    """Whether no connection gets any further."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A VPC, around the nodes that are in it."""

    name: str
    title: str
    """The VPC's name with its address range."""
    router: str
    """The node of its router."""
    subnets: tuple[Subnet, ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A topology as it is drawn."""

    name: str
    clusters: tuple[Cluster, ...]
    nodes: tuple[Node, ...]
    """Column by column from left to right, each in the order of the file; the egress, in no VPC, after the ENIs."""
    edges: Pairs
    """Column by column of the node on the right."""
    remarks: tuple[str, ...]
    """Where connections end whatever the limits: sentences without a full stop."""

    def column(self, *columns: str) -> tuple[Node, ...]:
        """The nodes of some columns."""
        return tuple(node for node in self.nodes if node.column in columns)

    def into(self, column: str) -> Pairs:
        """The edges that lead to the nodes of a column."""
        rights = {node.name for node in self.column(column)}
        return tuple(edge for edge in self.edges if edge[1] in rights)

    @property
    def resolver(self) -> Node:
        """The name server's node: in the service VPC, unless it has a subnet."""
        (resolver,) = self.column("aside")
        return resolver

    @property
    def egress(self) -> Node | None:
        """The node by which functions outside all VPCs reach servers."""
        return next((node for node in self.column("enis") if node.vpc is None), None)

    @property
    def questions(self) -> Pairs:
        """Edges from the nodes that send questions to the resolver; no other edge leads to it."""
        column = "functions" if self.resolver.vpc is None else "enis"
        return tuple((node.name, self.resolver.name) for node in self.column(column) if node is not self.egress)

    @property
    def in_service_vpc(self) -> tuple[Node, ...]:
        """Nodes in none of the customer's VPCs, and not on the internet."""
        egress = () if self.egress is None else (self.egress,)
        return (*self.column("functions"), *egress, *(() if self.resolver.vpc else (self.resolver,)))

    def in_no_subnet(self, vpc: str) -> tuple[Node, ...]:
        """Nodes of a VPC that are in none of its subnets."""
        return tuple(node for node in self.nodes if node.vpc == vpc and node.subnet is None)

    def in_subnet(self, subnet: str) -> tuple[Node, ...]:
        """Nodes in a subnet, the resolver last."""
        inside = (node for node in self.nodes if node.subnet == subnet)
        return tuple(sorted(inside, key=lambda node: node.column == "aside"))


_NOTHING_KNOWN: Mapping[str, Occupancy] = MappingProxyType({})


def draw(topology: Topology, occupancy: Mapping[str, Occupancy] = _NOTHING_KNOWN) -> Drawing:
    """The drawing of a topology; of a lab that is up, with what its limiters hold, by the plan's names of nodes."""
    chains = _chains(topology)
    reaching = {name for chain in chains if chain.reaches for name in chain.nodes}
    shown = [(kind, node) for kind in KINDS for node in drawn(kind, topology, reaching)]
    nodes = sorted(
        (_node(topology, kind, node, occupancy.get(node.name)) for kind, node in shown),
        key=partial(_place, [out.node for out in topology.exits]),
    )
    edges = _edges(nodes, chains, [(node.name, node.beside) for _, node in shown if node.beside])
    leading_on = {left for left, _ in edges}
    return Drawing(
        name=topology.name,
        clusters=tuple(_cluster(vpc, alone=len(topology.vpcs) == 1) for vpc in topology.vpcs),
        nodes=tuple(
            replace(node, dead=node.column in ("enis", "middle") and node.name not in leading_on) for node in nodes
        ),
        edges=edges,
        remarks=tuple(dict.fromkeys(_remarks(topology))),
    )


def _cluster(vpc: Vpc, *, alone: bool) -> Cluster:
    title = f"VPC {vpc.cidr}" if alone else f"VPC {vpc.name} {vpc.cidr}"
    return Cluster(vpc.name, title, vpc.node, vpc.subnets)


def _node(topology: Topology, kind: NodeKind, shown: Drawn, known: Occupancy | None) -> Node:
    """With its numbers in the place of its limit, if they are known."""
    return Node(
        name=shown.name,
        column=shown.column or str(kind.shape.column),
        shape=kind.shape,
        title=shown.title,
        lines=shown.lines if known is None else (*known.words, *shown.beside_numbers),
        brief=shown.brief if known is None else known.brief,
        subnet=shown.subnet,
        vpc=shown.vpc if shown.subnet is None else topology.vpc_of(shown.subnet).name,
        occupancy=known,
        later=shown.beside is not None,
    )


def _place(exits: Sequence[str], node: Node) -> tuple[int, bool, int]:
    """The order of nodes: by column, the egress last of its own, and those exits first that connections take first."""
    return COLUMNS.index(node.column), node.vpc is None, exits.index(node.name) if node.name in exits else 0


# ── Who leads to whom ───────────────────────────────────────────────────────────────────────────────────────


class _Chain(NamedTuple):
    """The nodes that connections cross one after another, the server last if any of them reaches it."""

    nodes: tuple[str, ...]
    reaches: bool


def _chains(topology: Topology) -> list[_Chain]:
    """One for each path; from an ENI whose connections all end, it goes as far as they come."""
    crossed = [
        (source.node, node_name_of_server(server.name), path)
        for server in topology.servers
        for source in topology.sources
        for transport in _TRANSPORTS
        for path in paths(topology, source.name, server.name, transport)
    ]
    passing = {path.gateway for _, _, path in crossed if path.dead_end is None or path.dead_end.answers}
    chains = []
    for source, server, path in crossed:
        hops = [hop.node for hop in path.hops]
        if path.gateway in passing and path.leads:
            chains.append(_Chain(tuple(dict.fromkeys((source, *hops, server))), reaches=True))
        else:
            end = len(hops) if path.dead_end is None else hops.index(path.dead_end.node) + 1
            chains.append(_Chain(tuple(dict.fromkeys((source, *hops[:end]))), reaches=False))
    return chains


def _edges(nodes: Sequence[Node], chains: Iterable[_Chain], beside: Iterable[tuple[str, str]]) -> Pairs:
    """Between nodes that are next to one another in a chain; what appears beside a node leads where that leads."""
    first = {node.name: node.name for node in nodes} | dict(beside)
    alike: dict[str, list[str]] = {}
    for name in first:
        alike.setdefault(first[name], []).append(name)
    pairs = dict.fromkeys(
        pair
        for chain in chains
        for left, right in pairwise(name for name in chain.nodes if name in alike)
        for pair in product(alike[left], alike[right])
    )
    place = {name: number for number, name in enumerate(first)}
    columns = {node.name: COLUMNS.index(node.column) for node in nodes}

    def order(pair: tuple[str, str]) -> tuple[int, int, int]:
        left, right = pair
        if COLUMNS[columns[right]] == "servers":  # server by server, the egress last
            return columns[right], place[right], -columns[left]
        return columns[right], place[first[left]], 0

    return tuple(sorted(pairs, key=order))


def _remarks(topology: Topology) -> Iterator[str]:
    for source in topology.sources:
        for server in topology.servers:
            for path in paths(topology, source.name, server.name):
                end = path.dead_end or path.doubt
                if end and path.eni:
                    yield f"{path.eni.name}: {end.sentence}"

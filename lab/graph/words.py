"""A drawing made ready to be laid out: routers where there are several VPCs, and words where lines do not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from lab.graph.bands import bands
from lab.graph.drawing import COLUMNS, Drawing, Node
from lab.nodes.kind import Shape

__all__ = ["labelled"]


def labelled(drawing: Drawing) -> Drawing:
    """The drawing with a line more for each node of a band in which not all lead to all.

    One VPC's router is a line that all bands cross. Of several VPCs each has its router as a node, once where
    connections leave it and once where they enter it from a hop between VPCs, and says what the router hides.
    """
    unsaid: list[_Unsaid] = []
    if len(drawing.clusters) > 1 or drawing.column("middle"):
        unsaid += _hidden_by_routers(drawing)
        drawing = _with_routers(drawing)
    unsaid += _left_open(drawing)
    said: dict[str, list[str]] = {}
    for name, word, others in unsaid:
        titles = [title for other in others for title in _titles(drawing, other)]
        two_a_line = (", ".join(titles[first : first + 2]) for first in range(0, len(titles), 2))
        said.setdefault(name, []).extend(f"{word} {names}" for names in two_a_line)
    return replace(drawing, nodes=tuple(replace(node, labels=tuple(said.get(node.name, ()))) for node in drawing.nodes))


class _Unsaid(NamedTuple):
    """Connections of a node that its lines leave open, as words: `→ natgw-a, natgw-b`."""

    name: str
    word: str
    others: list[str]


def _left_open(drawing: Drawing) -> Iterator[_Unsaid]:
    """Nodes of bands in which not all lead to all."""
    all_bands = bands(drawing)
    entries, servers = drawing.into("enis"), drawing.into("servers")
    for eni in (name for band in all_bands.entries if not band.complete for name in band.near):
        yield _Unsaid(eni, "of", [left for left, right in entries if right == eni])
    for column, of in all_bands.into.items():
        incomplete = [band for band in of if not band.complete]
        if column == "servers":
            for server in (name for band in incomplete for name in band.far):
                yield _Unsaid(server, "by", [left for left, right in servers if right == server])
        else:
            for near in (name for band in incomplete for name in band.near):
                yield _Unsaid(near, "→", [right for left, right in drawing.into(column) if left == near])


def _titles(drawing: Drawing, name: str) -> Iterator[str]:
    """What a node is called; what only leads on has the names of what it leads to."""
    node = next(node for node in drawing.nodes if node.name == name)
    if node.title and node.column != "entering":
        yield node.title
    else:
        for left, right in drawing.edges:
            if left == name:
                yield from _titles(drawing, right)


# ── Routers ─────────────────────────────────────────────────────────────────────────────────────────────────


def _with_routers(drawing: Drawing) -> Drawing:
    """The drawing with a node for each router, so that every edge leads from a column to the next one."""
    nodes = {node.name: node for node in drawing.nodes}
    steps = {edge: _routers(drawing, nodes[edge[0]], nodes[edge[1]]) for edge in drawing.edges}
    nodes |= {router.name: router for routers in steps.values() for router in routers}
    edges: dict[tuple[str, str], None] = {}
    for (left, right), routers in steps.items():
        crossed = [left, *(router.name for router in routers), right]
        edges |= dict.fromkeys(pairwise(crossed))
    ordered = sorted(nodes.values(), key=lambda node: COLUMNS.index(node.column))
    return replace(drawing, nodes=tuple(ordered), edges=tuple(edges))


def _routers(drawing: Drawing, left: Node, right: Node) -> tuple[Node, ...]:
    """What connections cross between two nodes of a drawing with several VPCs."""
    routers = {vpc.name: vpc.router for vpc in drawing.clusters}
    crossed = []
    if left.column == "enis" and left.vpc is not None:
        crossed.append(_router(routers[left.vpc], "leaving", left.vpc))
        if drawing.column("middle") and right.column != "middle":  # within a VPC, past what leads to others
            crossed.append(Node(f"past hops {left.vpc}", "middle", Shape(), ""))
    if drawing.column("middle") and right.column == "exits" and right.vpc is not None:
        crossed.append(_router(routers[right.vpc], "entering", right.vpc))
    return tuple(crossed)


def _router(name: str, column: str, vpc: str) -> Node:
    return Node(f"{name} {column}", column, Shape(), name, vpc=vpc)


def _hidden_by_routers(drawing: Drawing) -> Iterator[_Unsaid]:
    """Nodes whose connections a router does not lead to everything behind it, with what it leads them to."""
    nodes = {node.name: node for node in drawing.nodes}
    by_router: dict[str, list[tuple[str, str]]] = {}
    for edge in drawing.edges:
        if routers := _routers(drawing, nodes[edge[0]], nodes[edge[1]]):
            by_router.setdefault(routers[0].name, []).append(edge)
    for edges in by_router.values():
        ins, outs = (dict.fromkeys(names) for names in zip(*edges, strict=True))
        if len(edges) < len(ins) * len(outs):
            yield from (_Unsaid(name, "→", [right for left, right in edges if left == name]) for name in ins)

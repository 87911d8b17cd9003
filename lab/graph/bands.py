"""Which nodes belong together: the bands between two columns, and the order of each column.

Nodes that lead to one another form a band. ENIs stand in two bands at once, with functions and with what leads out of
the VPC, so they come in an order that keeps the first ones together; of the others, those that would interlace become
one. Where a line does not say who leads to whom, because not all of a band lead to all, the nodes say it in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.graph.drawing import COLUMNS, Drawing, Node, Pairs

__all__ = ["Band", "Bands", "bands"]


@dataclass(frozen=True, slots=True)
class Band:
    """Nodes that lead to one another, by their names."""

    near: tuple[str, ...]
    """Towards the ENIs, or ENIs."""
    far: tuple[str, ...]
    complete: bool
    """Whether each on one side leads to each on the other."""


@dataclass(frozen=True, slots=True)
class Bands:
    """All bands, from top to bottom, and the order in which each column is drawn."""

    entries: tuple[Band, ...]
    """Between functions and ENIs; these are the near side."""
    into: Mapping[str, tuple[Band, ...]]
    """Column on the right of the ENIs → the bands whose far side it is; from left to right."""
    order: Mapping[str, tuple[str, ...]]
    """Column → those of its nodes that edges lead to."""
    idle: Mapping[str, tuple[str, ...]]
    """Column → the others."""


def bands(drawing: Drawing) -> Bands:
    """Which nodes belong together, from top to bottom."""
    columns = [column for column in COLUMNS[COLUMNS.index("enis") + 1 :] if drawing.column(column)]
    pairs = {column: drawing.into(column) for column in columns}
    enis = _enis(drawing, pairs[columns[0]] if columns else ())
    egress = () if drawing.egress is None else (drawing.egress.name,)
    order, idle, into = {"enis": enis}, dict[str, tuple[str, ...]](), dict[str, tuple[Band, ...]]()
    near = enis
    for column, following in zip(columns, [*columns[1:], None], strict=True):
        nodes = drawing.column(column)
        led_to = {right for _, right in pairs[column]}
        into[column] = _together(near, [node.name for node in nodes if node.name in led_to], pairs[column])
        by_destination = _by_destination(drawing, nodes, pairs[following] if following else ())
        order[column] = tuple(
            name for band in into[column] for name in sorted(band.far, key=by_destination.__getitem__)
        )
        idle[column] = tuple(node.name for node in nodes if node.name not in led_to)
        near = (*order[column], *egress)
    entries = tuple((eni, function) for function, eni in drawing.into("enis"))
    functions = [node.name for node in drawing.column("functions")]
    return Bands(_together(enis, functions, entries), into, order, idle)


def _enis(drawing: Drawing, routes: Pairs) -> tuple[str, ...]:
    """VPC by VPC, those of a function together, of these those with the same way; the egress is the last."""
    entries, ways = _numbered(drawing.into("enis")), _numbered(routes)
    nodes = drawing.column("enis")

    def place(node: Node) -> tuple[int, int, int]:
        return _vpc(drawing, node), entries[node.name], ways.get(node.name, len(ways))

    return tuple(node.name for node in sorted(nodes, key=place))


def _by_destination(drawing: Drawing, nodes: Iterable[Node], ways_on: Pairs) -> dict[str, tuple[int, int]]:
    """Node → its place within a band."""
    numbers = _numbered(ways_on)
    return {node.name: (_vpc(drawing, node), numbers.get(node.name, -1)) for node in nodes}


def _vpc(drawing: Drawing, node: Node) -> int:
    """The number of its VPC; that of the resolver comes last, which hangs below, and what is in none after that."""
    vpcs = [vpc.name for vpc in drawing.clusters if vpc.name != drawing.resolver.vpc]
    return vpcs.index(node.vpc) if node.vpc in vpcs else len(vpcs) + (node.vpc is None)


def _numbered(pairs: Pairs) -> dict[str, int]:
    """Node → the number of the first node that it is connected with, whichever way: the same for all of those."""
    numbers: dict[str, int] = {}
    for left, right in pairs:
        old = {numbers[name] for name in (left, right) if name in numbers}
        number = min(old, default=len(numbers))
        numbers.update({name: number for name, was in numbers.items() if was in old})
        numbers[left] = numbers[right] = number
    return numbers


def _together(near: Sequence[str], far: Sequence[str], pairs: Pairs) -> tuple[Band, ...]:
    """The bands between two columns, by the order of the near one; those that interlace there become one."""
    numbers = _numbered(pairs)
    groups: list[tuple[int, int, set[int]]] = []
    for number in dict.fromkeys(numbers[name] for name in near if name in numbers):
        rows = [row for row, name in enumerate(near) if numbers.get(name) == number]
        first, last, of = rows[0], rows[-1], {number}
        while groups and groups[-1][1] > first:
            before = groups.pop()
            first, last, of = before[0], max(before[1], last), before[2] | of
        groups.append((first, last, of))
    return tuple(
        _band(near, far, pairs, {name for name, number in numbers.items() if number in of}) for *_, of in groups
    )


def _band(near: Iterable[str], far: Iterable[str], pairs: Pairs, among: set[str]) -> Band:
    nears = tuple(name for name in near if name in among)
    fars = tuple(name for name in far if name in among)
    return Band(nears, fars, {(one, other) for one in nears for other in fars} <= set(pairs))

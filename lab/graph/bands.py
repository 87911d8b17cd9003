"""Which nodes belong together: the bands between two columns, and the order of each column.

Nodes that lead to one another form a band. ENIs stand in two bands at once, with functions and with what leads out of
the VPC, so they come in an order that keeps the first ones together; of the others, those that would interlace become
one. Where lines do not show which node leads to which, because not all of a band lead to all, texts in the nodes do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

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
    """Column → those of its nodes that no edge leads to."""


def bands(drawing: Drawing) -> Bands:
    """Which nodes belong together, from top to bottom."""
    columns = [column for column in COLUMNS[COLUMNS.index("enis") + 1 :] if drawing.column(column)]
    enis = _enis(drawing, drawing.into(columns[0]))
    order, idle, into = {"enis": enis}, dict[str, tuple[str, ...]](), dict[str, tuple[Band, ...]]()
    near = enis
    for column, following in zip_longest(columns, columns[1:]):
        into[column], order[column] = _led_to(drawing, near, column, drawing.into(following) if following else ())
        idle[column] = tuple(node.name for node in drawing.column(column) if node.name not in order[column])
        near = (*order[column], *(() if drawing.egress is None else (drawing.egress.name,)))
    functions = [node.name for node in drawing.column("functions")]
    entries = tuple((eni, function) for function, eni in drawing.into("enis"))
    return Bands(_together(enis, functions, entries), into, order, idle)


def _led_to(
    drawing: Drawing, near: Sequence[str], column: str, ways_on: Pairs
) -> tuple[tuple[Band, ...], tuple[str, ...]]:
    """The bands that end in a column, and its nodes in their order: within a band by VPC and by where they lead."""
    pairs, numbers = drawing.into(column), _numbered(ways_on)
    led_to = {right for _, right in pairs}
    nodes = {node.name: node for node in drawing.column(column) if node.name in led_to}

    def place(name: str) -> tuple[int, int]:
        return _vpc(drawing, nodes[name]), numbers.get(name, -1)

    into = _together(near, list(nodes), pairs)
    return into, tuple(name for band in into for name in sorted(band.far, key=place))


def _enis(drawing: Drawing, routes: Pairs) -> tuple[str, ...]:
    """VPC by VPC, those of a function together, of these those with the same way; the egress is the last."""
    entries, ways = _numbered(drawing.into("enis")), _numbered(routes)
    nodes = drawing.column("enis")

    def place(node: Node) -> tuple[int, int, int]:
        return _vpc(drawing, node), entries.get(node.name, len(entries)), ways.get(node.name, len(ways))

    return tuple(node.name for node in sorted(nodes, key=place))


def _vpc(drawing: Drawing, node: Node) -> int:
    """The number of its VPC; what is in none comes last."""
    vpcs = [vpc.name for vpc in drawing.clusters]
    return len(vpcs) if node.vpc is None else vpcs.index(node.vpc)


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

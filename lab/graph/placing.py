"""Where nodes stand: four columns, rows by which no line has to cross another one's, whatever the unit of a row.

Nodes that lead to one another form a band: those on its left and those on its right stand side by side, and the next
band begins below both. ENIs stand in two bands at once, with functions and with ways out of the VPC, so they come in an
order that keeps the first ones together; of the others, those that would interlace become one. Where a line does not
say who leads to whom, because not all on the left lead to all on the right, the nodes say it in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.graph.drawing import Drawing, Node, Pairs

__all__ = ["Band", "Bands", "Placing", "bands", "leading", "place"]


@dataclass(frozen=True, slots=True)
class Band:
    """Nodes that lead to one another, by their names."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    complete: bool
    """Whether each on the left leads to each on the right."""


@dataclass(frozen=True, slots=True)
class Bands:
    """All bands between four columns, each column in the order in which it is drawn."""

    entries: tuple[Band, ...]
    routes: tuple[Band, ...]
    ways_out: tuple[Band, ...]
    enis: tuple[str, ...]
    """And the egress, the last."""
    exits: tuple[str, ...]
    """Those that connections take."""
    idle: tuple[str, ...]
    servers: tuple[str, ...]


def bands(drawing: Drawing) -> Bands:
    """Which nodes belong together, from top to bottom."""
    enis = tuple(each.name for each in (*drawing.enis, *((drawing.egress,) if drawing.egress else ())))
    entries, routes = _numbered(drawing.entries), _numbered(drawing.routes)
    order = sorted(range(len(enis)), key=lambda at: (entries[enis[at]], routes.get(enis[at], len(routes)), at))
    if drawing.egress:
        order = [*(at for at in order if at != len(enis) - 1), len(enis) - 1]
    enis = tuple(enis[at] for at in order)
    functions = tuple(each.name for each in drawing.functions)
    used = {out for _, out in drawing.routes}
    named = [each.name for each in drawing.exits]
    middle = _together(enis, [each for each in named if each in used], drawing.routes)
    exits = tuple(out for band in middle for out in _by_destination(band.right, drawing.ways_out))
    leaving = (*exits, *((drawing.egress.name,) if drawing.egress else ()))
    servers = [each.name for each in drawing.servers]
    last = _together(leaving, servers, drawing.ways_out)
    reached = tuple(server for band in last for server in band.right)
    return Bands(
        entries=_together(enis, functions, tuple((eni, function) for function, eni in drawing.entries)),
        routes=middle,
        ways_out=last,
        enis=enis,
        exits=exits,
        idle=tuple(each for each in named if each not in used),
        servers=(*reached, *(each for each in servers if each not in reached)),
    )


def leading(pairs: Pairs, *, to: str) -> tuple[str, ...]:
    """Who leads to a node."""
    return tuple(left for left, right in pairs if right == to)


def _numbered(pairs: Pairs) -> dict[str, int]:
    """Node → the number of the first node that it is connected with, whichever way: the same for all of those."""
    numbers: dict[str, int] = {}
    for left, right in pairs:
        old = {numbers[each] for each in (left, right) if each in numbers}
        number = min(old, default=len(numbers))
        numbers.update({name: number for name, was in numbers.items() if was in old})
        numbers[left] = numbers[right] = number
    return numbers


def _by_destination(exits: Sequence[str], ways_out: Pairs) -> list[str]:
    numbers = _numbered(ways_out)
    return sorted(exits, key=lambda out: numbers.get(out, -1))


def _together(left: Sequence[str], right: Iterable[str], pairs: Pairs) -> tuple[Band, ...]:
    """The bands between two columns, by the order of the left one; those that interlace there become one."""
    numbers = _numbered(pairs)
    groups: list[tuple[int, int, set[int]]] = []
    for number in dict.fromkeys(numbers[each] for each in left if each in numbers):
        rows = [at for at, each in enumerate(left) if numbers.get(each) == number]
        first, last, of = rows[0], rows[-1], {number}
        while groups and groups[-1][1] > first:
            before = groups.pop()
            first, last, of = before[0], max(before[1], last), before[2] | of
        groups.append((first, last, of))
    others = tuple(right)
    known = set(pairs)
    found = []
    for _, _, of in groups:
        lefts = tuple(each for each in left if numbers.get(each) in of)
        rights = tuple(each for each in others if numbers.get(each) in of)
        found.append(Band(lefts, rights, all((one, other) in known for one in lefts for other in rights)))
    return tuple(found)


# ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Placing:
    """Node → the row in which it begins; rows are lines of text, or pixels."""

    tops: Mapping[str, int]
    bottom: int
    """The first row below all that is in the VPC."""
    end: int
    """The first row below everything."""


class _Column:
    """Stacks of nodes, one below the other."""

    def __init__(self, height: Callable[[str], int], tops: dict[str, int]) -> None:
        self._height, self._tops = height, tops
        self.end = 0

    def put(self, names: Iterable[str], at: int) -> None:
        """Place nodes from a row on, or below what is here."""
        self.end = max(self.end, at)
        for name in names:
            self._tops[name] = self.end
            self.end += self._height(name)


def place(drawing: Drawing, found: Bands, height: Callable[[Node], int], gap: int) -> Placing:
    """Rows for all nodes but the resolver; `gap` is what the end of the VPC takes where something lies below it."""
    nodes = {each.name: each for each in drawing.nodes}

    def high(name: str) -> int:
        return height(nodes[name])

    tops: dict[str, int] = {}
    functions, enis, exits, servers = (_Column(high, tops) for _ in range(4))
    by_entry, by_route = ({band.left[0]: band for band in each} for each in (found.entries, found.routes))
    by_way_out = {band.left[0]: band for band in found.ways_out}
    entry_first = {band.left[0]: band for band in found.entries}
    for name in (each for each in found.enis if each != _name(drawing.egress)):
        at = max(enis.end, functions.end if name in entry_first else 0, exits.end if name in by_route else 0)
        if name in by_entry:
            functions.put(by_entry[name].right, at)
        if name in by_route:
            exits.end = max(exits.end, at)
            for out in (each for each in found.exits if each in by_route[name].right):
                row = max(exits.end, servers.end if out in by_way_out else 0)
                exits.put((out,), row)
                if out in by_way_out:
                    servers.put(by_way_out[out].right, row)
        enis.put((name,), at)
    _centre(found.routes, tops, high, follow=found.ways_out)
    exits.put(found.idle, max((tops[out] + high(out) for out in found.exits), default=exits.end))
    bottom = max(enis.end, exits.end)
    if drawing.egress is not None:
        at = max(bottom + gap, functions.end)
        functions.put(by_entry[drawing.egress.name].right, at)
        enis.put((drawing.egress.name,), at)
        if drawing.egress.name in by_way_out:
            servers.put(by_way_out[drawing.egress.name].right, servers.end)
    _centre(found.entries, tops, high)
    _centre(found.ways_out, tops, high)
    reached = [each for each in found.servers if each in tops]
    servers.put(
        (each for each in found.servers if each not in reached),
        max((tops[each] + high(each) for each in reached), default=0),
    )
    return Placing(tops, bottom, max(tops[each] + high(each) for each in tops))


def _name(node: Node | None) -> str | None:
    return None if node is None else node.name


def _centre(
    of: Sequence[Band], tops: dict[str, int], height: Callable[[str], int], follow: Sequence[Band] = ()
) -> None:
    """Move what stands on the right of each band down to the middle of what stands on the left."""
    for number, band in enumerate(of):
        rows = [tops[each] for each in band.left]
        mine = [tops[each] for each in band.right]
        wanted = (min(rows) + max(rows) - min(mine) - max(mine)) // 2
        below = [tops[each] for later in of[number + 1 :] for each in later.right]
        end = max(tops[each] + height(each) for each in band.right)
        lefts_end = max(tops[each] + height(each) for each in band.left)
        room = min([max(lefts_end, end) - end if follow else wanted, *(each - end for each in below)])
        shift = max(0, min(wanted, room))
        _shift(band.right, shift, tops)
        for later in follow:
            if later.left[0] in band.right:
                _shift(later.right, shift, tops)


def _shift(names: Iterable[str], by: int, tops: dict[str, int]) -> None:
    for name in names:
        tops[name] += by

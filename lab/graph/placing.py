"""Where nodes stand: rows by which no line has to cross another one's, whatever the unit of a row.

The nodes on both sides of a band (`lab.graph.bands`) stand side by side, and the next band begins below both. VPCs
stand one below the other, and below all of them the egress, which is in none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lab.graph.bands import Band, Bands
from lab.graph.drawing import Drawing, Node

__all__ = ["Placing", "place", "zones"]


@dataclass(frozen=True, slots=True)
class Placing:
    """Node → the row in which it begins; rows are lines of text, or pixels."""

    tops: Mapping[str, int]
    bottom: int
    """The first row below all that is in VPCs."""


def place(drawing: Drawing, all_bands: Bands, height: Callable[[Node], int], gap: int, between: int) -> Placing:
    """Rows for all nodes but the resolver.

    `gap` is what the end of VPCs takes where something lies below it, `between` what lies between two of them.
    """
    placer = _Placer(drawing, all_bands, height, between)
    placer.place_vpcs()
    bottom = placer.bottom()
    if drawing.egress is not None:
        placer.place_egress(drawing.egress.name, bottom + gap)
    placer.place_what_is_left()
    return Placing(placer.tops, bottom)


def zones(drawing: Drawing) -> tuple[tuple[str, ...], ...]:
    """Columns that are in VPCs, side by side: what leads from VPC to VPC stands between two zones."""
    if drawing.column("middle"):
        return (("enis", "leaving"), *((("entering", "exits"),) if drawing.column("exits") else ()))
    return (("enis", "leaving", "exits"),)


class _Placer:
    """Columns of nodes, each below the one before it."""

    def __init__(self, drawing: Drawing, all_bands: Bands, height: Callable[[Node], int], between: int) -> None:
        self._bands, self._between = all_bands, between
        self._nodes = {node.name: node for node in drawing.nodes}
        self._heights = {node.name: height(node) for node in drawing.nodes}
        self._begins_entry = {band.near[0]: band for band in all_bands.entries}
        self._begins = {column: {band.near[0]: band for band in of} for column, of in all_bands.into.items()}
        self._columns = ["enis", *all_bands.into]
        self._zones = {column: zone for zone in zones(drawing) for column in zone}
        self._vpc_of_zone: dict[tuple[str, ...], str | None] = {}
        self._ends: defaultdict[str, int] = defaultdict(int)
        self.tops: dict[str, int] = {}

    # ── From top to bottom ──────────────────────────────────────────────────────────────────────────────────

    def place_vpcs(self) -> None:
        """ENI by ENI with all that it is the first to lead to, then each node in the middle of what leads to it."""
        for name in self._bands.order["enis"]:
            if self._nodes[name].vpc is None:
                continue
            band = self._begins_entry.get(name)
            at = max(self._ends["functions"] if band else 0, self._beside(name, "enis"))
            at = self._in_its_vpc(name, at)
            self._stack(band.far if band else (), at)
            self._lead_on(name, "enis", at)
            self._stack((name,), at)
        for number, column in enumerate(self._columns[1:], 1):
            if column != "servers":
                self._centre(self._bands.into[column], self._columns[number + 1 :])
        for column, names in self._bands.idle.items():
            for name in names if column != "servers" else ():
                self._stack_idle(name)

    def bottom(self) -> int:
        """The row below all that stands between functions and servers."""
        inside = [name for name in self.tops if self._nodes[name].column not in ("functions", "servers")]
        return self._end_of(inside)

    def place_egress(self, egress: str, row: int) -> None:
        """From a row on, with its functions, and with servers that are reached no other way."""
        at = max(row, self._ends["functions"])
        self._stack(self._begins_entry[egress].far, at)
        self._stack((egress,), at)
        band = self._begins.get("servers", {}).get(egress)
        self._stack(band.far if band else (), 0)

    def place_what_is_left(self) -> None:
        """Functions and servers each in the middle of where lines lead; below them servers that nothing leads to."""
        self._centre(self._bands.entries)
        self._centre(self._bands.into.get("servers", ()))
        self._stack(self._bands.idle.get("servers", ()), self._end_of(self._bands.order.get("servers", ())))

    # ── One node ────────────────────────────────────────────────────────────────────────────────────────────

    def _following(self, column: str) -> str | None:
        after = self._columns[self._columns.index(column) + 1 :]
        return after[0] if after else None

    def _beside(self, name: str, column: str) -> int:
        """The first row in which there is room for a node, and beside it for what it is the first to lead to."""
        following = self._following(column)
        begins = following is not None and name in self._begins[following]
        return max(self._ends[column], self._ends[following] if following and begins else 0)

    def _lead_on(self, name: str, column: str, at: int) -> None:
        """Place what a node is the first to lead to, column by column."""
        following = self._following(column)
        if following is None or name not in self._begins[following]:
            return
        self._ends[following] = max(self._ends[following], at)
        band = self._begins[following][name]
        for far in (far for far in self._bands.order[following] if far in band.far):
            row = self._in_its_vpc(far, self._beside(far, following))
            self._stack((far,), row)
            self._lead_on(far, following, row)

    def _in_its_vpc(self, name: str, row: int) -> int:
        """The row, or one below the VPC that ends here."""
        node = self._nodes[name]
        zone = self._zones.get(node.column)
        if zone is None:
            return row
        before = self._vpc_of_zone.setdefault(zone, node.vpc)
        if before == node.vpc:
            return row
        self._vpc_of_zone[zone] = node.vpc
        idle = [name for column in zone for name in self._bands.idle.get(column, ()) if self._nodes[name].vpc == before]
        ends = max(self._ends[column] for column in zone)
        return max(row, ends + sum(self._heights[name] for name in idle) + self._between)

    def _stack(self, names: Iterable[str], at: int) -> None:
        """Place nodes from a row on, or below what is in their column."""
        for name in names:
            column = self._nodes[name].column
            self.tops[name] = max(self._ends[column], at)
            self._ends[column] = self.tops[name] + self._heights[name]

    def _stack_idle(self, name: str) -> None:
        """Below the others of its VPC."""
        node = self._nodes[name]
        zone = self._zones.get(node.column, ())
        same = [other for other in self.tops if self._nodes[other].vpc == node.vpc]
        column = [other for other in same if self._nodes[other].column == node.column]
        rows = [self.tops[other] for other in same if self._nodes[other].column in zone]
        if column:
            row = self._end_of(column)
        elif rows:
            row = min(rows)
        else:
            row = self._in_its_vpc(name, self._ends[node.column])
        self.tops[name] = row
        self._ends[node.column] = max(self._ends[node.column], row + self._heights[name])

    def _end_of(self, names: Iterable[str]) -> int:
        return max((self.tops[name] + self._heights[name] for name in names), default=0)

    # ── In the middle ───────────────────────────────────────────────────────────────────────────────────────

    def _centre(self, of: Sequence[Band], following: Sequence[str] = ()) -> None:
        """Move the far side of each band down to the middle of its near side, with what it leads to."""
        for band in of:
            near, far = [self.tops[name] for name in band.near], [self.tops[name] for name in band.far]
            wanted = (min(near) + max(near) - min(far) - max(far)) // 2
            moved = [band.far, *self._led_to(band.far, following)]
            room = [self._room_below(names) for names in moved if names]
            if following:  # no further than the near side reaches
                room.append(max(0, self._end_of(band.near) - self._end_of(band.far)))
            shift = max(0, min(wanted, *room))
            for name in (name for names in moved for name in names):
                self.tops[name] += shift
                self._ends[self._nodes[name].column] = max(self._ends[self._nodes[name].column], self._end_of((name,)))

    def _led_to(self, names: Collection[str], following: Sequence[str]) -> list[tuple[str, ...]]:
        """Column by column, the nodes that these are the first to lead to."""
        led = []
        for column in following:
            names = tuple(far for band in self._bands.into[column] if band.near[0] in names for far in band.far)
            led.append(names)
        return led

    def _room_below(self, names: Collection[str]) -> int:
        """How far nodes of a column can be moved down."""
        end, moved = self._end_of(names), self._nodes[next(iter(names))]
        below = [
            self.tops[name] - (self._between if self._nodes[name].vpc != moved.vpc else 0) - end
            for name in self.tops
            if self._nodes[name].column == moved.column and name not in names and self.tops[name] >= end
        ]
        return min(below, default=_ANYTHING)


_ANYTHING = 1 << 30

"""The lines of a drawing, in whatever units its columns and rows are: straight pieces, across or down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.graph.bands import Band, Bands
from lab.graph.drawing import Drawing, Node
from lab.graph.grid import Grid

__all__ = ["Piece", "Rails", "Wiring"]


class Piece(NamedTuple):
    """A line, across from left to right or down from top to bottom."""

    left: int
    top: int
    right: int
    bottom: int
    dashed: bool = False
    """Whether it leads to what is not there from the beginning."""


class Rails(NamedTuple):
    """The rows in which lines cross the two routers, from top to bottom; the first one is where the name stands."""

    service: list[int]
    vpc: list[int]


@dataclass(frozen=True, slots=True)
class Wiring:
    """All lines between nodes. `row` says where a node's lines are, `behind` where those to its right begin."""

    drawing: Drawing
    bands: Bands
    at: Grid
    row: Callable[[str], int]
    behind: Callable[[str], int]
    before: int
    """How far from a node's beginning the lines on its left end."""
    short: int
    """How far from the line that joins ENIs a line that leads nowhere ends."""

    def pieces(self) -> Iterator[Piece]:
        """The pieces of all lines except those of the two routers."""
        for band in self.bands.entries:
            yield from self._crossing("enis", band.far, band.near, self._middle(band))
        for column, bands in self.bands.into.items():
            for band in bands:
                yield from self._crossing(column, band.near, band.far, self._middle(band))
        for node in self.drawing.nodes:
            row, behind = self.row, self.behind
            if node.dead:
                yield Piece(behind(node.name), row(node.name), self.stop(node) - self.short, row(node.name))
            if not node.title:  # lines go on through it
                begin = self.at.columns[node.column] - self.before
                yield Piece(begin, row(node.name), behind(node.name), row(node.name))
        yield from self._idle()

    def _idle(self) -> Iterator[Piece]:
        """From the only VPC's router to ways out that no connection takes."""
        gap = self.at.gaps.get("exits")
        if gap and gap.router is not None:
            for name in self.bands.idle["exits"]:
                yield self._across(name, gap.router + 1, self.at.columns["exits"] - self.before)

    def rails(self) -> Rails:
        """Where the two routers are; that of the VPC has no rows where routers are nodes, or nothing is in the VPC."""
        entries = [self._middle(band) for band in self.bands.entries]
        gap = self.at.gaps.get("exits")
        if gap is None or gap.router is None:
            return Rails(entries, [])
        routes = [self._middle(band) for band in self.bands.into["exits"]]
        enis = [node.name for node in self.drawing.column("enis") if node.vpc is not None]
        idle = self.bands.idle["exits"]
        return Rails(entries, [*(routes or [self.row(name) for name in enis[:1]]), *map(self.row, idle)])

    def stop(self, node: Node) -> int:
        """Where lines on the right of a node are joined."""
        columns = list(self.at.columns)
        return self.at.gaps[columns[columns.index(node.column) + 1]].joined

    def _crossing(self, column: str, left: Sequence[str], right: Sequence[str], middle: int) -> Iterator[Piece]:
        gap = self.at.gaps[column]
        yield from (self._across(name, self.behind(name), gap.joined) for name in left)
        if gap.joined == gap.parted:
            yield self._down(gap.joined, (*left, *right), self.row(left[0]))
        else:
            yield self._down(gap.joined, left, middle)
            yield Piece(gap.joined, middle, gap.parted, middle)
            yield self._down(gap.parted, right, middle)
        yield from (self._across(name, gap.parted, self.at.columns[column] - self.before) for name in right)

    def _across(self, name: str, left: int, right: int) -> Piece:
        later = any(node.name == name and node.later for node in self.drawing.nodes)
        return Piece(left, self.row(name), right, self.row(name), later)

    def _down(self, column: int, names: Iterable[str], row: int) -> Piece:
        rows = [row, *map(self.row, names)]
        return Piece(column, min(rows), column, max(rows))

    def _middle(self, band: Band) -> int:
        """The row in which a band crosses a router: straight on where there is only one on a side."""
        rows = [self.row(name) for name in (band.far if len(band.near) > 1 else band.near)]
        return (min(rows) + max(rows)) // 2

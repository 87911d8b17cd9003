"""The lines of a drawing, in whatever units its columns and rows are: straight pieces, across or down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.graph.bands import Band, Bands
from lab.graph.drawing import Drawing, Node

__all__ = ["Gap", "Grid", "Piece", "Rails", "Wiring", "several_far", "several_near"]


class Piece(NamedTuple):
    """A line, across from left to right or down from top to bottom."""

    left: int
    top: int
    right: int
    bottom: int
    dashed: bool = False
    """Whether it leads to what is not there from the beginning."""


class Gap(NamedTuple):
    """What lies between two columns: lines from the left are joined, may cross a router, and are parted again."""

    joined: int
    parted: int
    """The same as `joined` where there is no router between."""
    router: int | None = None
    """Where the router begins."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where everything begins, from left to right."""

    columns: Mapping[str, int]
    gaps: Mapping[str, Gap]
    """Column → the gap on its left."""
    zones: Sequence[tuple[int, int]]
    """The borders of VPCs, as `lab.graph.placing.zones` has them."""
    end: int


class Rails(NamedTuple):
    """The rows in which lines cross the two routers, from top to bottom; the first one is where the name stands."""

    service: list[int]
    vpc: list[int]


def several_far(bands: Iterable[Band]) -> bool:
    """Whether any of them has several nodes on its far side."""
    return any(len(band.far) > 1 for band in bands)


def several_near(bands: Iterable[Band]) -> bool:
    """Whether any of them has several nodes on its near side."""
    return any(len(band.near) > 1 for band in bands)


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
        """All of them, but for the two routers' own."""
        for band in self.bands.entries:
            yield from self._crossing("enis", band.far, band.near, self._middle(band))
        for column, bands in self.bands.into.items():
            for band in bands:
                yield from self._crossing(column, band.near, band.far, self._middle(band))
        for node in self.drawing.nodes:
            if node.dead:
                row = self.row(node.name)
                yield Piece(self.behind(node.name), row, self.stop(node) - self.short, row)
            if not node.title:  # lines go on through it
                left = self.at.columns[node.column] - self.before
                yield Piece(left, self.row(node.name), self.behind(node.name), self.row(node.name))
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

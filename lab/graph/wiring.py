"""The lines of a drawing, in whatever units its columns and rows are: straight pieces, across or down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from lab.graph.drawing import Drawing
from lab.graph.placing import Band, Bands

__all__ = ["Columns", "Piece", "Rails", "Wiring", "several"]


class Piece(NamedTuple):
    """A line, across from left to right or down from top to bottom."""

    left: int
    top: int
    right: int
    bottom: int
    dashed: bool = False
    """Whether it leads to what is not there from the beginning."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where everything begins, from left to right."""

    functions: int
    gathered: int
    """The line that joins functions."""
    service: int
    spread: int
    """The line that leads to ENIs."""
    border: int
    enis: int
    joined: int
    """The line that joins ENIs."""
    vpc: int
    parted: int
    """The line that leads to ways out."""
    exits: int
    far_border: int
    shared: int
    """The line between ways out and servers."""
    servers: int
    end: int


class Rails(NamedTuple):
    """The rows in which lines cross the two routers, from top to bottom; the first one is where the name stands."""

    service: list[int]
    vpc: list[int]


def several(bands: Iterable[Band]) -> bool:
    """Whether any of them has several nodes on its right."""
    return any(len(each.right) > 1 for each in bands)


@dataclass(frozen=True, slots=True)
class Wiring:
    """All lines between nodes. `row` says where a node's lines are, `behind` where those to its right begin."""

    drawing: Drawing
    bands: Bands
    at: Columns
    row: Callable[[str], int]
    behind: Callable[[str], int]
    before: int
    """How far from a node's beginning the lines on its left end."""
    short: int
    """How far from the line that joins ENIs a line that leads nowhere ends."""

    def pieces(self) -> Iterator[Piece]:
        """All of them, but for the two routers' own."""
        yield from self._entries()
        yield from self._routes()
        yield from self._ways_out()
        yield from (
            Piece(self.behind(each.name), self.row(each.name), self.at.joined - self.short, self.row(each.name))
            for each in self.drawing.enis
            if each.dead
        )
        for name in self.bands.idle:
            yield self._across(name, self.at.vpc + 1, self.at.exits - self.before)

    def rails(self) -> Rails:
        """Where the two routers are."""
        entries = [self._middle(band) for band in self.bands.entries]
        routes = [self._middle(band) for band in self.bands.routes]
        routes = routes or [self.row(each.name) for each in self.drawing.enis[:1]]
        return Rails(entries, [*routes, *(self.row(name) for name in self.bands.idle)])

    def _entries(self) -> Iterator[Piece]:
        at = self.at
        for band in self.bands.entries:
            middle = self._middle(band)
            yield from (self._across(name, self.behind(name), at.gathered) for name in band.right)
            yield self._down(at.gathered, band.right, middle)
            yield Piece(at.gathered, middle, at.spread, middle)
            yield self._down(at.spread, band.left, middle)
            yield from (self._across(name, at.spread, at.enis - self.before) for name in band.left)

    def _routes(self) -> Iterator[Piece]:
        at = self.at
        for band in self.bands.routes:
            middle = self._middle(band)
            yield from (self._across(name, self.behind(name), at.joined) for name in band.left)
            yield self._down(at.joined, band.left, middle)
            yield Piece(at.joined, middle, at.parted, middle)
            yield self._down(at.parted, band.right, middle)
            yield from (self._across(name, at.parted, at.exits - self.before) for name in band.right)

    def _ways_out(self) -> Iterator[Piece]:
        at = self.at
        for band in self.bands.ways_out:
            yield from (self._across(name, self.behind(name), at.shared) for name in band.left)
            yield self._down(at.shared, (*band.left, *band.right), self.row(band.left[0]))
            yield from (self._across(name, at.shared, at.servers - self.before) for name in band.right)

    def _across(self, name: str, left: int, right: int) -> Piece:
        later = any(each.name == name and each.later for each in self.drawing.enis)
        return Piece(left, self.row(name), right, self.row(name), later)

    def _down(self, column: int, names: tuple[str, ...], row: int) -> Piece:
        rows = [row, *map(self.row, names)]
        return Piece(column, min(rows), column, max(rows))

    def _middle(self, band: Band) -> int:
        """The row in which a band crosses a router: straight on where there is only one on a side."""
        names = band.right if len(band.left) > 1 else band.left
        rows = [self.row(each) for each in names]
        return (min(rows) + max(rows)) // 2

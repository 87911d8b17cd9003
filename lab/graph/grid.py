"""Where the columns of a drawing begin, and what lies between them, whatever the unit of a column."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lab.graph.bands import Band, Bands
from lab.graph.drawing import Drawing

__all__ = ["Columns", "Gap", "Grid", "several_far", "several_near"]


class Gap(NamedTuple):
    """What lies between two columns: lines from the left are joined, may cross a router, and are parted again."""

    joined: int
    parted: int
    """The same as `joined` where there is no router between."""
    router: int | None = None
    """Where the VPC's router begins, if there is one between."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where everything begins, from left to right."""

    columns: Mapping[str, int]
    gaps: Mapping[str, Gap]
    """Column → the gap on its left."""
    zones: Sequence[tuple[int, int]]
    """The borders of VPCs, as `lab.graph.placing.zones` has them."""
    router: int
    """Where the VPC's router is on which the resolver hangs."""
    end: int


def several_far(bands: Sequence[Band]) -> bool:
    """Whether any of them has several nodes on its far side."""
    return any(len(band.far) > 1 for band in bands)


def several_near(bands: Sequence[Band]) -> bool:
    """Whether any of them has several nodes on its near side."""
    return any(len(band.near) > 1 for band in bands)


class Columns(ABC):
    """The columns of one drawing, one after another; each form of a drawing says how far things are apart."""

    def __init__(self, drawing: Drawing, bands: Bands, widths: Mapping[str, int]) -> None:
        self.drawing, self.bands, self.widths = drawing, bands, widths
        self.inside = drawing.resolver.subnet is not None
        """Whether the resolver hangs on a VPC's router."""
        self.router = 0

    def grid(self) -> Grid:
        """Place all columns of the drawing."""
        functions, gap, left, enis = self.functions()
        columns, gaps, zones = {"functions": functions, "enis": enis}, {"enis": gap}, []
        before, end = "enis", enis + self.widths["enis"]
        for column, of in self.bands.into.items():
            stopped = any(node.dead for node in self.drawing.column(before))
            if column == "exits" and before == "enis":
                gap, columns[column] = self.through_the_router(enis, end, of, stopped=stopped)
                self.router = gap.router or 0
            elif before != "middle" and column in ("middle", "servers"):
                gap, right, columns[column] = self.out_of_vpcs(end, of)
                zones.append((left, right))
            elif before == "middle" and column in ("entering", "exits"):
                gap, left, columns[column] = self.into_vpcs(end, stopped=stopped)
            else:
                gap, columns[column] = self.over_no_border(end, of, stopped=stopped)
            gaps[column] = gap
            before, end = column, columns[column] + self.widths[column]
            if column == "leaving":
                self.router = self.middle_of_router(columns[column], end)
        if "servers" not in columns:  # all of them are in VPCs
            _, right, _ = self.out_of_vpcs(end, ())
            zones.append((left, right))
            end = right
        return Grid(columns, gaps, zones, self.router, end)

    @abstractmethod
    def functions(self) -> tuple[int, Gap, int, int]:
        """Where functions begin, what is between them and ENIs, the border of VPCs, where ENIs begin."""

    @abstractmethod
    def through_the_router(self, enis: int, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:
        """Past the router of the only VPC: the gap, and where ways out begin; `stopped`: a line ends in a cross."""

    @abstractmethod
    def out_of_vpcs(self, end: int, of: Sequence[Band]) -> tuple[Gap, int, int]:
        """Over the border: the gap, the border, and the next column."""

    @abstractmethod
    def into_vpcs(self, end: int, *, stopped: bool) -> tuple[Gap, int, int]:
        """Over the border from what is between VPCs: the gap, the border, and the next column."""

    @abstractmethod
    def over_no_border(self, end: int, of: Sequence[Band], *, stopped: bool) -> tuple[Gap, int]:
        """To what is on the same side of the border: the gap, and the next column."""

    @abstractmethod
    def middle_of_router(self, begin: int, end: int) -> int:
        """Where a router would begin that has the middle of one that is a node."""

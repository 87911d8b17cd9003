"""Cells, rows and tables of a report, of numbers and words. Values only."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DASH", "Cell", "Table", "number", "row"]

DASH = "\N{EN DASH}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: its text, and whether it is good, bad or neither."""

    text: str
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose first column names its rows; columns of numbers are those whose title opens with `#`."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    wide: bool = False
    """Whether it needs the page's width."""

    def is_number(self, column: int) -> bool:
        """Whether that column is set right."""
        return self.columns[column].startswith("#")

    @property
    def titles(self) -> tuple[str, ...]:
        """The titles of its columns, for people."""
        return tuple(title.removeprefix("#") for title in self.columns)


def number(value: int | None, tone: str = "") -> Cell:
    """A count; its tone where it is not 0. A dash for what is not known."""
    return Cell(DASH if value is None else f"{value:,}", tone if value else "")


def row(*cells: Cell | str | int | None) -> tuple[Cell, ...]:
    """One row; counts and texts become cells."""
    return tuple(
        cell if isinstance(cell, Cell) else Cell(cell) if isinstance(cell, str) else number(cell) for cell in cells
    )

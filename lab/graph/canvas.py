"""A sheet of characters on which lines meet: each cell knows in which directions its lines lead."""

from __future__ import annotations

__all__ = ["Canvas"]

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_CHARACTERS = " │││─┘┐┤─└┌├─┴┬┼"
"""Sum of the directions of a cell's lines → its character; a line's end looks like the line."""
_DASHED = "╌"


class Canvas:
    """Lines and texts; where both are, the text is seen."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, int], int] = {}
        self._dashed: set[tuple[int, int]] = set()
        self._texts: dict[tuple[int, int], str] = {}

    def across(self, row: int, left: int, right: int, *, dashed: bool = False) -> None:
        """A line from one column to another, both included."""
        for column in range(left, right + 1):
            to = (_LEFT if column > left else 0) | (_RIGHT if column < right else 0)
            self._lines[row, column] = self._lines.get((row, column), 0) | to
            if dashed:
                self._dashed.add((row, column))

    def down(self, column: int, top: int, bottom: int) -> None:
        """A line from one row to another, both included."""
        for row in range(top, bottom + 1):
            to = (_UP if row > top else 0) | (_DOWN if row < bottom else 0)
            self._lines[row, column] = self._lines.get((row, column), 0) | to

    def write(self, row: int, column: int, text: str) -> None:
        """A text, its spaces included."""
        self._texts.update({(row, column + at): character for at, character in enumerate(text)})

    def write_below(self, row: int, column: int, text: str) -> None:
        """A text that is seen only where there is nothing else."""
        for at, character in enumerate(text):
            cell = row, column + at
            if not self._lines.get(cell):
                self._texts.setdefault(cell, character)

    @property
    def rows(self) -> int:
        """How many there are by now."""
        return max((row for row, _ in (*self._lines, *self._texts)), default=-1) + 1

    def text(self) -> str:
        """Lines without spaces at their ends."""
        columns = range(max(column for _, column in (*self._lines, *self._texts)) + 1)
        lines = ("".join(self._at(row, column) for column in columns).rstrip() for row in range(self.rows))
        return "".join(f"{line}\n" for line in lines)

    def _at(self, row: int, column: int) -> str:
        cell = row, column
        if cell in self._texts:
            return self._texts[cell]
        character = _CHARACTERS[self._lines.get(cell, 0)]
        return _DASHED if character == "─" and cell in self._dashed else character

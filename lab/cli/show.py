"""How things are printed: for a person on a terminal in colour, for a pipe as plain text, for a program as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import takewhile
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.burst.run import Progress
    from lab.observe.readings import Reading
    from lab.slots.fill import Fill

__all__ = [
    "STATES",
    "bullet",
    "burst_progress",
    "clock",
    "complain",
    "counts_progress",
    "held_line",
    "notice",
    "number",
    "print_json",
    "say",
    "states",
    "table",
    "verbatim",
]

_WIDTH_IN_A_PIPE = 1000
_GAP = 2  # between the columns of a table


_TURNING = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
"""Line separators and what turns the direction of writing round (Unicode Standard Annex 9, section 2)."""
_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_VISIBLE |= {code: f"\\u{code:04x}" for code in _TURNING}
"""Control characters as text: a name in a run record from elsewhere must not send escape sequences to the terminal."""


@cache
def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_IN_A_PIPE
    return Console(stderr=stderr, width=width, highlight=False, emoji=False)


def say(text: str = "", style: str | None = None) -> None:
    """A line for the person who asked; a terminal breaks it between words, a pipe gets it whole."""
    console = _console(stderr=False)
    console.print(text.translate(_VISIBLE), style=style, markup=False, soft_wrap=not console.is_terminal)


def verbatim(text: str) -> None:
    """A line to be copied: whole, also where a terminal shows it on two."""
    _console(stderr=False).print(text.translate(_VISIBLE), style="dim", markup=False, soft_wrap=True)


def bullet(text: str) -> None:
    """One item of a list, its further lines indented."""
    console = _console(stderr=False)
    if not console.is_terminal:
        say(f"  - {text}")
        return
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row("  -", text)
    console.print(grid, markup=False)


def notice(text: str, style: str = "yellow") -> None:
    """Something to know beside the answer: on standard error, so that pipes and JSON stay clean."""
    _console(stderr=True).print(text.translate(_VISIBLE), style=style, markup=False, soft_wrap=True)


def complain(text: str) -> None:
    """What is wrong, one line or several, as they are."""
    _console(stderr=True).print(text.translate(_VISIBLE), style="red", markup=False, soft_wrap=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def clock(at_s: float) -> str:
    """A Unix time as a clock on this machine's wall has it."""
    return time.strftime("%H:%M:%S", time.localtime(at_s))


STATES = ("#established", "#half-open", "#closing")
"""Columns of a table that tells the slots of limiters apart."""


def states(fill: Fill | None) -> tuple[int | None, ...]:
    """The cells of those columns; dashes where the fill was not read."""
    return (fill.established, fill.half_open_slots, fill.closing) if fill else (None,) * len(STATES)


def held_line(reading: Reading) -> str:
    """What holds a limiter's slots: `natgw 198.51.100.1 to cache tcp: 15 established`."""
    limiter = reading.limiter
    to = f"to {limiter.towards} {limiter.protocol}" if limiter.towards else None
    return f"{' '.join(filter(None, (limiter.node, limiter.share, to)))}: {reading.fill.text if reading.fill else ''}"


def number(value: int | None) -> str:
    """A count as people write it; a dash for none."""
    return "-" if value is None else f"{value:,}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> None:
    """A table; columns of numbers are those whose title opens with `#`, and the ones before them name the rows.

    Columns for which a terminal is too narrow follow in a further table, with the names again: no number is cut.
    """
    texts = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    console = _console(stderr=False)
    for order, group in enumerate(_beside_names(columns, texts, console.width)):
        shown = Table(box=None, padding=(0, 1), pad_edge=False, header_style="bold")
        for index in group:
            if columns[index].startswith("#"):
                shown.add_column(columns[index][1:], justify="right", no_wrap=True)
            else:
                shown.add_column(columns[index], overflow="fold")
        for row in texts:
            shown.add_row(*(escape(row[index].translate(_VISIBLE)) for index in group))
        if order:
            console.print()
        console.print(shown)


def _beside_names(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Which columns a line has room for, each time behind those that name the rows."""
    # Numbers stay whole; text behind them is broken between words.
    least = [
        max(map(len, (title[1:], *cells) if title.startswith("#") else " ".join((title, *cells)).split()), default=0)
        for title, *cells in zip(columns, *rows, strict=True)
    ]
    names = list(takewhile(lambda index: not columns[index].startswith("#"), range(len(columns))))
    taken = sum(max(len(cell) for cell in (columns[index], *(row[index] for row in rows))) + _GAP for index in names)
    groups, used = [names], taken
    for index in range(len(names), len(columns)):
        if used + least[index] > width and len(groups[-1]) > len(names):
            groups.append(names)
            used = taken
        groups[-1] = [*groups[-1], index]
        used += least[index] + _GAP
    return groups


@contextmanager
def burst_progress() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on a terminal's standard error; nothing in a pipe."""
    with counts_progress("connecting") as show:
        yield lambda now: show(
            now.settled, now.offered, f"{now.established:,} established, {now.timed_out:,} timed out", now.phase
        )


@contextmanager
def counts_progress(phase: str) -> Iterator[Callable[..., None]]:
    """The same for counts of any kind: done, of how many, in words, and the phase if it is another one."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield lambda *_: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(phase, total=1, counts="")

        def show(done: int, offered: int, counts: str, phase: str = phase) -> None:
            bar.update(task, description=phase, total=offered, completed=done, counts=counts)

        yield show

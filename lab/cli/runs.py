"""Runs that were recorded: list them, remove old ones, compare two."""

from __future__ import annotations

from itertools import compress, islice
from pathlib import Path
from shutil import get_terminal_size
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import AsJson
from lab.cli.show import notice, number, print_json, say, table
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.runs import Recorded, Run
    from lab.runs.compare import Comparison, Difference

__all__ = ["register"]

_LEFT_OUT = ("when", "topology", "#timed out")
_BESIDE_NAMES = 86
"""How wide the table is beside the names of runs and topologies."""

Directory = Annotated[
    Path | None,
    typer.Option(help="Where the records are; ~/.local/share/lab/runs unless given.", metavar="DIR"),
]


def register(app: typer.Typer) -> None:
    """Add this room's commands."""
    app.command("runs")(runs_)
    app.command()(compare)


def runs_(
    *,
    lab: Annotated[str | None, typer.Option(help="Only those in labs of this name.", metavar="NAME")] = None,
    most: Annotated[int, typer.Option("-n", help="So many, the newest first.", metavar="N", min=1)] = 20,
    directory: Directory = None,
    keep: Annotated[
        int | None,
        typer.Option(help="Remove all but the newest so many; of one lab with --lab.", metavar="N", min=0),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bursts that were recorded, the newest first. Needs no root.

    \b
    lab runs
    lab runs --lab two-subnets -n 5
    lab runs --json | jq -r '.[0].path'
    lab runs --keep 100
    """
    from lab import runs

    directory = directory or runs.default_directory()
    found = (each for each in runs.all_runs(directory) if lab is None or _is_of(each, lab))
    if keep is not None:
        _remove(list(found)[keep:], as_json=as_json)
        return
    listed = list(islice(found, most))
    if as_json:
        print_json([recorded.to_json() for recorded in listed])
        return
    if not listed:
        say(f"no run{f' in lab {lab}' if lab else ''} is recorded in {directory}; sudo lab burst leaves one")
        return
    _list(listed)
    for each in listed:
        if each.fault:
            notice(each.fault)


def _is_of(recorded: Recorded, lab: str) -> bool:
    """A damaged one is of the lab that its name has."""
    if recorded.run is None:
        return recorded.id.endswith(f"-{lab}")
    return recorded.run.result.lab == lab


def _list(listed: Iterable[Recorded]) -> None:
    """A table; a narrow terminal gets no more than it can show, for the name of a run has its time (UTC) and lab."""
    columns = ("run", "when", "topology", "#offered", "#established", "#timed out", "#threshold", "bottleneck")
    rows = [_row(each) for each in listed]
    names = max(len(run) + len(topology) for run, _, topology, *_ in rows)
    narrow = sys.stdout.isatty() and get_terminal_size().columns < _BESIDE_NAMES + names
    shown = [not (narrow and column in _LEFT_OUT) for column in columns]
    table(tuple(compress(columns, shown)), (tuple(compress(row, shown)) for row in rows))


def _row(recorded: Recorded) -> tuple[str, ...]:
    run = recorded.run
    if run is None:
        return (recorded.id, *[""] * 6, "unreadable")
    result = run.result
    counts = (result.offered, result.tcp.established, result.tcp.timed_out, result.drop_threshold)
    return (recorded.id, _when(run), run.topology.name, *map(number, counts), result.bottleneck or "none")


def _when(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began_s))


def _remove(old: list[Recorded], *, as_json: bool) -> None:
    from lab import runs

    try:
        runs.forget(old)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be removed: {error.strerror}") from None
    if as_json:
        print_json({"removed": [each.id for each in old]})
    else:
        say(f"{number(len(old))} run{'' if len(old) == 1 else 's'} removed")


def compare(
    before: Annotated[
        str, typer.Argument(help="A run: its name or the beginning of it, last, last~1, or a path.", metavar="A")
    ],
    after: Annotated[str, typer.Argument(help="Another.", metavar="B")] = "last",
    *,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """What changed from one recorded run to another, and in which direction. Needs no root.

    \b
    lab compare last~1 last
    lab compare 20261122-094103 last --json
    """
    from lab import runs
    from lab.runs.compare import TIMING_VARIES
    from lab.runs.compare import compare as compared

    one, other = (runs.load(each, directory) for each in (before, after))
    found = compared(one, other)
    if as_json:
        print_json(_comparison(one, other, found))
        return
    say(found.headline, style="bold")
    say()
    table(
        ("", "run", "when", "topology"),
        ((letter, run.id, _when(run), run.topology.name) for letter, run in (("A", one), ("B", other))),
    )
    for title, differences in (
        ("topology", found.topology),
        ("load", found.load),
        ("machine and versions", found.environment),
    ):
        _say(title, differences)
    for title, differences in (("result", found.result), ("timing", found.timing)):
        say()
        table(
            (title, "#A", "#B", "#change"),
            ((each.what, _value(each.before), _value(each.after), _change(each)) for each in differences),
        )
    say(TIMING_VARIES, style="dim")


def _say(title: str, differences: Sequence[Difference]) -> None:
    """A line for each: values may be long."""
    say()
    say(title if differences else f"{title}: the same in both", style="bold" if differences else None)
    for each in differences:
        change = "" if each.change is None else f"  ({_change(each)})"
        say(f"  {each.what}: {_value(each.before)} → {_value(each.after)}{change}")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return f"{value:,.1f}"
    return "-" if value is None else str(value)


def _change(each: Difference) -> str:
    if _value(each.before) == _value(each.after):
        return "="
    if each.change is None:
        return "changed"
    return f"{'↑' if each.change > 0 else '↓'} {_value(abs(each.change))}"


def _comparison(before: Run, after: Run, found: Comparison) -> dict[str, Any]:
    from lab.runs.compare import TIMING_VARIES

    parts = ("topology", "load", "environment", "result", "timing")
    return {
        "before": before.id,
        "after": after.id,
        "headline": found.headline,
        **{part: [each.to_json() for each in getattr(found, part)] for part in parts},
        "note": TIMING_VARIES,
    }

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
from lab.kernel.invoker import runnable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.runs import Recorded, Run
    from lab.runs.compare import Comparison, Difference

__all__ = ["register"]

_LEFT_OUT = ("when", "topology", "#timed out", "#threshold")
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
    matching = (recorded for recorded in runs.all_runs(directory) if lab is None or _is_of(recorded, lab))
    if keep is not None:
        _remove([recorded for recorded in matching if runs.may_be_forgotten(recorded)][keep:], as_json=as_json)
        return
    listed = list(islice(matching, most))
    if as_json:
        print_json([recorded.to_json() for recorded in listed])
        return
    if not listed:
        say(f"no run{f' in lab {lab}' if lab else ''} is recorded in {directory}; {runnable('lab burst')} leaves one")
        return
    _list(listed)
    for recorded in listed:
        if recorded.fault:
            notice(recorded.fault)


def _is_of(recorded: Recorded, lab: str) -> bool:
    """Whether a record is of this lab; a damaged record is told by its directory's name, which ends with the lab's."""
    if recorded.run is None:
        return recorded.id.endswith(f"-{lab}")
    return recorded.run.result.lab == lab


def _list(listed: Iterable[Recorded]) -> None:
    """A table; a narrow terminal gets no more than it can show, for the name of a run has its time (UTC) and lab."""
    columns = ("run", "when", "topology", "#offered", "#established", "#timed out", "#threshold", "bottleneck")
    rows = [_row(recorded) for recorded in listed]
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
        print_json({"removed": [recorded.id for recorded in old]})
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

    one, other = (runs.load(run, directory) for run in (before, after))
    comparison = compared(one, other)
    if as_json:
        print_json(_comparison(one, other, comparison))
        return
    say(comparison.headline, style="bold")
    say()
    table(
        ("", "run", "when", "topology"),
        ((letter, run.id, _when(run), run.topology.name) for letter, run in (("A", one), ("B", other))),
    )
    for title, differences in (
        ("topology", comparison.topology),
        ("load", comparison.load),
        ("machine and versions", comparison.environment),
    ):
        _say(title, differences)
    for title, differences in (("result", comparison.result), ("timing", comparison.timing)):
        say()
        table(
            (title, "#A", "#B", "#change"),
            (
                (difference.what, _value(difference.before), _value(difference.after), _change(difference))
                for difference in differences
            ),
        )
    say(TIMING_VARIES, style="dim")


def _say(title: str, differences: Sequence[Difference]) -> None:
    """Print one line per difference: a table would cut off long values."""
    say()
    say(title if differences else f"{title}: the same in both", style="bold" if differences else None)
    for difference in differences:
        change = "" if difference.change is None else f"  ({_change(difference)})"
        say(f"  {difference.what}: {_value(difference.before)} → {_value(difference.after)}{change}")


_WITH_ONE_DIGIT = 10
"""From here on one digit behind the point is enough; `--rate 0.14` is not 0.1."""


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= _WITH_ONE_DIGIT else f"{value:.3g}"
    return "-" if value is None else str(value)


def _change(difference: Difference) -> str:
    if _value(difference.before) == _value(difference.after):
        return "="
    if difference.change is None:
        return "changed"
    return f"{'↑' if difference.change > 0 else '↓'} {_value(abs(difference.change))}"


def _comparison(before: Run, after: Run, comparison: Comparison) -> dict[str, Any]:
    from lab.runs.compare import TIMING_VARIES

    parts = ("topology", "load", "environment", "result", "timing")
    return {
        "before": before.id,
        "after": after.id,
        "headline": comparison.headline,
        **{part: [difference.to_json() for difference in getattr(comparison, part)] for part in parts},
        "note": TIMING_VARIES,
    }

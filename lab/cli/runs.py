"""Runs that were recorded: list them, remove old ones, compare two."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import AsJson
from lab.cli.show import notice, number, print_json, say, table
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.runs import Recorded, Run
    from lab.runs.compare import Comparison, Difference

__all__ = ["register"]

_DAMAGED = "damaged, or of another version"

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
        print_json([_document(each) for each in listed])
        return
    if not listed:
        say(f"no run{f' in lab {lab}' if lab else ''} is recorded in {directory}; sudo lab burst leaves one")
        return
    table(
        ("run", "when", "topology", "#offered", "#established", "#timed out", "#drop threshold", "bottleneck"),
        (_row(each) for each in listed),
    )
    for each in listed:
        if each.fault:
            notice(each.fault)


def _is_of(recorded: Recorded, lab: str) -> bool:
    """A damaged one is of the lab that its name has."""
    if recorded.run is None:
        return recorded.id.endswith(f"-{lab}")
    return recorded.run.result.lab == lab


def _row(recorded: Recorded) -> tuple[str | int | None, ...]:
    run = recorded.run
    if run is None:
        return (recorded.id, "", "", "", "", "", "", _DAMAGED)
    result = run.result
    return (
        recorded.id,
        _when(run),
        run.topology.name,
        result.offered,
        result.tcp.established,
        result.tcp.timed_out,
        result.drop_threshold,
        result.bottleneck or "none",
    )


def _when(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.began_s))


def _document(recorded: Recorded) -> dict[str, Any]:
    document: dict[str, Any] = {"id": recorded.id, "path": str(recorded.path), "fault": recorded.fault}
    if recorded.run is None:
        return document
    run, result = recorded.run, recorded.run.result
    return document | {
        "began_s": run.began_s,
        "lab": result.lab,
        "topology": run.topology.name,
        "offered": result.offered,
        "established": result.tcp.established,
        "timed_out": result.tcp.timed_out,
        "drop_threshold": result.drop_threshold,
        "bottleneck": result.bottleneck,
        "commands": list(run.commands),
    }


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
    before: Annotated[str, typer.Argument(help="A run: its name or the beginning of it, last, last~1, or a path.")],
    after: Annotated[str, typer.Argument(help="Another.")] = "last",
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
        _show(title, differences, "the same in both")
    _show("result", found.result)
    _show("timing", found.timing)
    say(TIMING_VARIES, style="dim")


def _show(title: str, differences: Sequence[Difference], none: str = "") -> None:
    say()
    if not differences:
        say(f"{title}: {none}")
        return
    table(
        (title, "#A", "#B", "#change"),
        ((each.what, *map(_value, (each.before, each.after)), _change(each)) for each in differences),
    )


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

"""`lab burst`: so many invocations, what became of them, and why."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.burst.load import WHAT_EACH_DOES, Load
from lab.cli.declared import declared_by
from lab.cli.options import LabName
from lab.cli.recording import Recorder, tell_records
from lab.cli.show import burst_progress, complain, held_line, notice, print_json
from lab.errors import ExpectationError, UsageError
from lab.kernel.outputs import require_writable, write_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.burst.result import BurstResult
    from lab.observe.readings import Reading

__all__ = ["register"]

_STDOUT = "-"

_WHAT_IS_TOLD = "What is told"


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(burst)


_OWN_AFTER = {"connections": "lab", "duration_s": "side_by_side"}


@declared_by(Load, own_after=_OWN_AFTER)
def burst(
    *,
    lab: LabName = None,
    side_by_side: Annotated[
        bool,
        typer.Option(
            "--side-by-side", help="The same load twice: without reuse and with it.", rich_help_panel=WHAT_EACH_DOES
        ),
    ] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="established=N, drop_threshold=N, bottleneck=KIND or cause=CAUSE; exit 1 if it is not so.",
            metavar="NAME=VALUE",
            rich_help_panel=_WHAT_IS_TOLD,
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            help="Write the result as JSON; - is standard output, alone.",
            metavar="FILE|-",
            rich_help_panel=_WHAT_IS_TOLD,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Where the run's record goes, as a directory of its own; ~/.local/share/lab/runs unless given.",
            metavar="DIR",
            rich_help_panel=_WHAT_IS_TOLD,
        ),
    ] = None,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Leave no record.", rich_help_panel=_WHAT_IS_TOLD)
    ] = False,
    **options: Any,
) -> None:
    """Ask the resolver, connect to the answer, hold: so many times. Then say what was dropped, and by whom.

    What the burst showed is recorded: lab runs lists it.

    \b
    sudo lab burst -n 140000 --connect-timeout 3
    sudo lab burst -n 140000 --json - | jq .drop_threshold
    sudo lab burst -n 120000 --expect established=120000 --expect bottleneck=none
    sudo lab burst -n 200000 --rate 8000 --hold 10 --duration 0.5 --side-by-side
    sudo lab burst -n 2 --engine scapy
    """
    expectations = [_expectation(text) for text in expect or []]
    if record is not None and no_record:
        raise UsageError(f"--record {record} --no-record: one of them")
    if json_file not in (None, _STDOUT):
        require_writable("--json", json_file)  # or the result of the burst would be lost
    load = Load(**options | {"reuse": options["reuse"] or side_by_side})
    loads = _side_by_side(load) if side_by_side else [load]
    recorder = Recorder(record, wanted=not no_record)
    results = _run(lab, loads, recorder, with_packets=load.engine == "scapy" and json_file != _STDOUT)
    records = recorder.save()
    _tell(results, json_file)
    tell_records(records, on_stderr=json_file == _STDOUT)
    _compare(results[0], expectations)


def _side_by_side(load: Load) -> list[Load]:
    """The same load with reuse; then without it, one request for each invocation as well.

    Reuse goes first because it leaves nothing: connections that a NAT gateway refuses hold ENI slots for a while.
    """
    if load.leave_open:
        raise UsageError("--side-by-side --leave-open: the first half must be closed before the second begins")
    return [load, replace(load, reuse=False, duration_s=0.0, requests_per_connection=load.requests or 1)]


def _run(lab: str | None, loads: Sequence[Load], recorder: Recorder, *, with_packets: bool) -> list[BurstResult]:
    from lab.cli.packets import packet_table
    from lab.lab import Lab

    up = Lab.find(lab)
    found = partial(_tell_what_is_held, lab=lab, fresh=loads[0].fresh)
    try:
        if with_packets:
            with packet_table() as saw:
                return [recorder.carry(up, load, saw=saw, found=found) for load in loads]
        with burst_progress() as progress:
            return [recorder.carry(up, load, progress=progress, found=found) for load in loads]
    except KeyboardInterrupt:
        complain("interrupted; the connections are closed")
        raise


def _tell_what_is_held(readings: Sequence[Reading], *, lab: str | None, fresh: bool) -> None:
    """What earlier bursts, and other programs, have left in the lab's limiters."""
    held = [reading for reading in readings if reading.in_use]
    if held:
        notice("forgotten before the burst (--fresh):" if fresh else "held from before:")
    for reading in held:
        notice(f"  {held_line(reading)}")
    if held and not fresh:
        named = f" --lab {lab}" if lab else ""
        notice(f"  to forget them: lab burst --fresh, or lab reset{named}", style="dim")


def _tell(results: Sequence[BurstResult], json_file: str | None) -> None:
    from lab.cli.burst_report import show, show_side_by_side

    if json_file == _STDOUT:
        print_json(_document(results))
        return
    if len(results) == 1:
        show(results[0])
    else:
        show_side_by_side(*reversed(results))
    if json_file:
        write_output("--json", json_file, (json.dumps(_document(results), indent=2) + "\n").encode())


def _document(results: Sequence[BurstResult]) -> dict[str, Any]:
    from lab.diagnosis.verdict import judge

    documents = [result.to_json() | {"verdict": asdict(judge(result))} for result in reversed(results)]
    return documents[0] if len(documents) == 1 else {"schema": documents[0]["schema"], "side_by_side": documents}


_NOTHING = ("none", "null")
_EXPECTABLE = ("established", "drop_threshold", "bottleneck", "cause")


def _expectation(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in _EXPECTABLE:
        allowed = ", ".join(f"{name}=…" for name in _EXPECTABLE)
        raise UsageError(f"--expect {text}: not an expectation; known: {allowed}")
    if name == "bottleneck":
        from lab.nodes.registry import KINDS

        known = (*(kind.name for kind in KINDS if kind.figure), *_NOTHING)
        if value not in known:
            raise UsageError(f"--expect {text}: no bottleneck; known: {', '.join(known)}")
        return name, "none" if value in _NOTHING else value
    if name == "cause":
        from lab.diagnosis.findings import CAUSES

        if value not in CAUSES:
            raise UsageError(f"--expect {text}: no cause; known: {', '.join(CAUSES)}")
        return name, value
    count = value.replace(",", "").replace("_", "")
    if not count.isdecimal() and (value not in _NOTHING or name == "established"):
        raise UsageError(f"--expect {text}: not a number of connections")
    return name, count if count.isdecimal() else "none"


def _compare(result: BurstResult, expectations: list[tuple[str, str]]) -> None:
    if not expectations:
        return
    from lab.diagnosis.verdict import judge

    seen = {
        "established": str(result.tcp.established),
        "drop_threshold": str(result.drop_threshold).lower(),
        "bottleneck": str(result.bottleneck).lower(),
        "cause": judge(result).cause,
    }
    unmet = [f"expected {name}={value}, saw {name}={seen[name]}" for name, value in expectations if value != seen[name]]
    if unmet:
        raise ExpectationError("\n".join(unmet))

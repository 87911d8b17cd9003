"""`lab burst`: so many invocations, what became of them, and why."""

from __future__ import annotations

from enum import StrEnum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import LabName
from lab.cli.show import bullet, burst_progress, complain, number, print_json, say, table
from lab.errors import ExpectationError, UsageError

if TYPE_CHECKING:
    from lab.result import BurstResult

__all__ = ["register"]

_STDOUT = "-"


class Engine(StrEnum):
    """Traffic engines."""

    packet = "packet"


class Schedule(StrEnum):
    """When an unanswered SYN is sent again."""

    classic = "classic"
    linear = "linear"


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(burst)


def burst(
    *,
    connections: Annotated[
        int, typer.Option("-n", parser=_count, help="Invocations; each makes one connection.", metavar="CONNECTIONS")
    ],
    lab: LabName = None,
    function: Annotated[str | None, typer.Option(help="Which function invokes; the first unless given.")] = None,
    server: Annotated[str | None, typer.Option(help="Which server it connects to; the first unless given.")] = None,
    engine: Annotated[Engine, typer.Option(help="How packets are made.")] = Engine.packet,
    rate: Annotated[
        float | None,
        typer.Option(help="New invocations per second; all at once unless given.", metavar="PER_SECOND"),
    ] = None,
    hold: Annotated[
        float, typer.Option(help="Keep the connections for so long before closing them.", metavar="SECONDS")
    ] = 0.0,
    connect_timeout: Annotated[
        float,
        typer.Option(help="When a client gives up; the article's clients waited 30 s.", metavar="SECONDS"),
    ] = 30.0,
    syn_schedule: Annotated[
        Schedule, typer.Option(help="SYNs again after 1, 3, 7, 15 s, or as Linux 6.5 and later.")
    ] = Schedule.classic,
    leave_open: Annotated[bool, typer.Option("--leave-open", help="End without closing the connections.")] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="established=N, drop_threshold=N or bottleneck=KIND; exit 1 if it is not so.",
            metavar="NAME=VALUE",
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="Write the result as JSON; - is standard output, alone.", metavar="FILE|-"),
    ] = None,
) -> None:
    """Ask the resolver, connect to the answer, hold: so many times at once. Then say what was dropped, and by whom.

    \b
    sudo lab burst -n 140000 --connect-timeout 3
    sudo lab burst -n 140000 --json - | jq .drop_threshold
    sudo lab burst -n 120000 --expect established=120000 --expect bottleneck=none
    """
    from lab.run import Lab

    expectations = [_expectation(text) for text in expect or []]
    _require_writable(json_file)
    try:
        with burst_progress() as progress:
            result = Lab.find(lab).burst(
                connections,
                engine=engine.value,
                function=function,
                server=server,
                rate_per_s=rate,
                hold_s=hold,
                connect_timeout_s=connect_timeout,
                syn_schedule=syn_schedule.value,
                leave_open=leave_open,
                progress=progress,
            )
    except KeyboardInterrupt:
        complain("interrupted; the connections are closed")
        raise
    if json_file == _STDOUT:
        print_json(result.to_json())
    else:
        _show(result)
        if json_file:
            Path(json_file).write_text(json.dumps(result.to_json(), indent=2) + "\n")
    _compare(result, expectations)


def _require_writable(json_file: str | None) -> None:
    """Better now than after the burst."""
    if json_file in (None, _STDOUT):
        return
    try:
        Path(json_file).open("a").close()
    except OSError as error:
        raise UsageError(f"--json {json_file}: cannot be written: {error.strerror}") from None


def _count(text: str) -> int:
    """A number as people write it: 140000, 140,000, 140_000."""
    try:
        return int(text.replace(",", ""))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number of connections; write it like 140000") from None


_NOTHING = ("none", "null")
_EXPECTABLE = ("established", "drop_threshold", "bottleneck")


def _expectation(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in _EXPECTABLE:
        allowed = ", ".join(f"{each}=…" for each in _EXPECTABLE)
        raise UsageError(f"--expect {text}: not an expectation; known: {allowed}")
    if name == "bottleneck":
        known = ("hyperplane_eni", "nat_gateway", *_NOTHING)
        if value not in known:
            raise UsageError(f"--expect {text}: no bottleneck; known: {', '.join(known)}")
        return name, "none" if value in _NOTHING else value
    count = value.replace(",", "").replace("_", "")
    if not count.isdecimal() and (value not in _NOTHING or name == "established"):
        raise UsageError(f"--expect {text}: not a number of connections")
    return name, count if count.isdecimal() else "none"


def _compare(result: BurstResult, expectations: list[tuple[str, str]]) -> None:
    seen = {
        "established": str(result.tcp.established),
        "drop_threshold": str(result.drop_threshold).lower(),
        "bottleneck": str(result.bottleneck).lower(),
    }
    unmet = [f"expected {name}={value}, saw {name}={seen[name]}" for name, value in expectations if value != seen[name]]
    if unmet:
        raise ExpectationError("\n".join(unmet))


def _show(result: BurstResult) -> None:
    from lab.verdict import judge

    dns, tcp, timing = result.dns, result.tcp, result.timing
    say(f"{number(result.offered)} invocations in lab {result.lab}, {timing.duration_s:.1f} s", style="bold")
    say()
    table(
        ("", "#offered", "#succeeded", "#timed out", "#refused", "#reset"),
        (
            ("DNS", dns.asked, dns.answered, dns.failed, "", ""),
            ("connections", tcp.attempted, tcp.established, tcp.timed_out, tcp.refused, tcp.reset),
        ),
    )
    say()
    table(
        ("limiter", "#limit", "#peak", "#dropped connections", "#dropped SYNs"),
        (
            (
                " ".join(filter(None, (each.node, each.eip))),
                each.limit,
                each.peak,
                each.dropped_connections,
                each.dropped_packets,
            )
            for each in result.limits
        ),
    )
    say()
    _show_threshold(result)
    say(
        f"{timing.invocations_per_s:,.0f} invocations/s while connecting ({timing.connect_phase_s:.1f} s)",
        style="dim",
    )
    say()
    verdict = judge(result)
    say(verdict.headline, style="bold red" if result.bottleneck else "bold green")
    for text in verdict.explanation:
        say(text)
    if verdict.remedies:
        say()
        say("What helps:", style="bold")
        for text in verdict.remedies:
            bullet(text)
    for text in result.disagreements:
        complain(f"the two accounts differ: {text}")


def _show_threshold(result: BurstResult) -> None:
    predicted = result.predicted
    table(
        ("", "#established", "#drop threshold", "bottleneck"),
        (
            ("predicted", predicted.established, predicted.drop_threshold, predicted.bottleneck or "-"),
            ("observed", result.tcp.established, result.drop_threshold, result.bottleneck or "-"),
        ),
    )

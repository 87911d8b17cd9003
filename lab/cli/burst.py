"""`lab burst`: so many invocations, what became of them, and why."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.options import LabName, count
from lab.cli.recording import Recorder, tell_records
from lab.cli.show import burst_progress, complain, print_json
from lab.errors import ExpectationError, UsageError
from lab.kernel.invoker import as_invoker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lab.burst.load import Load
    from lab.burst.result import BurstResult

__all__ = ["register"]

_STDOUT = "-"

_WHEN, _WHAT, _HOW, _TOLD = "When invocations come", "What each does", "How clients behave", "What is told"


class Engine(StrEnum):
    """Traffic engines."""

    packet = "packet"
    socket = "socket"
    scapy = "scapy"


class Schedule(StrEnum):
    """When an unanswered SYN is sent again."""

    classic = "classic"
    linear = "linear"


class Protocol(StrEnum):
    """What connections are made of."""

    tcp = "tcp"
    udp = "udp"


class Close(StrEnum):
    """How clients say goodbye."""

    fin = "fin"
    half_close = "half-close"
    reset = "reset"


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(burst)


def burst(
    *,
    connections: Annotated[
        int, typer.Option("-n", parser=count, help="Invocations; each makes one connection.", metavar="CONNECTIONS")
    ],
    lab: LabName = None,
    function: Annotated[str | None, typer.Option(help="Which function invokes; the first unless given.")] = None,
    server: Annotated[str | None, typer.Option(help="Which server it connects to; the first unless given.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="packet: TCP in numpy; socket: the kernel's TCP; scapy: explains each packet.")
    ] = Engine.packet,
    rate: Annotated[
        float | None,
        typer.Option(help="So many a second; all at once unless given.", metavar="PER_SECOND", rich_help_panel=_WHEN),
    ] = None,
    ramp: Annotated[
        str | None,
        typer.Option(
            help="A rate that climbs or falls, such as 0:5000:60, and then stays.",
            metavar="FROM:TO:SECONDS",
            rich_help_panel=_WHEN,
        ),
    ] = None,
    lambda_scaling: Annotated[
        bool,
        typer.Option(
            "--lambda-scaling",
            help="As fast as Lambda adds environments: 1,000, then 1,000 more every 10 s.",
            rich_help_panel=_WHEN,
        ),
    ] = False,
    hold: Annotated[
        float | None,
        typer.Option(
            help="Keep a connection so long: over time, from its last answer (to the end unless given); "
            "all at once, from the last outcome.",
            metavar="SECONDS",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    requests_per_connection: Annotated[
        int | None,
        typer.Option(
            help="HTTP requests on each connection: none unless given; with --reuse, no limit.",
            metavar="N",
            rich_help_panel=_WHAT,
        ),
    ] = None,
    reuse: Annotated[
        bool,
        typer.Option(
            "--reuse/--no-reuse",
            help="An invocation takes a connection that is open and idle, or makes its own in any case.",
            rich_help_panel=_WHAT,
        ),
    ] = False,
    duration: Annotated[
        float,
        typer.Option(
            help="With --reuse: how long an invocation keeps its connection busy.",
            metavar="SECONDS",
            rich_help_panel=_WHAT,
        ),
    ] = 0.0,
    side_by_side: Annotated[
        bool,
        typer.Option("--side-by-side", help="The same load twice: without reuse and with it.", rich_help_panel=_WHAT),
    ] = False,
    connections_per_environment: Annotated[
        int,
        typer.Option(
            help="How many connections an execution environment has; it has 1,024 descriptors.",
            metavar="N",
            rich_help_panel=_WHAT,
        ),
    ] = 100,
    protocol: Annotated[Protocol, typer.Option(help="TCP, or flows over UDP.", rich_help_panel=_HOW)] = Protocol.tcp,
    connect_timeout: Annotated[
        float,
        typer.Option(
            help="When a client gives up; the article's clients waited 30 s.", metavar="SECONDS", rich_help_panel=_HOW
        ),
    ] = 30.0,
    syn_schedule: Annotated[
        Schedule,
        typer.Option(help="SYNs again after 1, 3, 7, 15 s, or as Linux 6.5 and later.", rich_help_panel=_HOW),
    ] = Schedule.classic,
    close: Annotated[
        Close,
        typer.Option(help="FIN, FIN with a last request (answered while half-closed), or RST.", rich_help_panel=_HOW),
    ] = Close.fin,
    leave_open: Annotated[
        bool, typer.Option("--leave-open", help="End without closing the connections.", rich_help_panel=_HOW)
    ] = False,
    syn_only: Annotated[
        bool,
        typer.Option("--syn-only", help="SYNs as fast as they go: no DNS before, no ACK after.", rich_help_panel=_HOW),
    ] = False,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="established=N, drop_threshold=N or bottleneck=KIND; exit 1 if it is not so.",
            metavar="NAME=VALUE",
            rich_help_panel=_TOLD,
        ),
    ] = None,
    json_file: Annotated[
        str | None,
        typer.Option(
            "--json",
            help="Write the result as JSON; - is standard output, alone.",
            metavar="FILE|-",
            rich_help_panel=_TOLD,
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(
            help="Where the run's record goes, as a directory of its own; ~/.local/share/lab/runs unless given.",
            metavar="DIR",
            rich_help_panel=_TOLD,
        ),
    ] = None,
    no_record: Annotated[bool, typer.Option("--no-record", help="Leave no record.", rich_help_panel=_TOLD)] = False,
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
    from lab.burst.load import Load, Ramp

    expectations = [_expectation(text) for text in expect or []]
    if record is not None and no_record:
        raise UsageError(f"--record {record} --no-record: one of them")
    _require_writable(json_file)
    load = Load(
        connections=connections,
        engine=engine.value,
        protocol=protocol.value,
        function=function,
        server=server,
        rate_per_s=rate,
        ramp=None if ramp is None else Ramp.parse(ramp),
        lambda_scaling=lambda_scaling,
        hold_s=hold,
        duration_s=duration,
        requests_per_connection=requests_per_connection,
        reuse=reuse or side_by_side,
        connections_per_environment=connections_per_environment,
        close=close.value,
        connect_timeout_s=connect_timeout,
        syn_schedule=syn_schedule.value,
        syn_only=syn_only,
        leave_open=leave_open,
    )
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
    try:
        if with_packets:
            with packet_table() as saw:
                return [recorder.carry(up, load, saw=saw) for load in loads]
        with burst_progress() as progress:
            return [recorder.carry(up, load, progress=progress) for load in loads]
    except KeyboardInterrupt:
        complain("interrupted; the connections are closed")
        raise


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
        with as_invoker():
            Path(json_file).write_text(json.dumps(_document(results), indent=2) + "\n")


def _document(results: Sequence[BurstResult]) -> dict[str, Any]:
    documents = [each.to_json() for each in reversed(results)]
    return documents[0] if len(documents) == 1 else {"schema": documents[0]["schema"], "side_by_side": documents}


def _require_writable(json_file: str | None) -> None:
    """Better now than after the burst."""
    if json_file in (None, _STDOUT):
        return
    try:
        with as_invoker():
            Path(json_file).open("a").close()
    except OSError as error:
        raise UsageError(f"--json {json_file}: cannot be written: {error.strerror}") from None


_NOTHING = ("none", "null")
_EXPECTABLE = ("established", "drop_threshold", "bottleneck")


def _expectation(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or name not in _EXPECTABLE:
        allowed = ", ".join(f"{each}=…" for each in _EXPECTABLE)
        raise UsageError(f"--expect {text}: not an expectation; known: {allowed}")
    if name == "bottleneck":
        from lab.nodes.vpc.model import EXITS

        known = ("hyperplane_eni", *(each.KIND for each in EXITS.values()), *_NOTHING)
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

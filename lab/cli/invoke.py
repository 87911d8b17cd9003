"""`lab invoke`: a function's own code, and what the kernel counted of its connections."""

from __future__ import annotations

from dataclasses import asdict
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.cli.declared import declared_by
from lab.cli.options import LabName
from lab.cli.show import bullet, complain, counts_progress, print_json, say, table
from lab.invoke.asked import Invocations
from lab.kernel.outputs import require_writable, write_output

if TYPE_CHECKING:
    from lab.diagnosis.verdict import Verdict
    from lab.invoke.result import InvokeResult
    from traffic.environments.result import Percentiles

__all__ = ["register"]

_STDOUT = "-"
_TRACE_LINES = 12
"""Of a stack trace, the last ones: what the user's own code did."""


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(invoke)


@declared_by(Invocations, own_after={"invocations": "lab"})
def invoke(
    *,
    lab: LabName = None,
    json_file: Annotated[
        str | None,
        typer.Option("--json", help="Write the result as JSON; - is standard output, alone.", metavar="FILE|-"),
    ] = None,
    **options: Any,
) -> None:
    """Run your own handler in execution environments of the lab; then say what its connections met, and why.

    AWS's runtime client runs the code, unchanged: awslambdaric for Python, aws-lambda-ric for Node.js, or any program
    called bootstrap. Each environment has an address of its own, and takes one invocation at a time.

    \b
    sudo lab invoke -n 5000 --code handlers/client_inside --handler app.handler
    sudo lab invoke -n 600 --rate 20 --code . --handler app.handler --environments 10
    sudo lab invoke -n 1 --code bootstrap_in_shell --event event.json --json -
    """
    from lab.lab import Lab

    if json_file not in (None, _STDOUT):
        require_writable("--json", json_file)
    asked, up = Invocations(**options), Lab.find(lab)
    try:
        with counts_progress("invoking") as progress:
            result = up.carry_invocations(
                asked,
                lambda now: progress(now.done, asked.invocations, f"{now.ok:,} ok, {now.alive:,} environments"),
            )
    except KeyboardInterrupt:
        complain("interrupted; the execution environments are ended")
        raise
    _tell(result, json_file)


def _tell(result: InvokeResult, json_file: str | None) -> None:
    from lab.diagnosis.invocations import judge_invocations

    verdict = judge_invocations(result)
    document = result.to_json() | {"verdict": asdict(verdict)}
    if json_file == _STDOUT:
        print_json(document)
        return
    _show(result, verdict)
    if json_file:
        write_output("--json", json_file, (json.dumps(document, indent=2) + "\n").encode())


def _show(result: InvokeResult, verdict: Verdict) -> None:
    outcomes = result.outcomes
    seconds = outcomes.ended_epoch_s - outcomes.began_epoch_s
    say(f"{outcomes.offered:,} invocations of {result.function} in lab {result.lab}, {seconds:.1f} s", style="bold")
    say()
    errors = sum(error.count for error in outcomes.errors)
    table(
        ("", "#offered", "#ok", "#errors", "#timed out", "#throttled", "#cold", "#warm"),
        (
            (
                *("invocations", outcomes.offered, outcomes.ok, errors, outcomes.timed_out, outcomes.throttled),
                *(outcomes.cold_starts, outcomes.warm),
            ),
        ),
    )
    say()
    seen = result.connections
    table(
        ("counted by the kernel", "#opened", "#per invocation", "#SYNs again", "#DNS questions", "#held at the end"),
        (("connections", seen.opened, f"{seen.per_invocation:.3g}", seen.syns_again, seen.questions, seen.held),),
    )
    if not seen.apart:
        say(
            "Without subordinate user numbers (/etc/subuid, package uidmap) all environments are one user, with one "
            "address on one ENI.",
            style="dim",
        )
    say()
    _show_limits(result)
    for name, durations in (("duration", outcomes.duration), ("init", outcomes.init), ("wait", outcomes.wait)):
        if durations:
            say(f"{name}: {_percentiles(durations)}", style="dim")
    _show_errors(result)
    say()
    say(verdict.headline, style="bold green" if verdict.cause == "no_limit" else "bold red")
    for text in verdict.explanation:
        say(text)
    if verdict.remedies:
        say()
        say("What helps:", style="bold")
        for text in verdict.remedies:
            bullet(text)


def _show_limits(result: InvokeResult) -> None:
    limits = [limit for limit in result.kernel.limits if limit.peak or limit.dropped_packets]
    if not limits:
        return
    table(
        ("limiter", "#limit", "#peak", "#refused connections", "#refused SYNs"),
        (
            (
                " ".join(filter(None, (limit.node, limit.share))),
                *(limit.limit, limit.peak, limit.dropped_connections, limit.dropped_packets),
            )
            for limit in limits
        ),
    )
    say()


def _show_errors(result: InvokeResult) -> None:
    for error in result.outcomes.errors:
        say()
        say(f"{error.count:,} with {error.type}: {error.example.message}", style="red")
        for line in error.example.trace[-_TRACE_LINES:]:
            say(f"  {line.rstrip()}", style="dim")


def _percentiles(durations: Percentiles) -> str:
    return f"{durations.p50_ms:,.1f} ms (median), {durations.p99_ms:,.1f} ms (p99), {durations.max_ms:,.1f} ms (most)"

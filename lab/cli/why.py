"""`lab why`: which limiter, since when, how one can see it oneself, what CloudWatch shows of it, what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lab.cli.options import AsJson, LabName
from lab.cli.show import STATES, bullet, clock, notice, number, print_json, say, states, table, verbatim
from lab.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab.diagnosis.explanation import Explanation
    from lab.diagnosis.limits import LimitAccount
    from lab.diagnosis.parts import SourcePart
    from lab.nodes.proposals import Threshold
    from lab.trace import Trace

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add this room's command."""
    app.command()(why)


def why(
    context: typer.Context,
    run: Annotated[
        str | None,
        typer.Argument(help="A recorded run, as `lab runs` lists them; a lab that is up unless given.", metavar="RUN"),
    ] = None,
    *,
    lab: LabName = None,
    connection: Annotated[
        str | None,
        typer.Option(
            help="Follow one connection node by node: its address and port at the function, behind the ENI, "
            "or at the NAT gateway.",
            metavar="SRC:PORT",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="To which server; the one that was refused unless given.", metavar="SERVER")
    ] = None,
    function: Annotated[
        str | None, typer.Option(help="Whose connections the remedies are for; the one that was refused unless given.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(help="The same for a client, in place of a function.", metavar="CLIENT")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say why connections are lost: which limit, since when, the evidence, what CloudWatch shows, what would help.

    Each number comes with the command that prints it. --connection tells where one connection is, or where it died.

    \b
    sudo lab why
    sudo lab why --lab two-subnets --to cache
    sudo lab why last
    sudo lab why --connection 100.65.0.0:536
    sudo lab why --connection 198.51.100.1:2785 --json
    """
    if run is not None:
        source = context.get_parameter_source("lab")
        given = source is not None and source.name == "COMMANDLINE"  # not LAB_NAME
        _require_alone(lab=lab if given else None, connection=connection, to=to, function=function, client=client)
        _explain(_of_run(run), as_json=as_json)
    elif connection is not None:
        for option, name in (("--function", function), ("--client", client)):
            if name is not None:
                raise UsageError(f"--connection and {option}: a connection has one source; leave {option} out")
        _follow(lab, connection, to, as_json=as_json)
    else:
        _explain(_of_lab(lab, function, client, to), as_json=as_json)


def _require_alone(**options: str | None) -> None:
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"a run and {', '.join(given)}: a run has its own lab, function and server; one or the other")


# ── A lab or a run ──────────────────────────────────────────────────────────────────────────────────────────


def _of_run(run: str) -> Explanation:
    from lab.diagnosis.explanation import of_run
    from lab.runs import load

    recorded = load(run)
    return of_run(
        recorded.result,
        recorded.load,
        recorded.topology,
        nodes=recorded.nodes,
        limiters=recorded.limiters,
        samples=recorded.samples,
        began_s=recorded.began_s,
        run=recorded.id,
    )


def _of_lab(name: str | None, function: str | None, client: str | None, server: str | None) -> Explanation:
    from lab.lab import Lab

    return Lab.find(name).require_complete().why(function, server, client=client, notice=notice)


def _explain(explanation: Explanation, *, as_json: bool) -> None:
    if as_json:
        print_json(explanation.to_json())
        return
    lost = explanation.refusing or explanation.drops or any(part.advice for part in explanation.parts)
    say(explanation.headline, style="bold red" if lost else "bold green")
    for text in explanation.details:
        say(text)
    _show_refusals(explanation)
    _show_headroom(explanation.others)
    _show_evidence(explanation)
    _show_cloudwatch(explanation)
    _show_remedies(explanation)


def _title(text: str) -> None:
    say()
    say(text, style="bold")


def _show_refusals(explanation: Explanation) -> None:
    from lab.nodes.diagnosis import connections

    for account in explanation.refusing:
        size = account.limit.size
        say()
        say(
            f"{_name(account)} refused {connections(account.connections)}, {account.limit.dropped(account.packets)}; "
            + (
                f"it held {account.held:,} of {size:,}."
                if explanation.run
                else f"it holds {account.held:,} of {size:,} now, and at most {account.most_held:,} when sampled."
            )
        )
        if account.fill and account.fill.text:
            say(f"{_those(account.fill.taken, of_run=explanation.run is not None)} {account.fill.text}.")
        say(_since(explanation, account))


def _those(slots: int, *, of_run: bool) -> str:
    if slots == 1:
        return "That was" if of_run else "That is"
    return "Those were" if of_run else "Those are"


def _since(explanation: Explanation, account: LimitAccount) -> str:
    from lab.diagnosis.live import course, duration

    began_s, last_s = account.began_s, account.last_s
    if began_s is None:
        return "When it began is not on record."
    if explanation.began_s is not None:
        until = "" if last_s is None else f", the last one at {max(0.0, last_s - explanation.began_s):.1f} s"
        return f"The first refusal was {max(0.0, began_s - explanation.began_s):.1f} s after the run began{until}."
    since = f"It began at {clock(began_s)}, {duration(explanation.at_s - began_s)} ago"
    return f"{since}; {course(account, explanation.at_s)}."


def _name(account: LimitAccount) -> str:
    """`natgw to cache (2 Elastic IPs)`."""
    limit = account.limit
    udp = " over UDP" if limit.first.protocol == "udp" else ""
    return f"{limit.first.node}{limit.to}{udp}{limit.of_eips}"


def _show_headroom(others: Iterable[LimitAccount]) -> None:
    rows = [
        (_name(account), account.limit.size, account.held, *states(account.fill), account.free) for account in others
    ]
    if rows:
        _title("Refused nothing:")
        table(("limiter", "#limit", "#held", *STATES, "#free"), rows)


def _show_evidence(explanation: Explanation) -> None:
    if not explanation.evidence:
        return
    _title("The evidence:" if explanation.run is None else "The evidence, as the commands show it in that lab:")
    alike = _alike(explanation)
    for measurement in explanation.evidence:
        if measurement.node not in alike:
            value = "" if measurement.value is None else f": {measurement.value:,}"
            say(f"{measurement.node}, {measurement.what}{value}")
            verbatim(f"    {measurement.command}")
    if alike:
        say(f"The same commands show it of {', '.join(alike)}; --json has them all.")


def _alike(explanation: Explanation) -> list[str]:
    """Nodes whose evidence looks like that of one of their kind before them: seven ENIs would fill two screens."""
    kinds: dict[str, str] = {}
    told = {measurement.node for measurement in explanation.evidence}
    nodes = {
        account.limit.first.place: account.limit.first.kind for account in (*explanation.refusing, *explanation.others)
    }
    for node, kind in nodes.items():
        if node in told:
            kinds.setdefault(kind, node)
    return [node for node, kind in nodes.items() if node in told and kinds[kind] != node]


def _show_cloudwatch(explanation: Explanation) -> None:
    _title("CloudWatch would show" + (" since `lab up`:" if explanation.run is None else " of the run:"))
    if explanation.metrics:
        table(
            ("metric", *(f"#{shown.node}" for shown in explanation.metrics)),
            ((name, *(shown.values[name] for shown in explanation.metrics)) for name in explanation.metrics[0].values),
        )
    say(explanation.blind_spot)


def _show_remedies(explanation: Explanation) -> None:
    """Of each source; once for those that have the same."""
    alike: dict[object, list[SourcePart]] = {}
    for part in explanation.parts:
        sentences = (remedy.sentence for remedy in part.remedies)
        alike.setdefault(part.advice or (part.threshold, tuple(sentences)), []).append(part)
    for first, *others in alike.values():
        names = " and ".join(part.question.source for part in (first, *others))
        _title(f"What would help {names}, connecting to {first.question.server}:")
        for text in first.advice:
            bullet(text)
        if first.advice:
            continue
        say(_threshold(first.threshold))
        for remedy in first.remedies:
            bullet(remedy.sentence)
            if remedy.effect == "raises":
                verbatim(f"      {remedy.change}")


def _threshold(threshold: Threshold) -> str:
    from lab.nodes.registry import kind_of

    if threshold.throttled_beyond:
        beyond = number(threshold.throttled_beyond)
        return (
            f"No limit is met: reserved concurrency lets in {beyond} invocations at a time, and each limit holds more."
        )
    if threshold.unknown:
        return f"Where the first connection is lost is not known: {threshold.unknown}."
    if threshold.held is None:
        return "No limit is on the way."
    binds = f"the {kind_of(threshold.kind).words} binds" if threshold.kind else threshold.dead_end
    return f"With all slots free, the first connection is lost beyond {number(threshold.held)}: {binds}."


# ── One connection ──────────────────────────────────────────────────────────────────────────────────────────


def _follow(name: str | None, connection: str, to: str | None, *, as_json: bool) -> None:
    from lab.lab import Lab
    from lab.trace import end_of

    end_of(connection)  # what is no connection is refused before a lab is looked for
    lab = Lab.find(name).require_complete()
    traces = lab.trace(connection, to)
    if as_json:
        print_json(
            {"schema": 1, "lab": lab.name, "connection": connection, "traces": [trace.to_json() for trace in traces]}
        )
        return
    for index, trace in enumerate(traces):
        if index:
            say()
        _show_trace(trace)


def _show_trace(trace: Trace) -> None:
    width = max((len(hop.node) for hop in trace.hops), default=0)
    for hop in trace.hops:
        say(f"{hop.node:{width}}  {hop.text}", style="red" if hop.node == trace.died_at else None)
    alive = trace.outcome in ("established", "half_open", "closing")
    say(trace.conclusion, style="bold green" if alive else "bold red")

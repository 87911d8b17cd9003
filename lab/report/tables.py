"""The tables of one run: predicted against observed, outcomes, limits, and what would help. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.result import BurstResult
from lab.diagnosis.drops import cause_in_words
from lab.diagnosis.explanation import questions_of
from lab.diagnosis.outcomes import Outcome, challenged, dropped, established_by_one, lost, outcomes, repeated, succeeded
from lab.diagnosis.remedies import Remedy, remedies
from lab.diagnosis.verdict import judge
from lab.diagnosis.words import NO_ROOM_HELPS
from lab.nodes.diagnosis import counted
from lab.report.cells import DASH, Cell, Table, number, row
from lab.report.facts import bottleneck
from lab.runs import Run
from lab.schema.drops import DropCount
from lab.slots.fill import Fill
from traffic.result import Percentiles

__all__ = ["tables"]


def tables(run: Run) -> tuple[Table, ...]:
    """All tables of a run, those left out that would have no rows."""
    result = run.result
    made = (
        _predicted(result),
        _outcomes(result),
        _functions(result),
        _limits(result),
        _latencies(result),
        _stops(result),
        _tracking(result),
        *_remedies(run),
    )
    return tuple(table for table in made if table.rows)


def _predicted(result: BurstResult) -> Table:
    predicted = result.predicted
    pairs = (
        ("Established", number(predicted.established), number(result.tcp.established)),
        ("Drop threshold", number(predicted.drop_threshold), number(result.drop_threshold)),
        ("Bottleneck", Cell(bottleneck(predicted.bottleneck)), Cell(bottleneck(result.bottleneck))),
        *([("EMFILE", number(predicted.emfile), number(result.emfile))] if result.descriptors else []),
    )
    return Table(
        "Predicted and observed",
        ("", "#predicted", "#observed"),
        tuple(row(name, said, seen) for name, said, seen in pairs),
        "Predicted by arithmetic from the topology alone, before the first packet.",
    )


def _outcomes(result: BurstResult) -> Table:
    closed = ("#closed by server",) if result.tcp.closed_by_server else ()
    emfile, throttled = ("#EMFILE",) if result.emfile else (), ("#throttled",) if result.invocations.throttled else ()
    no_port = ("#no port",) if result.tcp.without_port else ()
    return Table(
        "Outcomes",
        (
            "",
            "#offered",
            f"#{succeeded(result)}",
            "#timed out",
            "#refused",
            "#reset",
            *closed,
            *emfile,
            *no_port,
            *throttled,
        ),
        tuple(
            _outcome(of, also=(bool(closed), bool(emfile), bool(no_port), bool(throttled))) for of in outcomes(result)
        ),
        " ".join(_measured(result)),
    )


def _functions(result: BurstResult) -> Table:
    return Table(
        "Functions",
        ("", "#offered", "#throttled", "#established", "#predicted", "#timed out", "#refused", "#reset"),
        tuple(
            row(
                *(function.function, function.offered, number(function.throttled, "bad")),
                *(function.established, number(function.predicted_established)),
                *(number(count, "bad") for count in (function.timed_out, function.refused, function.reset)),
            )
            for function in (result.functions if len(result.functions) > 1 else ())
        ),
        "Invocations take turns between the functions; each function's own account.",
    )


def _outcome(of: Outcome, *, also: tuple[bool, ...]) -> tuple[Cell, ...]:
    """With `also` these: closed by the server, without a descriptor, without a port, throttled."""
    refused, reset, *seldom = (
        "" if count is None else number(count, "bad")
        for count in (of.refused, of.reset, of.emfile, of.without_port, of.throttled)
    )
    closed = "" if of.closed_by_server is None else of.closed_by_server
    further = (cell for cell, shown in zip((closed, *seldom), also, strict=True) if shown)
    failed = number(of.failed, "bad")
    return row(of.what[0].upper() + of.what[1:], of.offered, of.answered, failed, refused, reset, *further)


def _measured(result: BurstResult) -> Iterator[str]:
    timing, tcp, invocations = result.timing, result.tcp, result.invocations
    yield (
        f"{timing.invocations_per_s:,.0f} invocations a second while connecting ({timing.connect_phase_s:,.1f} s); "
        f"{timing.duration_s:,.1f} s in all."
    )
    if tcp.syn_retransmissions:
        late = sum(tcp.established_at_syn[1:])
        by_one = established_by_one(late) if late else "none was answered"
        yield f"{repeated(result)}; {by_one}."
    if tcp.challenged_syns:
        yield f"{challenged(tcp.challenged_syns)}."
    if invocations.reused:
        yield f"{counted(invocations.reused, 'invocation')} found a connection open."


def _limits(result: BurstResult) -> Table:
    several = len({limit.towards for limit in result.limits if limit.towards}) > 1
    rows = (
        row(
            " ".join(filter(None, (limit.node, limit.share, f"to {limit.towards}" if several else None))),
            limit.limit,
            number(limit.peak, "bad" if limit.peak >= limit.limit else ""),
            *_states(limit.fill),
            number(limit.dropped_connections, "bad"),
            number(limit.dropped_packets, "bad"),
        )
        for limit in result.limits
    )
    return Table(
        "Limits",
        (
            *("limiter", "#limit", "#peak", "#established", "#half-open", "#closing"),
            *(f"#{lost(result)} connections", f"#{lost(result)} {dropped(result)}"),
        ),
        tuple(rows),
        "The kernel's numbers: slots held at most, what held them then, and what found no slot.",
    )


def _states(fill: Fill | None) -> tuple[Cell, ...]:
    """What held slots; dashes in a record of an earlier version."""
    if fill is None:
        return (Cell(DASH), Cell(DASH), Cell(DASH))
    return number(fill.established), number(fill.half_open_slots, "bad"), number(fill.closing)


def _latencies(result: BurstResult) -> Table:
    latency = result.latency
    known = (("DNS", latency.dns), ("Connect", latency.connect), ("TLS", latency.tls), ("Request", latency.request))
    return Table(
        "Latencies",
        ("", "#half within", "#90 % within", "#99 % within", "#99.9 % within", "#at most"),
        tuple(_latency(name, percentiles) for name, percentiles in known if percentiles),
        "As the clients saw them, retransmissions included.",
    )


def _latency(name: str, percentiles: Percentiles) -> tuple[Cell, ...]:
    times_ms = (percentiles.p50_ms, percentiles.p90_ms, percentiles.p99_ms, percentiles.p999_ms, percentiles.max_ms)
    return row(name, *(f"{value:,.1f} ms" for value in times_ms))


def _stops(result: BurstResult) -> Table:
    return Table(
        "Dropped for another reason than a limit",
        ("node", "reason", "of", "what", "#dropped packets", "what would let them pass"),
        tuple(_stop(drop) for drop in result.stops),
        wide=True,
    )


def _stop(stop: DropCount) -> tuple[Cell, ...]:
    what = "answers" if stop.answers else "requests"
    direction = f"{stop.direction}: {what}" if stop.direction else what
    packets = number(stop.dropped_packets, "bad")
    return row(stop.node, cause_in_words(stop), stop.name, direction, packets, stop.cure or "")


def _remedies(run: Run) -> Iterator[Table]:
    """Remedies that move the threshold, then those that are often tried in vain; `lab why` tells how to make each.

    A table for each function, and one for functions that have the same.
    """
    verdict = judge(run.result)
    whom: dict[tuple[tuple[Cell, ...], ...], list[str]] = {}
    for question in questions_of(run.load, run.topology):
        told = verdict.on(question.source).cause not in NO_ROOM_HELPS
        judged = remedies(run.topology, question.source, question.server, question.protocol) if told else ()
        rows = tuple(_remedy(remedy) for remedy in judged if remedy.effect in _TOLD)
        whom.setdefault(rows, []).append(question.source)
    for rows, sources in whom.items():
        yield Table(
            f"What would help {' and '.join(sources)}, connecting to {question.server}",
            ("change", "#before", "#after", "then"),
            rows,
            "How many connections are held when the first is lost, with all slots free: predicted for the changed "
            "topology. lab why has each change in the topology's words.",
            wide=True,
        )


_TOLD = {"raises": "good", "unlimited": "good", "throttles": "good", "nothing": "", "unknown": ""}
"""Effect of a remedy → the tone of its threshold."""


def _remedy(remedy: Remedy) -> tuple[Cell, ...]:
    what = ", ".join(filter(None, (remedy.what, remedy.condition, remedy.meanwhile)))
    then = f"the {bottleneck(remedy.binds_after)} binds" if remedy.binds_after else remedy.note
    if remedy.effect == "unlimited":
        return row(what, remedy.threshold_before, Cell("no limit", "good"), "no limit is on the way")
    return row(what, remedy.threshold_before, number(remedy.threshold_after, _TOLD[remedy.effect]), then)


def _tracking(result: BurstResult) -> Table:
    left = [tracking for tracking in result.tracking if tracking.slots or tracking.conntrack]
    return Table(
        "Left when all was closed",
        ("node", "#slots", "#conntrack entries"),
        tuple(row(tracking.node, tracking.slots, tracking.conntrack) for tracking in left),
        "Connections that are never closed, such as half-open ones, hold their slot until a timeout.",
    )

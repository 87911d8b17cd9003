"""What a burst showed, for a person: tables, the verdict, what helps."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

from lab.cli.show import STATES, bullet, complain, say, states, table
from lab.diagnosis.outcomes import challenged, dropped, established_by_one, lost, outcomes, repeated, succeeded
from lab.diagnosis.verdict import judge
from lab.diagnosis.words import NO_ROOM_HELPS
from lab.nodes.diagnosis import counted, limit_words, limiting_kinds
from lab.nodes.registry import kind_of

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from traffic.result import Percentiles

__all__ = ["show", "show_side_by_side"]


def show(result: BurstResult) -> None:
    """Print what one burst showed: outcomes, limits, verdict, and what helps."""
    say(f"{counted(result.offered, 'invocation')} in lab {result.lab}, {result.timing.duration_s:.1f} s", style="bold")
    say()
    _show_outcomes(result)
    say()
    _show_limits(result)
    say()
    _show_threshold(result)
    for line in _measured(result):
        say(line, style="dim")
    say()
    _show_verdict(result)
    _show_faults(result)


def _show_outcomes(result: BurstResult) -> None:
    closed = ("#closed by server",) if result.tcp.closed_by_server else ()
    emfile, throttled = ("#EMFILE",) if result.emfile else (), ("#throttled",) if result.invocations.throttled else ()
    no_port = ("#no port",) if result.tcp.without_port else ()
    invocations_differ = bool(result.requests.sent or result.invocations.reused or result.tls or throttled)
    table(
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
        (
            (
                *(of.what, of.offered, of.answered, of.failed, _or_empty(of.refused), _or_empty(of.reset)),
                *(_or_empty(of.closed_by_server) for _ in closed),
                *(_or_empty(of.emfile) for _ in emfile),
                *(_or_empty(of.without_port) for _ in no_port),
                *(_or_empty(of.throttled) for _ in throttled),
            )
            for of in outcomes(result)
            if of.what != "invocations" or invocations_differ
        ),
    )
    if len(result.functions) > 1:
        say()
        _show_functions(result)


def _show_functions(result: BurstResult) -> None:
    """Each function's part, as observed and, behind that, as predicted."""
    throttled = any(function.throttled or function.predicted_throttled for function in result.functions)
    columns = ("function", "#offered", "#throttled", "#established", "#predicted", "#timed out", "#refused", "#reset")
    rows = (
        (
            *(each.function, each.offered, each.throttled, each.established),
            *(each.predicted_established, each.timed_out, each.refused, each.reset),
        )
        for each in result.functions
    )
    shown = [place for place, column in enumerate(columns) if throttled or column != "#throttled"]
    table(
        tuple(columns[place] for place in shown),
        (tuple(row[place] for place in shown) for row in rows),
    )


def _or_empty(count: int | None) -> int | str:
    return "" if count is None else count


def _show_limits(result: BurstResult) -> None:
    if not result.limits:
        say("no limiter is on the way")
        return
    # Where nothing is half-open or closing, whatever held a slot was established.
    apart = any(limit.fill and limit.fill.taken > limit.fill.established for limit in result.limits)
    table(
        (
            "limiter",
            "#limit",
            "#peak",
            *(STATES if apart else ()),
            f"#{lost(result)} connections",
            f"#{lost(result)} {dropped(result)}",
        ),
        (
            (
                " ".join(filter(None, (limit.node, limit.share, f"to {limit.address}" if limit.address else None))),
                limit.limit,
                limit.peak,
                *(states(limit.fill) if apart else ()),
                limit.dropped_connections,
                limit.dropped_packets,
            )
            for limit in result.limits
        ),
    )


def _show_threshold(result: BurstResult) -> None:
    predicted, emfile = result.predicted, ("#EMFILE",) if result.emfile or result.predicted.emfile else ()
    table(
        ("", "#established", "#drop threshold", "bottleneck", *emfile),
        (
            (of, *values, *(number for _ in emfile))
            for of, values, number in (
                (
                    "predicted",
                    (predicted.established, predicted.drop_threshold, predicted.bottleneck or "-"),
                    predicted.emfile,
                ),
                ("observed", (result.tcp.established, result.drop_threshold, result.bottleneck or "-"), result.emfile),
            )
        ),
    )
    if predicted.unknown:
        say(f"predicted: {predicted.unknown}", style="dim")


def _measured(result: BurstResult) -> Iterator[str]:
    timing, tcp, invocations = result.timing, result.tcp, result.invocations
    yield f"{timing.invocations_per_s:,.0f} invocations/s while connecting ({timing.connect_phase_s:.1f} s)"
    latency = result.latency
    latencies = (("DNS", latency.dns), ("connect", latency.connect), ("TLS", latency.tls), ("request", latency.request))
    if known := [_percentiles(name, measured) for name, measured in latencies if measured]:
        yield f"latency, half of them within, 99 % within: {'; '.join(known)}"
    if tcp.syn_retransmissions:
        late = sum(tcp.established_at_syn[1:])
        yield f"{repeated(result)}; {established_by_one(late)}"
    if tcp.challenged_syns:
        yield challenged(tcp.challenged_syns)
    for kind, syns in result.ports_not_found.items():
        words = limit_words(kind)
        were, them = ("was", "it") if syns == 1 else ("were", "them")
        in_metric = f": its {words.metric} counts {them}, too" if words and words.metric else ""
        where = f"where the kernel's search found no free port in {kind_of(kind).one}"
        yield f"{counted(syns, 'SYN')} {were} lost {where}{in_metric}"
    if invocations.reused:
        yield f"{counted(invocations.reused, 'invocation')} found a connection open, {result.dns.asked:,} made one"
    if invocations.waiting:
        yield (
            f"up to {counted(invocations.waiting, 'invocation')} had come and found no port free, and came late: "
            "an ENI has 65,000 ports; --scale 2 leaves some over"
        )


def _percentiles(name: str, latency: Percentiles) -> str:
    return f"{name} {latency.p50_ms:.1f} ms, {latency.p99_ms:.1f} ms"


def _show_verdict(result: BurstResult) -> None:
    verdict = judge(result)
    lost = result.bottleneck or verdict.cause in NO_ROOM_HELPS
    say(verdict.headline, style="bold red" if lost else "bold green")
    for text in verdict.explanation:
        say(text)
    for text in verdict.of_functions:
        say(text)
    if verdict.all_remedies:
        say()
        say("What helps:", style="bold")
        for text in verdict.all_remedies:
            bullet(text)


def _show_faults(result: BurstResult) -> None:
    for text in result.incidents:
        complain(text)
    for text in result.disagreements:
        complain(f"the two accounts differ: {text}")


def _side_by_side(result: BurstResult, limited: Container[str]) -> dict[str, int | str | None]:
    peaks = {
        f"most at a time in {words.one_node}": max(
            (limit.peak for limit in result.limits if limit.kind == kind), default=None
        )
        for kind, words in limiting_kinds().items()
        if words.one_node and kind in limited
    }
    return {
        "invocations": result.offered,
        "served": result.invocations.served,
        "failed": result.invocations.failed,
        "connections made": result.tcp.attempted,
        "connections used again": result.invocations.reused,
        "connections that timed out": result.tcp.timed_out,
        **({"invocations without a descriptor (EMFILE)": result.emfile} if result.descriptors else {}),
        **peaks,
        "drop threshold": result.drop_threshold,
        "bottleneck": result.bottleneck or "-",
    }


def show_side_by_side(without: BurstResult, reused: BurstResult) -> None:
    """Print the same load without reuse of connections and with it."""
    say(f"{counted(without.offered, 'invocation')} in lab {without.lab}, twice", style="bold")
    say()
    limited = {limit.kind for result in (without, reused) for limit in result.limits}
    columns = [_side_by_side(result, limited) for result in (without, reused)]
    table(
        ("", "#a connection each", "#connections reused"),
        ((name, *(column[name] for column in columns)) for name in columns[0]),
    )
    for name, result in (("A connection for each invocation", without), ("Connections reused", reused)):
        say()
        say(f"{name}: {judge(result).headline}", style="bold red" if result.bottleneck else "bold green")
        _show_faults(result)

"""What a burst showed, for a person: tables, the verdict, what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lab.cli.show import bullet, complain, number, say, table
from lab.diagnosis.verdict import judge
from lab.topology.kinds import one_of

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from traffic.result import Percentiles

__all__ = ["show", "show_side_by_side"]


def show(result: BurstResult) -> None:
    """One burst."""
    invocations = "invocation" if result.offered == 1 else "invocations"
    say(f"{number(result.offered)} {invocations} in lab {result.lab}, {result.timing.duration_s:.1f} s", style="bold")
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
    dns, tcp = result.dns, result.tcp
    rows: list[tuple[str | int | None, ...]] = []
    if result.dns.asked:
        rows.append(("DNS", dns.asked, dns.answered, dns.failed, "", ""))
    what = "connections" if result.protocol == "tcp" else "UDP flows"
    answered = tcp.half_open or tcp.established
    rows.append((what, tcp.attempted, answered, tcp.timed_out, tcp.refused, tcp.reset))
    if result.requests.sent:
        requests = result.requests
        rows.append(("requests", requests.sent, requests.answered, requests.sent - requests.answered, "", ""))
    if result.requests.sent or result.invocations.reused:
        invocations = result.invocations
        rows.append(("invocations", invocations.offered, invocations.served, invocations.failed, "", ""))
    table(("", "#offered", "#half-open" if tcp.half_open else "#succeeded", "#timed out", "#refused", "#reset"), rows)


def _show_limits(result: BurstResult) -> None:
    packets = "packets" if result.resolver == "vpc" else "SYNs" if result.protocol == "tcp" else "datagrams"
    if not result.limits:
        say("no limiter is on the way")
        return
    table(
        ("limiter", "#limit", "#peak", "#dropped connections", f"#dropped {packets}"),
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


def _show_threshold(result: BurstResult) -> None:
    predicted = result.predicted
    table(
        ("", "#established", "#drop threshold", "bottleneck"),
        (
            ("predicted", predicted.established, predicted.drop_threshold, predicted.bottleneck or "-"),
            ("observed", result.tcp.established, result.drop_threshold, result.bottleneck or "-"),
        ),
    )


def _measured(result: BurstResult) -> Iterator[str]:
    timing, tcp, invocations = result.timing, result.tcp, result.invocations
    yield f"{timing.invocations_per_s:,.0f} invocations/s while connecting ({timing.connect_phase_s:.1f} s)"
    latency = result.latency
    latencies = (("DNS", latency.dns), ("connect", latency.connect), ("request", latency.request))
    if known := [_percentiles(name, each) for name, each in latencies if each]:
        yield f"latency, half of them within, 99 % within: {'; '.join(known)}"
    if tcp.syn_retransmissions:
        late = sum(tcp.established_at_syn[1:])
        yield f"{tcp.syn_retransmissions:,} SYN retransmissions; {late:,} connections were established by one"
    for kind, syns in result.ports_not_found.items():
        counted = ": its ErrorPortAllocation counts them, too" if kind == "nat_gateway" else ""
        yield f"{syns:,} SYNs were lost where the kernel's search found no free port in {one_of(kind)}{counted}"
    if invocations.reused:
        yield f"{invocations.reused:,} invocations found a connection open, {result.dns.asked:,} made one"
    if invocations.waiting:
        yield (
            f"up to {invocations.waiting:,} invocations had come and found no port free, and came late: "
            "an ENI has 65,000 ports; --scale 2 leaves some over"
        )


def _percentiles(name: str, each: Percentiles) -> str:
    return f"{name} {each.p50_ms:.1f} ms, {each.p99_ms:.1f} ms"


def _show_verdict(result: BurstResult) -> None:
    verdict = judge(result)
    say(verdict.headline, style="bold red" if result.bottleneck else "bold green")
    for text in verdict.explanation:
        say(text)
    if verdict.remedies:
        say()
        say("What helps:", style="bold")
        for text in verdict.remedies:
            bullet(text)


def _show_faults(result: BurstResult) -> None:
    for text in result.incidents:
        complain(text)
    for text in result.disagreements:
        complain(f"the two accounts differ: {text}")


_ROWS: tuple[tuple[str, Callable[[BurstResult], int | str | None]], ...] = (
    ("invocations", lambda result: result.offered),
    ("served", lambda result: result.invocations.served),
    ("failed", lambda result: result.invocations.failed),
    ("connections made", lambda result: result.tcp.attempted),
    ("connections used again", lambda result: result.invocations.reused),
    ("connections that timed out", lambda result: result.tcp.timed_out),
    ("most at a time in an ENI", lambda result: _peak(result, "hyperplane_eni")),
    ("most at a time in an Elastic IP", lambda result: _peak(result, "nat_gateway")),
    ("drop threshold", lambda result: result.drop_threshold),
    ("bottleneck", lambda result: result.bottleneck or "-"),
)


def _peak(result: BurstResult, kind: str) -> int | None:
    return max((each.peak for each in result.limits if each.kind == kind), default=None)


def show_side_by_side(without: BurstResult, reused: BurstResult) -> None:
    """The same load without reuse of connections and with it."""
    say(f"{number(without.offered)} invocations in lab {without.lab}, twice", style="bold")
    say()
    table(
        ("", "#a connection each", "#connections reused"),
        ((name, value(without), value(reused)) for name, value in _ROWS),
    )
    for name, result in (("A connection for each invocation", without), ("Connections reused", reused)):
        say()
        say(f"{name}: {judge(result).headline}", style="bold red" if result.bottleneck else "bold green")
        _show_faults(result)

"""Verdicts where no limiter and no barrier had a part: failures of another kind, or none at all. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.result import BurstResult
from lab.diagnosis.verdict.common import Verdict, headroom

__all__ = ["dns_alone", "half_open", "no_limit", "other_failures", "silence"]


def silence(result: BurstResult) -> Verdict:
    """Nobody answered, and nobody says that he dropped anything."""
    return Verdict(
        headline=f"{result.tcp.timed_out:,} connections timed out, and no limiter refused them",
        explanation=(
            "Their SYNs were lost on the way, or not answered in time.",
            *((f"DNS failed for {result.dns.failed:,} invocations, too.",) if result.dns.failed else ()),
        ),
        remedies=(
            "See whether the server runs and routes lead to it: lab exec NODE -- ss -lntu; lab exec NODE -- ip route.",
            "See whether somebody has put faults on the way: lab impair.",
        ),
    )


def dns_alone(result: BurstResult) -> Verdict:
    """Only DNS failed."""
    dns = result.dns
    return Verdict(
        headline=f"DNS failed for {dns.failed:,} of {dns.asked:,} invocations, and no limit refused their questions",
        explanation=(
            "Whoever learned the server's address was connected: the name server is the cause, or the way to it.",
        ),
        remedies=(
            "See whether the resolver runs, and what it answers: lab exec FUNCTION -- dig HOSTNAME.",
            "See whether somebody has put faults on the way: lab impair.",
        ),
    )


def other_failures(result: BurstResult) -> Verdict:
    """Refused, reset, or unanswered: the far end had a part in it."""
    return Verdict(
        headline=f"No limit reached, and still {result.invocations.failed:,} of {result.offered:,} invocations failed",
        explanation=tuple(_failures(result)),
        remedies=("See whether the resolver and the server run, and what listens there: lab exec NODE -- ss -lntu.",),
    )


def _failures(result: BurstResult) -> Iterator[str]:
    dns, tcp = result.dns, result.tcp
    if dns.failed:
        yield f"The resolver left {dns.failed:,} questions unanswered."
    if tcp.refused:
        yield (
            f"The server refused {tcp.refused:,} connections with a RST, as where no program listens on the port: "
            "with `embedded: false` that is yours to start."
        )
    if tcp.reset:
        yield f"The server reset {tcp.reset:,} connections after they were established."
    if missing := result.requests.sent - result.requests.answered:
        yield f"{missing:,} of {result.requests.sent:,} requests had no answer."


def half_open(result: BurstResult) -> Verdict:
    """SYNs alone, all answered."""
    return Verdict(
        headline=f"No limit reached: {result.tcp.half_open:,} SYNs answered, and left half-open",
        explanation=tuple(headroom(result)),
        remedies=(),
    )


def no_limit(result: BurstResult) -> Verdict:
    """Nothing failed."""
    return Verdict(
        headline=f"No limit reached: {_together(result)}",
        explanation=tuple(headroom(result)),
        remedies=(),
    )


def _together(result: BurstResult) -> str:
    tcp = result.tcp
    if tcp.established == 1:
        return "the only connection was established"
    if tcp.open == tcp.established:
        return f"all {tcp.established:,} connections are established at the same time"
    most = max(sample.open for sample in result.series)
    return f"all {tcp.established:,} connections were established, {most:,} at a time"

"""The judgement on invocations of a function's own code: what became of them, and what the code does with connections.

The kernel says which limits refused and which connections were reset; the Runtime API says what became of invocations.
A loss is put down to a limit only where invocations failed as well: an SDK that tries again may hide it. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.diagnosis import words
from lab.diagnosis.evidence import of_seen
from lab.diagnosis.findings import Finding, find
from lab.diagnosis.observed import explained
from lab.diagnosis.verdict import Verdict
from lab.invoke.result import InvokeResult
from lab.nodes.diagnosis import REUSE, connections, counted
from lab.nodes.registry import kind_of

__all__ = ["judge_invocations"]

_EACH, _AGAIN = 0.9, 0.05
"""Connections per invocation: from so many on each invocation makes its own; up to so many they are used again."""
_OF_THE_KERNEL = ("no_limit", "impaired")
"""What the kernel finds where nothing of it cost a connection."""


def judge_invocations(result: InvokeResult) -> Verdict:
    """The verdict on one `lab invoke`."""
    finding = find(of_seen(result.kernel))
    failed = _failed(result)
    cause = _cause(result, finding)
    return Verdict(
        cause,
        _headline(result, finding, cause),
        tuple(_explanation(result, finding, cause)),
        tuple(_remedies(result, finding, cause)) if failed or finding.cause not in _OF_THE_KERNEL else (),
    )


def _failed(result: InvokeResult) -> int:
    outcomes = result.outcomes
    return outcomes.offered - outcomes.ok - outcomes.throttled


def _cause(result: InvokeResult, finding: Finding) -> str:
    outcomes = result.outcomes
    if not outcomes.ok and outcomes.init is None and outcomes.errors:
        return "init_error"
    if finding.cause not in _OF_THE_KERNEL:
        return finding.cause
    if _failed(result):
        return "timed_out" if outcomes.timed_out > _failed(result) - outcomes.timed_out else "function_error"
    return "throttled" if outcomes.throttled else finding.cause


def _headline(result: InvokeResult, finding: Finding, cause: str) -> str:
    outcomes = result.outcomes
    match cause:
        case "init_error":
            first = outcomes.errors[0].example
            return f"The function does not start: {first.type}: {first.message}"
        case "function_error":
            most = outcomes.errors[0]
            what = f"{most.type}: {most.example.message}"
            return f"The function fails: {counted(most.count, 'invocation')} with {what}"
        case "timed_out":
            return f"The function takes longer than its time-out: {counted(outcomes.timed_out, 'invocation')}"
        case "throttled":
            return f"Reserved concurrency: {counted(outcomes.throttled, 'invocation')} throttled, the others answered"
        case "no_limit":
            return f"All {counted(outcomes.ok, 'invocation')} answered; no limit was reached"
        case _:
            return words.headline(finding)


def _explanation(result: InvokeResult, finding: Finding, cause: str) -> Iterator[str]:
    yield from _connections(result)
    if cause == finding.cause and cause not in _OF_THE_KERNEL:
        yield from explained(finding)
        if not _failed(result):
            yield (
                "All invocations were answered all the same: their clients tried again, or waited until there was room."
            )
    elif cause in {"function_error", "timed_out", "init_error"}:
        yield "The lab's limits refused none of its connections, and no connection was reset by a NAT node."


def _connections(result: InvokeResult) -> Iterator[str]:
    """What the code does with connections, and what that means for the limit that it meets first."""
    seen = result.connections
    if not seen.opened:
        return
    each = f"{connections(seen.opened)} for {counted(_begun(result), 'invocation')}, {seen.per_invocation:.3g} each"
    if seen.per_invocation >= _EACH:
        yield (
            f"Each invocation opens {seen.per_invocation:.2f} connections ({each}): the client is made inside the "
            "handler, or does not keep its connections."
        )
        yield from _when_full(result)
    elif seen.per_invocation <= _AGAIN:
        yield f"Connections are used again: {each}."
    else:
        yield f"Some invocations open a connection, some use one again: {each}."


def _begun(result: InvokeResult) -> int:
    return sum(environment.invocations for environment in result.connections.environments)


def _when_full(result: InvokeResult) -> Iterator[str]:
    enis = {environment.eni for environment in result.connections.environments}
    of_enis = [limit for limit in result.kernel.limits if limit.node in enis]
    if of_enis:
        limit = of_enis[0]
        most = max(limit.peak for limit in of_enis)
        one = kind_of(limit.kind).one
        yield (
            f"{one[0].upper()}{one[1:]} has room for {connections(limit.limit)} at a time, open, closing "
            f"or half-open; the most held was {most:,}."
        )


def _remedies(result: InvokeResult, finding: Finding, cause: str) -> Iterator[str]:
    of_the_kernel = words.remedies(finding) if cause == finding.cause and cause not in _OF_THE_KERNEL else ()
    if result.connections.per_invocation >= _EACH and cause != "init_error" and REUSE not in of_the_kernel:
        yield REUSE
    if cause == "idle_timeout":
        yield (
            "An environment is frozen between invocations, and sends no keep-alive then: have the client try again on "
            "a connection that was reset, or give up idle ones before the NAT gateway does."
        )
    yield from of_the_kernel

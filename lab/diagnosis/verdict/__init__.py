"""The judgement in plain words: what was reached, what AWS would show of it, what helps. Pure."""

from __future__ import annotations

from collections.abc import Callable

from lab.burst.result import BurstResult
from lab.diagnosis.verdict.barriers import barrier, dns_quota, stopped, walls
from lab.diagnosis.verdict.common import Verdict, quotas
from lab.diagnosis.verdict.limits import eni_limit, port_exhaustion, target_limit, waited_out
from lab.diagnosis.verdict.others import dns_alone, half_open, no_limit, other_failures, silence

__all__ = ["Verdict", "barrier", "judge"]


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    return next(verdict(result) for holds, verdict in _CASES if holds(result))


_CASES: tuple[tuple[Callable[[BurstResult], object], Callable[[BurstResult], Verdict]], ...] = (
    (lambda result: walls(result) and result.tcp.timed_out, stopped),
    (lambda result: result.bottleneck == "hyperplane_eni", eni_limit),
    (lambda result: result.bottleneck == "nat_gateway", port_exhaustion),
    (lambda result: result.bottleneck == "interface_endpoint", target_limit),
    (lambda result: quotas(result) and not result.tcp.timed_out, dns_quota),
    (lambda result: result.tcp.timed_out, silence),
    (lambda result: any(limit.dropped_packets for limit in result.limits), waited_out),
    (lambda result: result.tcp.half_open, half_open),
    (lambda result: result.dns.failed and result.dns.failed == result.invocations.failed, dns_alone),
    (lambda result: result.invocations.failed, other_failures),
    (lambda _: True, no_limit),
)
"""The first case that holds is the verdict."""

"""A function's part of a burst of several, as a burst of its own: so one judge finds the cause of each. Pure.

What its clients counted is its own. Of what the kernel counted it has what is on its connections' way, if it lost any
there: a limit that functions share has refused the connections of whoever lost some.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lab.burst.endings import Endings
from lab.burst.functions import FunctionResult
from lab.burst.result import BurstResult, LimitResult
from lab.diagnosis.drops import drops_questions
from lab.schema.drops import DropCount
from traffic.result import DnsCount, InvocationCount, RequestCount

__all__ = ["part_of"]


def part_of(result: BurstResult, function: FunctionResult) -> BurstResult:
    """The burst of this function alone; the counts of packets are those of all."""
    lost = _lost(function)
    # Requests and TLS handshakes are counted of all functions together.
    otherwise = function.failed > lost + function.emfile
    limits = tuple(_limits(result, function, lost=lost))
    without_look_up = bool(result.tcp.emfile)
    return replace(
        result,
        offered=function.offered,
        invocations=InvocationCount(
            function.offered, function.served, function.failed, 0, throttled=function.throttled
        ),
        dns=DnsCount(function.asked, function.answered, function.dns_failed, 0 if without_look_up else function.emfile),
        tcp=replace(
            result.tcp,
            attempted=function.attempted,
            established=function.established,
            timed_out=function.timed_out,
            refused=function.refused,
            reset=function.reset,
            half_open=function.half_open,
            closed_by_server=function.closed_by_server,
            open=min(result.tcp.open, function.established),
            emfile=function.emfile if without_look_up else 0,
        ),
        requests=result.requests if otherwise else RequestCount(0, 0),
        tls=result.tls if otherwise else None,
        limits=limits,
        stops=tuple(_stops(result, function)),
        bottleneck=_bottleneck(limits, result.bottleneck),
        impairments=result.impairments if lost else (),
        endings=_endings(result.endings, function, lost=bool(lost or otherwise)),
        functions=(function,),
        descriptors=replace(result.descriptors, connections_seen=None) if result.descriptors else None,
    )


def _lost(function: FunctionResult) -> int:
    """Questions and connections of its own that the network, a limit or the server failed."""
    closed = min(function.closed_by_server, function.failed)
    return function.dns_failed + function.timed_out + function.refused + function.reset + closed


def _limits(result: BurstResult, function: FunctionResult, *, lost: int) -> Iterator[LimitResult]:
    for limit in result.limits:
        if limit.node in function.nodes:
            yield limit if lost else replace(limit, dropped_packets=0, dropped_connections=0)


def _bottleneck(limits: tuple[LimitResult, ...], first: str | None) -> str | None:
    """The kind of limit that refused first on its way."""
    refusing = [limit for limit in limits if limit.dropped_packets]
    if any(limit.kind == first for limit in refusing):
        return first
    earliest = min(refusing, key=lambda limit: limit.first_refusal_s or 0.0, default=None)
    return earliest.kind if earliest else None


def _stops(result: BurstResult, function: FunctionResult) -> Iterator[DropCount]:
    """What dropped its packets: of drops that the topology predicts those that it predicts of this function."""
    others = {point for other in result.functions for point in other.dead_ends} - set(function.dead_ends)
    for stop in result.stops:
        lost = function.dns_failed if drops_questions(stop) else function.timed_out
        if lost and stop.point not in others:
            yield stop


def _endings(endings: Endings, function: FunctionResult, *, lost: bool) -> Endings:
    return replace(
        endings,
        closed_by_server=function.closed_by_server,
        reset_by_server=min(endings.reset_by_server, function.reset),
        nodes=tuple(node for node in endings.nodes if lost and node.node in function.nodes),
    )

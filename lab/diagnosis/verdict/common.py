"""What verdicts have in common: their form, sentences about DNS and headroom, what always helps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.burst.result import BurstResult, LimitResult
from lab.schema.drops import DropCount

__all__ = ["ALWAYS", "OTHER_RESOLVER", "Verdict", "dns_outcome", "headroom", "of_kind", "over_quota", "quotas"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]


def of_kind(result: BurstResult, kind: str) -> list[LimitResult]:
    """The limits of one kind."""
    return [limit for limit in result.limits if limit.kind == kind]


def dns_outcome(result: BurstResult) -> Iterator[str]:
    """What became of DNS, and why."""
    dns = result.dns
    if not dns.asked:
        return
    if result.resolver == "service_vpc":
        yield f"DNS succeeded for {dns.answered:,} of {dns.asked:,} invocations, because {_BESIDE}."
    elif dns.failed:
        yield f"DNS failed for {dns.failed:,} of {dns.asked:,} invocations, because {_BEHIND}."
    else:
        yield f"DNS succeeded for all {dns.asked:,} invocations, although {_BEHIND}; each question took a connection."
    yield from map(over_quota, quotas(result))


def quotas(result: BurstResult) -> list[DropCount]:
    """What a quota of the resolver stopped."""
    return [stop for stop in result.stops if stop.kind == "dns_quota"]


def over_quota(quota: DropCount) -> str:
    """What a quota dropped, in a sentence."""
    return f"{quota.dropped_packets:,} questions, with their repetitions, were dropped: more than {quota.name}."


def headroom(result: BurstResult) -> Iterator[str]:
    """How much of each limit is in use, or that none is on the way."""
    if not result.limits:
        yield "No limit is on the way: outside the VPC there is no Hyperplane ENI and no NAT gateway."
    for kind, words in _LIMITERS.items():
        limits = of_kind(result, kind)
        if limits:
            held, room = sum(each.peak for each in limits), sum(each.limit for each in limits)
            yield f"{words}: {held:,} of {room:,} connections in use."


_LIMITERS = {
    "hyperplane_eni": "Hyperplane ENIs",
    "nat_gateway": "NAT gateway addresses",
    "interface_endpoint": "Interface endpoints",
}

_BESIDE = "the resolver is in the service VPC"

_BEHIND = "the name server is behind the ENI as well"

OTHER_RESOLVER = (
    "Ask the Amazon resolver instead of a name server in the VPC: no question to it crosses the ENI, where each takes "
    "a connection."
)

ALWAYS = (
    "Reuse connections across invocations: create the client outside the handler and keep it alive.",
    "Where the function needs nothing of the VPC, run it outside: neither limit is on its way then.",
)

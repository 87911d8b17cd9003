"""The judgement in plain words: what was reached, what AWS would show of it, what helps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.result import BurstResult, LimitResult
from lab.topology.limits import (
    ENI_CONNECTIONS,
    NAT_EIPS,
    NAT_CONNECTIONS_PER_DESTINATION,
)

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    if result.bottleneck == "hyperplane_eni":
        return _eni_limit(result)
    if result.bottleneck == "nat_gateway":
        return _port_exhaustion(result)
    if result.tcp.timed_out:
        return _silence(result)
    return _no_limit(result)


def _of(result: BurstResult, kind: str) -> list[LimitResult]:
    return [limit for limit in result.limits if limit.kind == kind]


def _eni_limit(result: BurstResult) -> Verdict:
    full = [limit for limit in _of(result, "hyperplane_eni") if limit.dropped_packets]
    names = ", ".join(limit.node for limit in full)
    nat_drops = sum(limit.dropped_packets for limit in _of(result, "nat_gateway"))
    metric = "stays 0" if nat_drops == 0 else f"rises by {nat_drops:,} as well"
    return Verdict(
        headline=f"Hyperplane ENI connection limit reached: {names}, {full[0].limit:,} connections each",
        explanation=(
            f"{_dns(result)} Connections cross a Hyperplane ENI, and each ENI that is full drops every further SYN "
            "without an answer.",
            f"No CloudWatch metric shows this limit; the NAT gateway's ErrorPortAllocation {metric}.",
        ),
        remedies=(
            f"Add a private subnet to the function: one more ENI, {full[0].limit:,} more connections "
            f"(AWS: {ENI_CONNECTIONS:,}). A different security-group set gives an ENI of its own, too.",
            *_ALWAYS,
        ),
    )


def _port_exhaustion(result: BurstResult) -> Verdict:
    entries = _of(result, "nat_gateway")
    refused = sum(limit.dropped_packets for limit in entries)
    full = {limit.node: [each for each in entries if each.node == limit.node] for limit in entries if limit.dropped_packets}
    gateways = ", ".join(
        f"{node}, {len(eips)} Elastic IP{'s' if len(eips) > 1 else ''} with {eips[0].limit:,} connections each to {eips[0].destination}"
        for node, eips in full.items()
    )
    most = max(len(eips) for eips in full.values())
    return Verdict(
        headline=f"NAT gateway port exhaustion: {gateways}",
        explanation=(
            f"{_dns(result)} Once no Elastic IP has a port left for this destination, the NAT gateway drops the SYN "
            "without an answer.",
            f"CloudWatch shows it: ErrorPortAllocation rises by {refused:,}, one per SYN refused.",
        ),
        remedies=(_more_addresses(most, entries[0].limit), *_ALWAYS),
    )


def _more_addresses(elastic_ips: int, each: int) -> str:
    if elastic_ips >= NAT_EIPS:
        return (
            f"The gateway has all {NAT_EIPS} Elastic IPs that AWS allows: route some of the subnets through a "
            "second NAT gateway, or spread the load over more destination addresses or ports."
        )
    return (
        f"Associate a secondary Elastic IP with the NAT gateway: {each:,} more connections to each destination "
        f"(AWS: {NAT_CONNECTIONS_PER_DESTINATION:,}), up to {NAT_EIPS}; AWS's default quota is 2."
    )


def _silence(result: BurstResult) -> Verdict:
    return Verdict(
        headline=f"{result.tcp.timed_out:,} connections timed out, and no limiter refused them",
        explanation=("The SYNs were lost or never answered somewhere else on the way.",),
        remedies=(
            "See whether the server is up and the routes lead to it: lab status; lab exec NODE -- ip route.",
        ),
    )


def _no_limit(result: BurstResult) -> Verdict:
    return Verdict(
        headline=f"No limit reached: all {result.tcp.established:,} connections are established at the same time",
        explanation=tuple(_headroom(result)),
        remedies=(),
    )


def _headroom(result: BurstResult) -> Iterator[str]:
    for kind, words in (("hyperplane_eni", "Hyperplane ENIs"), ("nat_gateway", "NAT gateway addresses")):
        limits = _of(result, kind)
        if limits:
            held, room = sum(each.peak for each in limits), sum(each.limit for each in limits)
            yield f"{words}: {held:,} of {room:,} connections in use."


def _dns(result: BurstResult) -> str:
    return (
        f"DNS succeeded for {result.dns.answered:,} of {result.dns.asked:,} invocations, because the resolver is in "
        "the service VPC."
    )


_ALWAYS = (
    "Reuse connections across invocations: create the client outside the handler and keep it alive.",
    "Where the function needs nothing of the VPC, run it outside: neither limit is on its way then.",
)

"""Verdicts on a limit that was reached: which one, what AWS shows of it, what would raise it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lab.burst.result import BurstResult, LimitResult
from lab.diagnosis.verdict.common import ALWAYS, OTHER_RESOLVER, Verdict, dns_outcome, of_kind
from lab.schema.limits import NAT_EIPS

__all__ = ["eni_limit", "port_exhaustion", "target_limit", "waited_out"]


def eni_limit(result: BurstResult) -> Verdict:
    """A Hyperplane ENI dropped first."""
    full = [limit for limit in of_kind(result, "hyperplane_eni") if limit.dropped_packets]
    names = ", ".join(limit.node for limit in full)
    return Verdict(
        headline=f"Hyperplane ENI connection limit reached: {names}, {full[0].limit:,} connections each",
        explanation=(
            *dns_outcome(result),
            "Connections cross a Hyperplane ENI, and one that is full drops every further SYN without an answer.",
            f"No CloudWatch metric shows this limit; {_nat_gateways(result)}.",
        ),
        remedies=(
            *((OTHER_RESOLVER,) if result.resolver == "vpc" else ()),
            f"Add a private subnet to the function: one more ENI, with room for {full[0].limit:,} connections.",
            "A different security-group set gives a function an ENI of its own, too.",
            *ALWAYS,
        ),
    )


def _nat_gateways(result: BurstResult) -> str:
    """What CloudWatch shows instead."""
    limits = of_kind(result, "nat_gateway")
    if not limits:
        return "no NAT gateway is on the way"
    errors = _without_port(result)
    metric = f"rises by {errors:,} as well" if errors else "stays 0"
    return f"the NAT gateway's ErrorPortAllocation {metric}"


def _without_port(result: BurstResult) -> int:
    """Packets for which NAT gateways had no slot, or for which the kernel's search found no port."""
    kind = "nat_gateway"
    return sum(limit.dropped_packets for limit in of_kind(result, kind)) + result.ports_not_found.get(kind, 0)


def port_exhaustion(result: BurstResult) -> Verdict:
    """A NAT gateway dropped first."""
    entries = of_kind(result, "nat_gateway")
    by_gateway = {
        node: [each for each in entries if each.node == node] for node in dict.fromkeys(e.node for e in entries)
    }
    full = [eips for eips in by_gateway.values() if any(each.dropped_packets for each in eips)]
    return Verdict(
        headline=f"NAT gateway port exhaustion: {'; '.join(_capacity(eips) for eips in full)}",
        explanation=(
            *dns_outcome(result),
            "Once no Elastic IP has a port left for the destination, the NAT gateway drops SYNs without an answer.",
            f"CloudWatch shows it: ErrorPortAllocation rises by {_without_port(result):,} here, one per SYN refused.",
        ),
        remedies=(*dict.fromkeys(_more_addresses(eips) for eips in full), *ALWAYS),
    )


def _capacity(eips: Sequence[LimitResult]) -> str:
    """What one gateway has."""
    first = eips[0]
    addresses = f"{len(eips)} Elastic IP{'s' if len(eips) > 1 else ''}"
    return f"{first.node} with {addresses}, {first.limit:,} connections each to {first.destination}"


def _more_addresses(eips: Sequence[LimitResult]) -> str:
    if len(eips) >= NAT_EIPS:
        return (
            f"{eips[0].node} has all {NAT_EIPS} Elastic IPs that AWS allows: route some of the subnets through a "
            "second NAT gateway, or spread the load over more destination addresses or ports."
        )
    return (
        f"Associate a secondary Elastic IP with {eips[0].node}: room there for {eips[0].limit:,} more connections to "
        f"each destination (up to {NAT_EIPS} addresses; AWS's default quota is 2)."
    )


def target_limit(result: BurstResult) -> Verdict:
    """An interface endpoint's load balancer dropped first."""
    (full,) = (limit for limit in of_kind(result, "interface_endpoint") if limit.dropped_packets)
    return Verdict(
        headline=f"Load balancer's limit reached: {full.node}, {full.limit:,} connections to {full.destination}",
        explanation=(
            *dns_outcome(result),
            "The endpoint's load balancer has no port left towards its target, and drops SYNs without an answer.",
            "The service's owner sees it in PortAllocationErrorCount; the VPC's owner has no metric of it.",
        ),
        remedies=("Ask the service's owner for more targets: each adds as many connections.", *ALWAYS[:1]),
    )


def waited_out(result: BurstResult) -> Verdict:
    """A limiter refused, and retransmissions succeeded as other connections were closed."""
    full = dict.fromkeys(limit.node for limit in result.limits if limit.dropped_packets)
    late = sum(result.tcp.established_at_syn[1:])
    connect = result.latency.connect
    waited = f", 1 % of them after {connect.p99_ms / 1000:,.1f} s or more" if connect else ""
    return Verdict(
        headline=f"Limit reached and waited out: {', '.join(full)} refused SYNs, and later ones succeeded",
        explanation=(
            f"{late:,} of {result.tcp.established:,} connections were established by a SYN after their first{waited}.",
            "Nobody timed out, because connections were closed before the patience of those that waited ended.",
        ),
        remedies=ALWAYS[:1],
    )

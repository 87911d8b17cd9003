"""Verdicts on what looks like a limit and is none: a missing route, a firewall, the resolver's quota. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis.verdict.common import ALWAYS, Verdict, dns_outcome, over_quota, quotas
from lab.schema.drops import DropCount

__all__ = ["barrier", "dns_quota", "stopped", "walls"]


def walls(result: BurstResult) -> list[DropCount]:
    """What stopped packets of connections: all but a quota, which stops questions."""
    return [stop for stop in result.stops if stop not in quotas(result)]


def stopped(result: BurstResult) -> Verdict:
    """A barrier dropped connections, whatever the limits; a limiter may have refused others as well."""
    found = walls(result)
    worst = max(found, key=lambda stop: stop.dropped_packets)
    words = _words(worst)
    dropped = sum(stop.dropped_packets for stop in found)
    places = dict.fromkeys(_told(_words(stop).where, stop) for stop in found)
    timed_out = f"{result.tcp.timed_out:,} connections timed out"
    limited = sum(limit.dropped_connections for limit in result.limits)
    return Verdict(
        headline=_told(words.headline, worst),
        explanation=(
            f"{timed_out}; {dropped:,} of their packets were dropped {' and '.join(places)}.",
            *((f"Limits refused {limited:,} connections as well.",) if limited else ("No limit was reached.",)),
            *dict.fromkeys(_told(_words(stop).evidence, stop) for stop in found),
            *dns_outcome(result),
        ),
        remedies=tuple(dict.fromkeys(_cure(stop) for stop in found)),
    )


def barrier(stop: DropCount) -> Verdict:
    """One barrier, whoever's packets it dropped."""
    words = _words(stop)
    return Verdict(_told(words.headline, stop), (_told(words.evidence, stop),), (_cure(stop),))


def dns_quota(result: BurstResult) -> Verdict:
    """The resolver left questions unanswered; they come again after a while, and some wait in vain."""
    quota, dns = quotas(result)[0], result.dns
    words = _BARRIERS[quota.kind]
    outcome = f"failed for {dns.failed:,}" if dns.failed else "succeeded after all for all"
    return Verdict(
        headline=words.headline.format(name=quota.name),
        explanation=(
            f"DNS {outcome} of {dns.asked:,} invocations; {over_quota(quota)}",
            words.evidence.format(name=quota.name),
            *(("All of a Hyperplane ENI's environments share its interface.",) if result.resolver == "vpc" else ()),
        ),
        remedies=(words.remedy, *ALWAYS[:1]),
    )


@dataclass(frozen=True, slots=True)
class _BarrierWords:
    """How one kind of barrier is told, with the name of what it belongs to, and its direction if it has one."""

    headline: str
    where: str
    evidence: str
    remedy: str


_BARRIERS = {
    "dns_quota": _BarrierWords(
        headline="The resolver's quota reached: {name}",
        where="by the resolver's quota of {name}",
        evidence="The resolver takes {name} and leaves the rest unanswered; no metric of the function shows it.",
        remedy="Keep DNS answers for as long as their TTL allows, and spread questions over more interfaces: more "
        "subnets, more ENIs.",
    ),
    "no_route": _BarrierWords(
        headline="No route, and no limit: the subnet {name} leads nowhere",
        where="where the subnet {name} has no default route",
        evidence="The Hyperplane ENI let the SYNs pass; the subnet's route table has no way to the server, and a VPC "
        "drops what it cannot route without a word, just as a full ENI does.",
        remedy="Give the subnet {name} a default route to a NAT gateway, or an interface endpoint for the server.",
    ),
    "security_group": _BarrierWords(
        headline="Security group forbids it: egress of {name} does not allow the server",
        where="by egress of the security group {name}",
        evidence="The Hyperplane ENI drops what its security groups do not allow before it takes a port for it, and "
        "without a word, just as a full ENI does.",
        remedy="Add a rule for the server to egress of the security group {name}.",
    ),
    "network_acl": _BarrierWords(
        headline="Network ACL forbids it: {direction} of {name} does not allow the server",
        where="by {direction} of the network ACL {name}",
        evidence="The Hyperplane ENI let the SYNs pass, and has a port taken for each connection; no entry of the "
        "network ACL allows them across the subnet's border.",
        remedy="Add an entry for the server to {direction} of the network ACL {name}.",
    ),
}

_OF_ANSWERS = _BarrierWords(
    headline="Network ACL forbids the answers: {direction} of {name} has no entry for the clients' ports",
    where="by {direction} of the network ACL {name}",
    evidence="The server answered, and its answers were dropped on their way back: a network ACL is stateless, so "
    "answers need an entry of their own, for the ports that clients use (1024-65535). Until then each connection "
    "holds its ports on the way, half-open.",
    remedy="Add an entry for the ports 1024-65535 to {direction} of the network ACL {name}.",
)


def _words(stop: DropCount) -> _BarrierWords:
    return _OF_ANSWERS if stop.answers else _BARRIERS[stop.kind]


def _told(words: str, stop: DropCount) -> str:
    return words.format(name=stop.name, direction=stop.direction)


def _cure(stop: DropCount) -> str:
    return stop.cure or _told(_words(stop).remedy, stop)

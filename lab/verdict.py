"""The judgement in plain words: what was reached, what AWS would show of it, what helps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lab.result import BurstResult, LimitResult, StopResult
from lab.topology.limits import NAT_EIPS

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    return next(verdict(result) for holds, verdict in _CASES if holds(result))


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
            *_dns(result),
            "Connections cross a Hyperplane ENI, and one that is full drops every further SYN without an answer.",
            f"No CloudWatch metric shows this limit; the NAT gateway's ErrorPortAllocation {metric}.",
        ),
        remedies=(
            *((_OTHER_RESOLVER,) if result.resolver == "vpc" else ()),
            f"Add a private subnet to the function: one more ENI, {full[0].limit:,} more connections.",
            "A different security-group set gives a function an ENI of its own, too.",
            *_ALWAYS,
        ),
    )


def _port_exhaustion(result: BurstResult) -> Verdict:
    entries = _of(result, "nat_gateway")
    refused = sum(limit.dropped_packets for limit in entries)
    by_gateway = {
        node: [each for each in entries if each.node == node] for node in dict.fromkeys(e.node for e in entries)
    }
    full = [eips for eips in by_gateway.values() if any(each.dropped_packets for each in eips)]
    return Verdict(
        headline=f"NAT gateway port exhaustion: {'; '.join(_capacity(eips) for eips in full)}",
        explanation=(
            *_dns(result),
            "Once no Elastic IP has a port left for the destination, the NAT gateway drops SYNs without an answer.",
            f"CloudWatch shows it: ErrorPortAllocation rises by {refused:,} here, one per SYN refused.",
        ),
        remedies=(*dict.fromkeys(_more_addresses(eips) for eips in full), *_ALWAYS),
    )


def _target_limit(result: BurstResult) -> Verdict:
    (full,) = (limit for limit in _of(result, "interface_endpoint") if limit.dropped_packets)
    return Verdict(
        headline=f"Load balancer's limit reached: {full.node}, {full.limit:,} connections to {full.destination}",
        explanation=(
            *_dns(result),
            "The endpoint's load balancer has no port left towards its target, and drops SYNs without an answer.",
            "The service's owner sees it in PortAllocationErrorCount; the VPC's owner has no metric of it.",
        ),
        remedies=("Ask the service's owner for more targets: each adds as many connections.", *_ALWAYS[:1]),
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
        f"Associate a secondary Elastic IP with {eips[0].node}: {eips[0].limit:,} more connections to each destination "
        f"(up to {NAT_EIPS} addresses; AWS's default quota is 2)."
    )


def _stopped(result: BurstResult) -> Verdict:
    """A barrier dropped connections, whatever the limits; a limiter may have refused others as well."""
    worst = max(result.stops, key=lambda stop: stop.dropped_packets)
    words = _words(worst)
    dropped = sum(stop.dropped_packets for stop in result.stops)
    places = dict.fromkeys(_told(_words(stop).where, stop) for stop in result.stops)
    timed_out = f"{result.tcp.timed_out:,} connections timed out"
    limited = sum(limit.dropped_connections for limit in result.limits)
    return Verdict(
        headline=_told(words.headline, worst),
        explanation=(
            f"{timed_out}; {dropped:,} of their packets were dropped {' and '.join(places)}.",
            *((f"Limits refused {limited:,} connections as well.",) if limited else ("No limit was reached.",)),
            *dict.fromkeys(_told(_words(stop).evidence, stop) for stop in result.stops),
            *_dns(result),
        ),
        remedies=tuple(dict.fromkeys(_cure(stop) for stop in result.stops)),
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


def _words(stop: StopResult) -> _BarrierWords:
    return _OF_ANSWERS if stop.answers else _BARRIERS[stop.kind]


def _told(words: str, stop: StopResult) -> str:
    return words.format(name=stop.name, direction=stop.direction)


def _cure(stop: StopResult) -> str:
    return stop.cure or _told(_words(stop).remedy, stop)


def _over_quota(quota: StopResult) -> str:
    return f"{quota.dropped_packets:,} questions, with their repetitions, were dropped: more than {quota.name}."


def _walls(result: BurstResult) -> list[StopResult]:
    """What stopped packets of connections: all but a quota, which stops questions."""
    return [stop for stop in result.stops if stop not in _quotas(result)]


def _dns_quota(result: BurstResult) -> Verdict:
    """The resolver left questions unanswered; they come again after a while, and some wait in vain."""
    quota, dns = _quotas(result)[0], result.dns
    words = _BARRIERS[quota.kind]
    outcome = f"failed for {dns.failed:,}" if dns.failed else "succeeded after all for all"
    return Verdict(
        headline=words.headline.format(name=quota.name),
        explanation=(
            f"DNS {outcome} of {dns.asked:,} invocations; {_over_quota(quota)}",
            words.evidence.format(name=quota.name),
            *(("All of a Hyperplane ENI's environments share its interface.",) if result.resolver == "vpc" else ()),
        ),
        remedies=(words.remedy, *_ALWAYS[:1]),
    )


def _quotas(result: BurstResult) -> list[StopResult]:
    return [stop for stop in result.stops if stop.kind == "dns_quota"]


def _dns_alone(result: BurstResult) -> Verdict:
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


def _silence(result: BurstResult) -> Verdict:
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


def _waited_out(result: BurstResult) -> Verdict:
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
        remedies=_ALWAYS[:1],
    )


def _half_open(result: BurstResult) -> Verdict:
    return Verdict(
        headline=f"No limit reached: {result.tcp.half_open:,} SYNs answered, and left half-open",
        explanation=tuple(_headroom(result)),
        remedies=(),
    )


def _other_failures(result: BurstResult) -> Verdict:
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


def _no_limit(result: BurstResult) -> Verdict:
    return Verdict(
        headline=f"No limit reached: {_together(result)}",
        explanation=tuple(_headroom(result)),
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


def _headroom(result: BurstResult) -> Iterator[str]:
    if not result.limits:
        yield "No limit is on the way: outside the VPC there is no Hyperplane ENI and no NAT gateway."
    for kind, words in (("hyperplane_eni", "Hyperplane ENIs"), ("nat_gateway", "NAT gateway addresses")):
        limits = _of(result, kind)
        if limits:
            held, room = sum(each.peak for each in limits), sum(each.limit for each in limits)
            yield f"{words}: {held:,} of {room:,} connections in use."


def _dns(result: BurstResult) -> Iterator[str]:
    dns = result.dns
    if not dns.asked:
        return
    if result.resolver == "service_vpc":
        yield f"DNS succeeded for {dns.answered:,} of {dns.asked:,} invocations, because {_BESIDE}."
    elif dns.failed:
        yield f"DNS failed for {dns.failed:,} of {dns.asked:,} invocations, because {_BEHIND}."
    else:
        yield f"DNS succeeded for all {dns.asked:,} invocations, although {_BEHIND}; each question took a connection."
    yield from map(_over_quota, _quotas(result))


_BESIDE = "the resolver is in the service VPC"
_BEHIND = "the name server is behind the ENI as well"
_OTHER_RESOLVER = (
    "Ask the Amazon resolver instead of a name server in the VPC: no question to it crosses the ENI, where each takes "
    "a connection."
)


_ALWAYS = (
    "Reuse connections across invocations: create the client outside the handler and keep it alive.",
    "Where the function needs nothing of the VPC, run it outside: neither limit is on its way then.",
)

_CASES: tuple[tuple[Callable[[BurstResult], object], Callable[[BurstResult], Verdict]], ...] = (
    (lambda result: _walls(result) and result.tcp.timed_out, _stopped),
    (lambda result: result.bottleneck == "hyperplane_eni", _eni_limit),
    (lambda result: result.bottleneck == "nat_gateway", _port_exhaustion),
    (lambda result: result.bottleneck == "interface_endpoint", _target_limit),
    (lambda result: _quotas(result) and not result.tcp.timed_out, _dns_quota),
    (lambda result: result.tcp.timed_out, _silence),
    (lambda result: any(limit.dropped_packets for limit in result.limits), _waited_out),
    (lambda result: result.tcp.half_open, _half_open),
    (lambda result: result.dns.failed and result.dns.failed == result.invocations.failed, _dns_alone),
    (lambda result: result.invocations.failed, _other_failures),
    (lambda _: True, _no_limit),
)
"""The first case that holds is the verdict."""

"""What became of questions to the name server, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.diagnosis.drops import drop_words, packet_in_words
from lab.diagnosis.findings import Finding
from lab.diagnosis.hosts import host_of
from lab.nodes.diagnosis import counted
from lab.schema.drops import DropCount

__all__ = ["explanation", "is_behind_enis", "outcome"]


def explanation(finding: Finding) -> Iterator[str]:
    """Why questions were dropped, and what became of the invocations."""
    quota, dns = finding.drops[0], finding.clients.dns
    became = f"failed for {dns.failed:,}" if dns.failed else "succeeded after all for all"
    yield f"DNS {became} of {counted(dns.asked, 'invocation')}; {_over_quota(quota)}"
    yield drop_words(quota).mechanism
    yield from _look_ups_within(finding, quota)
    if is_behind_enis(finding):
        yield "All of a Hyperplane ENI's environments share its interface."


def is_behind_enis(finding: Finding) -> bool:
    """Whether questions cross the ENIs, whose limit they meet."""
    clients = finding.evidence.clients
    return clients is not None and clients.resolver == "vpc" and host_of(clients) is None


def outcome(finding: Finding) -> Iterator[str]:
    """What became of DNS, and why."""
    dns = finding.clients.dns
    if not dns.asked:
        return
    invocations = counted(dns.asked - dns.emfile, "invocation")
    if host_of(finding.clients):
        yield f"DNS succeeded for {dns.answered:,} of {invocations}, because no limit is on the way to the name server."
    elif not is_behind_enis(finding):
        yield f"DNS succeeded for {dns.answered:,} of {invocations}, because the resolver is in the service VPC."
    elif dns.failed:
        yield f"DNS failed for {dns.failed:,} of {invocations}, because the name server is behind the ENI as well."
    else:
        yield (
            f"DNS succeeded for all {invocations}, although the name server is behind the ENI as well; each question "
            "took a connection."
        )
    yield from map(_over_quota, finding.evidence.dropped_questions)


def _over_quota(quota: DropCount) -> str:
    were = "was" if quota.dropped_packets == 1 else "were"
    packets = counted(quota.dropped_packets, packet_in_words(quota))
    return f"{packets}, with their repetitions, {were} dropped: more than {quota.name}."


def _look_ups_within(finding: Finding, quota: DropCount) -> Iterator[str]:
    """How many look-ups a quota of packets is, where each of them takes more than one."""
    clients = finding.clients
    if clients.questions_each > 1 and quota.kind == "dns_quota":
        yield (
            f"{clients.dns.asked:,} look-ups sent {clients.questions:,} questions, for each of them asks for A and "
            f"AAAA at once: {quota.name} are half as many look-ups."
        )

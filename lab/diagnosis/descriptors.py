"""Invocations for which their execution environment, or client, had no descriptor left, in words. Pure.

The opposite of a full limit of the network: that drops SYNs, so DNS works and clients wait; this fails the look-up
first, at once, and sends nothing. So no counter of the kernel moves, neither a limiter's nor the resolver's.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.lacking import Lacking
from lab.burst.result import BurstResult
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.diagnosis.hosts import host_of
from lab.nodes.diagnosis import REUSE, connections, counted

__all__ = ["beside", "explanation", "headline", "of_lab", "remedies", "remedy_beside"]


def headline(finding: Finding) -> str:
    """How many invocations failed so; of a lab that is up, which processes have none left, or its last burst's."""
    clients, evidence = finding.evidence.clients, finding.evidence
    if clients is None and evidence.full_processes:
        full = (f"{each.command} ({each.pid})" for each in evidence.full_processes)
        return f"Too many open files: no descriptor left in {', '.join(full)}"
    if clients is None and evidence.lacking:
        return f"Too many open files: {_of_last_burst(evidence.lacking)} failed with EMFILE, before any packet"
    clients = finding.clients
    of_all = f"{clients.emfile:,} of {counted(clients.offered, 'invocation')}"
    whose = f" of {host.name}" if (host := host_of(clients)) else ""
    return f"Too many open files: {of_all}{whose} failed with EMFILE, before any packet"


def _of_last_burst(lacking: Lacking) -> str:
    return f"{lacking.emfile:,} of {counted(lacking.offered, 'invocation')} of the last burst"


def _failed(clients: BurstResult) -> str:
    return counted(clients.emfile, "invocation")


def explanation(finding: Finding) -> Iterator[str]:
    """What an environment, or a client's program, has, which call fails, and what the kernel's counters say of it."""
    clients, refused = finding.clients, finding.evidence.refused_connections
    if account := clients.descriptors:
        each = account.each
        yield (
            f"Each {each.holder} has {each.limit:,} descriptors, {each.at_start:,} of them taken at its start, and one "
            f"for each connection that is open: {each.connections:,} connections, of the "
            f"{account.connections_per_environment:,} that it makes."
        )
        if account.connections_seen is not None:
            yield (
                f"{connections(account.connections_seen)} came to the first node on the way, as many as had a "
                f"descriptor; for the other {_failed(clients)} nothing was sent."
            )
    if clients.dns.emfile:
        yield (
            "The look-up fails first, at once (getaddrinfo EMFILE), for it needs a socket as well: a limit of the "
            "network leaves DNS alone, and lets clients wait."
        )
    full = ", ".join(dict.fromkeys(limit.node for limit in finding.evidence.full))
    yield f"Limits refused {connections(refused)} as well: {full}." if refused else "No limit refused any."


def remedies(finding: Finding) -> Iterator[str]:
    """What gives descriptors back, and what does not."""
    yield REUSE
    clients, lacking = finding.evidence.clients, finding.evidence.lacking
    host = host_of(clients)
    frozen = "" if host else ", also while an execution environment is frozen"
    yield (
        f"Close connections that are not used again: one that is not closed holds its descriptor{frozen}. In the "
        "program, ls -l /proc/self/fd shows what is open."
    )
    if host:
        yield f"More descriptors for the programs of {host.name}: ulimit -n, or LimitNOFILE= of a systemd service."
    account = clients and clients.descriptors
    if each := account.each if account else lacking and lacking.each:
        most = connections(each.connections)
        yield f"Open {most} at most in each {each.holder}, such as by the pool of an SDK (maxSockets)."
    yield "What does not help: more subnets, Elastic IPs or NAT gateways, which were not asked; a longer time-out."


def of_lab(evidence: Evidence) -> Iterator[str]:
    """Processes in a lab that is up that have no descriptor left; and invocations of its last burst that had none."""
    for each in evidence.full_processes:
        yield (
            f"{each.command} ({each.pid}) in {each.namespace} has all its {each.limit:,} descriptors open: its next "
            "look-up, connection or accept() fails with EMFILE, and sends nothing."
        )
    if last := evidence.lacking:
        yield (
            f"{_of_last_burst(last)} failed with EMFILE: each {last.each.holder} has {last.each.limit:,} descriptors, "
            f"{last.each.at_start:,} of them taken at its start, and one for each connection that is open. The lab's "
            "record of that burst says so; they sent nothing, so no counter of the kernel knows of them."
        )


def beside(clients: BurstResult) -> str:
    """A sentence for a burst that failed by another cause, too."""
    return f"Besides, {_failed(clients)} failed with EMFILE, for want of a descriptor, and sent nothing."


def remedy_beside(clients: BurstResult) -> str:
    """What helps against that."""
    account = clients.descriptors
    most = f": {connections(account.each.connections)} at most in each {account.each.holder}" if account else ""
    return f"Against EMFILE, close connections or use them again{most}."

"""Bursts of clients that are no functions, in words: no Hyperplane ENI, and ephemeral ports of their own. Pure.

Ports that are used up are no limit of the network: connect() fails at once, with EADDRNOTAVAIL, and no SYN is sent, so
that no counter of the kernel moves; a full limit lets clients wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lab.burst.result import BurstResult, SourceResult
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.nodes.diagnosis import OUTSIDE, REUSE, connections
from lab.observe.host_ports import PortsInUse

__all__ = [
    "beside",
    "explanation",
    "headline",
    "host_of",
    "in_use",
    "no_eni",
    "of_ports",
    "remedies",
    "remedies_of_host",
]

_KEEP = "Use connections again: keep them alive, in a pool."


def host_of(clients: BurstResult | None) -> SourceResult | None:
    """The client that opened a burst's connections; None where that was a function."""
    return clients.source if clients and clients.source and clients.source.rooms is not None else None


def no_eni(clients: BurstResult | None) -> Iterator[str]:
    """What is not on the way of its connections."""
    if host := host_of(clients):
        yield f"No Hyperplane ENI is on the way: {host.name} is a host in the VPC and no function."


def headline(finding: Finding) -> str:
    """How many connections failed so; of a lab that is up, which addresses have none left."""
    if finding.evidence.clients is None:
        return f"Ephemeral ports used up: {', '.join(map(_all_in_use, finding.evidence.full_ports))}"
    tcp = finding.clients.tcp
    of_all = f"{tcp.without_port:,} of {connections(tcp.attempted)}"
    return f"Ephemeral ports used up: {of_all} failed with EADDRNOTAVAIL (Cannot assign requested address)"


def _all_in_use(ports: PortsInUse) -> str:
    to = "over UDP" if ports.destination is None else f"to {ports.destination}"
    return f"{ports.node} has all {ports.ports:,} of {ports.address} in use {to}"


def of_ports(evidence: Evidence) -> Iterator[str]:
    """Clients of a lab that is up that have no port left: no counter tells of the connections that fail."""
    for ports in evidence.full_ports:
        error = "EADDRNOTAVAIL" if ports.protocol == "tcp" else "EAGAIN"
        yield f"{_all_in_use(ports)}: the next connect() fails at once with {error}, and sends nothing (lab status)."


def explanation(finding: Finding) -> Iterator[str]:
    """What the host has, which call fails, and what the kernel's counters say of it."""
    clients, refused = finding.clients, finding.evidence.refused_connections
    if (host := host_of(clients)) and host.rooms:
        addresses = "its address" if host.addresses == 1 else f"its {host.addresses} addresses"
        answers = len(host.rooms) // host.addresses
        if answers > 1:
            addresses += f" for the server's {answers} together"
        to_whom = "to one address and port" if clients.protocol == "tcp" else "over UDP, to whichever server"
        yield (
            f"{host.name} had {sum(host.rooms):,} ephemeral ports left at {addresses} "
            f"(net.ipv4.ip_local_port_range), and each connection of an address {to_whom} needs one of its own."
        )
    yield (
        f"For {clients.tcp.without_port:,} connect() failed at once, and no SYN was sent: nothing in the network knows "
        "of them. A limit of the network drops SYNs, and clients wait."
    )
    yield f"Limits refused {connections(refused)} as well." if refused else "No limit refused any."


def remedies(_: Finding) -> Iterator[str]:
    """What needs fewer ports or gives more, and what does not."""
    yield _KEEP
    yield "Give the host another address, or take a second host: each brings as many ports."
    yield "Widen the range: sysctl net.ipv4.ip_local_port_range='1024 65535' makes it 64,512 for each address."
    yield "What does not help: Elastic IPs or NAT gateways, which were not asked; a longer time-out."


def beside(clients: BurstResult) -> str:
    """A sentence for a burst that failed by another cause, too."""
    return (
        f"Besides, {connections(clients.tcp.without_port)} failed with EADDRNOTAVAIL and sent no SYN: the host had no "
        "ephemeral port left."
    )


def in_use(clients: BurstResult | None) -> Iterator[str]:
    """How many of its ports a burst used that used up none."""
    host = host_of(clients)
    if clients and host and host.rooms:
        yield f"Ephemeral ports of {host.name}: {clients.tcp.called:,} of {connections(sum(host.rooms))} in use."


def remedies_of_host(sentences: Iterable[str]) -> Iterator[str]:
    """Remedies that a host has, in place of a function's."""
    return (_KEEP if sentence == REUSE else sentence for sentence in sentences if sentence != OUTSIDE)

"""What became of a burst's questions, connections, requests and invocations: the rows of every table of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.nodes.diagnosis import connections, counted

__all__ = ["Outcome", "challenged", "dropped", "established_by_one", "lost", "outcomes", "repeated", "succeeded"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many questions, connections, requests or invocations there were, and how they ended."""

    what: str
    offered: int
    answered: int
    failed: int
    """Without an answer; of invocations and TLS handshakes, for whatever reason."""
    refused: int | None = None
    reset: int | None = None
    closed_by_server: int | None = None
    """Of those answered."""
    throttled: int | None = None
    """Of invocations: beyond the reserved concurrency of their function."""
    emfile: int | None = None
    """Without a descriptor, so that nothing was sent."""


def outcomes(result: BurstResult) -> Iterator[Outcome]:
    """The outcomes of each step of an invocation, in their order, then of invocations as a whole."""
    dns, tcp, requests, invocations = result.dns, result.tcp, result.requests, result.invocations
    if dns.asked:
        yield Outcome("DNS", dns.asked, dns.answered, dns.failed, emfile=dns.emfile)
    what = "connections" if result.protocol == "tcp" else "UDP flows"
    yield Outcome(
        *(what, tcp.attempted, tcp.half_open or tcp.established, tcp.timed_out, tcp.refused, tcp.reset),
        tcp.closed_by_server,
        tcp.emfile,
    )
    if handshakes := result.tls:
        yield Outcome("TLS handshakes", handshakes.attempted, handshakes.completed, handshakes.failed)
    if requests.sent:
        yield Outcome("requests", requests.sent, requests.answered, requests.sent - requests.answered)
    yield Outcome(
        "invocations", invocations.offered, invocations.served, invocations.failed, throttled=invocations.throttled
    )


def succeeded(result: BurstResult) -> str:
    """What the connections that were answered are called."""
    return "half-open" if result.tcp.half_open else "succeeded"


def lost(result: BurstResult) -> str:
    """What limiters do to connections: some answer those that they refuse."""
    return "refused" if any(limit.when_full != "ignore" for limit in result.limits) else "dropped"


def dropped(result: BurstResult) -> str:
    """The word for what limiters drop: `packets` where questions to the name server cross the ENI, too."""
    if result.resolver == "vpc":
        return "packets"
    return "SYNs" if result.protocol == "tcp" else "datagrams"


def repeated(result: BurstResult) -> str:
    """How many first packets of connections were sent again."""
    return counted(
        result.tcp.syn_retransmissions, "SYN retransmission" if result.protocol == "tcp" else "repeated datagram"
    )


def established_by_one(late: int) -> str:
    """How many connections a retransmitted SYN established."""
    return f"{connections(late)} {'was' if late == 1 else 'were'} established by one"


def challenged(syns: int) -> str:
    """What answered SYNs that were neither lost nor accepted."""
    were, them = ("was", "it") if syns == 1 else ("were", "them")
    return (
        f"{counted(syns, 'SYN')} {were} answered by a challenge ACK, since the server had an earlier connection of the "
        f"same port in TIME_WAIT; the client's kernel reset that and sent {them} again"
    )

"""The result of a burst, once every invocation has its outcome: frozen values with a JSON form, without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import msgspec

__all__ = [
    "CONNECTION_ENDED",
    "HELLO_IGNORED",
    "HELLO_LOST",
    "NOT_TLS",
    "DnsCount",
    "EngineResult",
    "FleetCount",
    "InvocationCount",
    "Latency",
    "Percentiles",
    "RequestCount",
    "RingCount",
    "Sample",
    "TcpCount",
    "Timing",
    "TlsCount",
    "UnansweredCount",
]


CONNECTION_ENDED = "the connection was ended before the handshake was complete"
NOT_TLS = "the server's answer is not TLS"
HELLO_IGNORED = "the server received the ClientHello and did not answer in time"
"""Its kernel has acknowledged it, so its program did not answer."""
HELLO_LOST = "no acknowledgement of the ClientHello came"
"""Why TLS handshakes fail, beside what OpenSSL says."""


@dataclass(frozen=True, slots=True)
class InvocationCount:
    """Invocations by outcome: `served` got a connection and all their answers."""

    offered: int
    served: int
    failed: int
    reused: int
    """Invocations that found a connection open from an earlier invocation."""
    waiting: int = 0
    """The most that were due at one time and had to wait for a free port."""
    throttled: int = 0
    """Invocations beyond their function's reserved concurrency, which got no environment; none of the failed."""


@dataclass(frozen=True, slots=True)
class FleetCount:
    """Invocations and connections of one function by outcome, with the meanings that all of a burst have."""

    offered: int
    throttled: int = 0
    """Invocations beyond its reserved concurrency (429 TooManyRequestsException)."""
    served: int = 0
    asked: int = 0
    answered: int = 0
    dns_failed: int = 0
    attempted: int = 0
    established: int = 0
    timed_out: int = 0
    refused: int = 0
    reset: int = 0
    half_open: int = 0
    closed_by_server: int = 0
    emfile: int = 0


@dataclass(frozen=True, slots=True)
class DnsCount:
    """Invocations by the outcome of their DNS query; a repeated query counts once."""

    asked: int
    answered: int
    failed: int
    """Those without an answer, or without an address in it."""
    emfile: int = 0
    """Those whose environment had no descriptor left for the question's socket, so that nothing was sent."""


@dataclass(frozen=True, slots=True)
class UnansweredCount:
    """DNS queries without an answer."""

    questions: int = 0
    """Queries that got no answer, repetitions included."""
    invocations: int = 0
    """Invocations with at least one such query, whether a later one was answered or not."""


@dataclass(frozen=True, slots=True)
class TcpCount:
    """Connections by outcome: `refused` got a RST for their SYN, `reset` one after they were established.

    One that the server closed counts as established, as one that the client closed: it came to be, and ended in order.
    """

    attempted: int
    established: int
    timed_out: int
    refused: int
    reset: int
    syn_retransmissions: int
    established_at_syn: tuple[int, ...] = ()
    """Connections established by their first SYN, by their second …"""
    half_open: int = 0
    """Connections whose SYN-ACK was deliberately not acknowledged (`destination` of the spec)."""
    open: int = 0
    """Connections that are established when the last invocation has its outcome."""
    closed_by_server: int = 0
    """Of those established: connections to which the server sent the first FIN."""
    challenged_syns: int = 0
    """SYNs answered by a challenge ACK: the server has an earlier connection of the same port in TIME_WAIT."""
    challenged: int = 0
    """Connections established by a later SYN, all of whose earlier ones were answered so."""
    without_port: int = 0
    """Of those attempted: connections for which a client had no ephemeral port (EADDRNOTAVAIL), and no SYN left it."""
    emfile: int = 0
    """Those whose environment had no descriptor left for their socket, so that no SYN was sent."""

    @property
    def called(self) -> int:
        """Connections whose first SYN was sent."""
        return self.attempted - self.emfile - self.without_port

    @property
    def answered(self) -> int:
        """Connections whose server answered, with a SYN-ACK or a RST."""
        return self.established + self.reset + self.refused + self.half_open

    @property
    def unanswered_syns(self) -> int:
        """SYNs without an answer, retransmissions included."""
        return self.called + self.syn_retransmissions - self.answered - self.challenged_syns

    @property
    def ever_unanswered(self) -> int:
        """Connections with at least one unanswered SYN."""
        return self.timed_out + sum(self.established_at_syn[1:]) - self.challenged


@dataclass(frozen=True, slots=True)
class TlsCount:
    """TLS handshakes on established connections, by outcome."""

    attempted: int
    completed: int
    """Those in which the server's certificate was accepted."""
    failed: int
    failures: dict[str, int]
    """Why → how many, the most frequent first."""


@dataclass(frozen=True, slots=True)
class RequestCount:
    """Requests on established connections."""

    sent: int
    answered: int


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Latencies in milliseconds as the client saw them, retransmissions included; bins are 4 % wide."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class Latency:
    """How long answers took; None where there were none."""

    dns: Percentiles | None
    connect: Percentiles | None
    request: Percentiles | None
    tls: Percentiles | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the burst took and how fast it was."""

    connect_phase_s: float
    """From the first DNS question to the last first SYN or the last handshake, whichever is later."""
    duration_s: float
    """From the first DNS question until every invocation had its outcome."""
    handshakes_per_s: float
    invocations_per_s: float
    tenths_per_s: tuple[float, ...]
    """First SYNs per second in each tenth of the attempts: flat unless the network slows down as it fills."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The counts at one moment of the burst."""

    t_s: float
    attempted: int
    established: int
    timed_out: int
    open: int = 0
    served: int = 0
    reused: int = 0


@dataclass(frozen=True, slots=True)
class RingCount:
    """Frames that a receive ring took, and those it had no room for: one lost answer spoils an exact threshold."""

    received: int
    dropped: int


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One burst as the clients saw it."""

    offered: int
    invocations: InvocationCount
    dns: DnsCount
    tcp: TcpCount
    requests: RequestCount
    drop_threshold: int | None
    """Connections held when the first one that was never answered was attempted, in the order of first SYNs."""
    latency: Latency
    timing: Timing
    series: tuple[Sample, ...]
    ring: RingCount
    unanswered: UnansweredCount = UnansweredCount()
    questions: int = 0
    """DNS queries sent, those for AAAA and repetitions included."""
    tls: TlsCount | None = None
    """None where clients speak no TLS."""
    fleets: tuple[FleetCount, ...] = ()
    """Of a burst of several functions: each one's, in the order of its spec."""

    def to_json(self) -> dict[str, Any]:
        """The value of `result` in the event `connected`."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """The result that `to_json` made."""
        return msgspec.convert(raw, cls)

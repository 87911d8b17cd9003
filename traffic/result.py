"""What a burst says when every invocation has its outcome: frozen values with a JSON form, and no numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = [
    "DnsCount",
    "EngineResult",
    "InvocationCount",
    "Latency",
    "Percentiles",
    "RequestCount",
    "RingCount",
    "Sample",
    "TcpCount",
    "Timing",
    "UnansweredCount",
]


@dataclass(frozen=True, slots=True)
class InvocationCount:
    """Invocations by outcome: `served` got a connection and all their answers."""

    offered: int
    served: int
    failed: int
    reused: int
    """Those that found a connection open from an earlier invocation."""
    waiting: int = 0
    """The most that had come and found no port free, so that they came late."""


@dataclass(frozen=True, slots=True)
class DnsCount:
    """Invocations by what became of their DNS question; repeated questions are not counted."""

    asked: int
    answered: int
    failed: int


@dataclass(frozen=True, slots=True)
class UnansweredCount:
    """DNS questions that nobody answered."""

    questions: int = 0
    """Repetitions included."""
    invocations: int = 0
    """Those with at least one of them, whatever became of it in the end."""


@dataclass(frozen=True, slots=True)
class TcpCount:
    """Connections by outcome: `refused` had a RST for an answer, `reset` one after they were established."""

    attempted: int
    established: int
    timed_out: int
    refused: int
    reset: int
    syn_retransmissions: int
    established_at_syn: tuple[int, ...] = ()
    """Connections established by their first SYN, by their second …"""
    half_open: int = 0
    """Connections whose SYN-ACK was left without an ACK on purpose."""
    open: int = 0
    """Connections that are established when the last invocation has its outcome."""

    @property
    def answered(self) -> int:
        """Connections whose server answered, with a SYN-ACK or a RST."""
        return self.established + self.reset + self.refused + self.half_open

    @property
    def unanswered_syns(self) -> int:
        """SYNs that nobody answered, retransmissions included."""
        return self.attempted + self.syn_retransmissions - self.answered

    @property
    def ever_unanswered(self) -> int:
        """Connections with at least one SYN that nobody answered."""
        return self.timed_out + sum(self.established_at_syn[1:])


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
    """Frames that the generator's ring took, and those it had no room for: a loss spoils the burst."""

    received: int
    dropped: int


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One burst as its clients saw it."""

    offered: int
    invocations: InvocationCount
    dns: DnsCount
    tcp: TcpCount
    requests: RequestCount
    drop_threshold: int | None
    """Connections held when the first that never got an answer was attempted, in the order of first SYNs."""
    latency: Latency
    timing: Timing
    series: tuple[Sample, ...]
    ring: RingCount
    unanswered: UnansweredCount = UnansweredCount()

    def to_json(self) -> dict[str, Any]:
        """The value of `result` in the event `connected`."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """The result that `to_json` made."""
        tcp, timing = raw["tcp"], raw["timing"]
        return cls(
            offered=raw["offered"],
            invocations=InvocationCount(**raw["invocations"]),
            dns=DnsCount(**raw["dns"]),
            tcp=TcpCount(**{**tcp, "established_at_syn": tuple(tcp["established_at_syn"])}),
            requests=RequestCount(**raw["requests"]),
            drop_threshold=raw["drop_threshold"],
            latency=Latency(**{name: each and Percentiles(**each) for name, each in raw["latency"].items()}),
            timing=Timing(**{**timing, "tenths_per_s": tuple(timing["tenths_per_s"])}),
            series=tuple(Sample(**sample) for sample in raw["series"]),
            ring=RingCount(**raw["ring"]),
            unanswered=UnansweredCount(**raw["unanswered"]),
        )

"""What a burst says when every invocation has its outcome: frozen values with a JSON form, and no numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

__all__ = ["DnsCount", "EngineResult", "RingCount", "Sample", "TcpCount", "Timing"]


@dataclass(frozen=True, slots=True)
class DnsCount:
    """Invocations by what became of their DNS question; repeated questions are not counted."""

    asked: int
    answered: int
    failed: int


@dataclass(frozen=True, slots=True)
class TcpCount:
    """Connections by outcome: `refused` had a RST for an answer, `reset` one after they were established."""

    attempted: int
    established: int
    timed_out: int
    refused: int
    reset: int
    syn_retransmissions: int


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


@dataclass(frozen=True, slots=True)
class RingCount:
    """Frames that the generator's ring took, and those it had no room for: a loss spoils the burst."""

    received: int
    dropped: int


@dataclass(frozen=True, slots=True)
class EngineResult:
    """One burst as its clients saw it."""

    offered: int
    dns: DnsCount
    tcp: TcpCount
    drop_threshold: int | None
    """Connections held when the first that never got an answer was attempted, in the order of first SYNs."""
    timing: Timing
    series: tuple[Sample, ...]
    ring: RingCount

    def to_json(self) -> dict[str, Any]:
        """The value of `result` in the event `connected`."""
        return asdict(self)

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """The result that `to_json` made."""
        timing = raw["timing"]
        return cls(
            offered=raw["offered"],
            dns=DnsCount(**raw["dns"]),
            tcp=TcpCount(**raw["tcp"]),
            drop_threshold=raw["drop_threshold"],
            timing=Timing(**{**timing, "tenths_per_s": tuple(timing["tenths_per_s"])}),
            series=tuple(Sample(**sample) for sample in raw["series"]),
            ring=RingCount(**raw["ring"]),
        )

"""What a burst showed: typed for Python, and the JSON document of `lab burst --json` (schema 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.observe.readings import Reading
from lab.predict import Prediction
from traffic.result import DnsCount, EngineResult, Sample, TcpCount, Timing

__all__ = ["BurstResult", "LimitResult", "PredictedResult", "assemble"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LimitResult:
    """One limiter during one burst, in the kernel's numbers."""

    node: str
    kind: str
    limit: int
    peak: int
    """Connections that held a slot when the last invocation had its outcome."""
    dropped_packets: int
    """SYNs, retransmissions included."""
    dropped_connections: int
    eip: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class PredictedResult:
    """What arithmetic said beforehand."""

    established: int | None
    drop_threshold: int | None
    bottleneck: str | None


@dataclass(frozen=True, slots=True)
class BurstResult:
    """One burst: the clients' account (`dns`, `tcp`), the kernel's (`limits`), and whether they agree."""

    lab: str
    engine: str
    offered: int
    dns: DnsCount
    tcp: TcpCount
    drop_threshold: int | None
    limits: tuple[LimitResult, ...]
    bottleneck: str | None
    predicted: PredictedResult
    timing: Timing
    series: tuple[Sample, ...]
    disagreements: tuple[str, ...]
    """Where the clients' account and the kernel's differ, in words; empty when they agree."""

    def to_json(self) -> dict[str, Any]:
        """The document of `lab burst --json`."""
        return {"schema": SCHEMA, **asdict(self)}


def assemble(
    lab: str,
    engine: str,
    seen: EngineResult,
    *,
    readings: Sequence[Reading],
    held_before: Sequence[Reading],
    prediction: Prediction,
    first_to_refuse: Reading | None,
) -> BurstResult:
    """Put both accounts together; `readings` count refusals from the start of the burst."""
    return BurstResult(
        lab=lab,
        engine=engine,
        offered=seen.offered,
        dns=seen.dns,
        tcp=seen.tcp,
        drop_threshold=seen.drop_threshold,
        limits=tuple(_limit(each) for each in readings),
        # A SYN that was refused and then succeeded is a retransmission, not a drop.
        bottleneck=first_to_refuse.limiter.kind if first_to_refuse and seen.tcp.timed_out else None,
        predicted=PredictedResult(prediction.established, prediction.drop_threshold, prediction.bottleneck),
        timing=seen.timing,
        series=seen.series,
        disagreements=tuple(_disagreements(seen, readings, held_before)),
    )


def _limit(reading: Reading) -> LimitResult:
    limiter = reading.limiter
    return LimitResult(
        node=limiter.node,
        kind=limiter.kind,
        limit=limiter.limit,
        peak=reading.in_use,
        dropped_packets=reading.refused_packets,
        dropped_connections=reading.refused_connections,
        eip=limiter.eip,
        destination=limiter.destination,
    )


def _disagreements(seen: EngineResult, readings: Sequence[Reading], held_before: Sequence[Reading]) -> list[str]:
    """Compare what clients saw with what the kernel counted; each pair of numbers has one meaning."""
    tcp = seen.tcp
    pairs = (
        (
            "connections that timed out",
            tcp.timed_out,
            "connections refused by a limiter",
            sum(each.refused_connections for each in readings),
        ),
        (
            "SYNs that were never answered",
            tcp.timed_out + tcp.syn_retransmissions,
            "SYNs refused by a limiter",
            sum(each.refused_packets for each in readings),
        ),
        (
            "connections established",
            tcp.established,
            "connections that hold a NAT gateway's slot",
            _without_ended(_held(readings, "nat_gateway") - _held(held_before, "nat_gateway"), tcp),
        ),
    )
    found = [
        f"clients: {clients:,} {what}; kernel: {kernel:,} {counted}"
        for what, clients, counted, kernel in pairs
        if clients != kernel
    ]
    if seen.ring.dropped:
        found.append(f"the generator's own ring lost {seen.ring.dropped:,} frames")
    return found


def _without_ended(held: int, tcp: TcpCount) -> int:
    """Slots held by more than have just been refused or reset: those are taken until the set's collector comes by."""
    return held - min(max(held - tcp.established, 0), tcp.refused + tcp.reset)


def _held(readings: Sequence[Reading], kind: str) -> int:
    return sum(each.in_use for each in readings if each.limiter.kind == kind)

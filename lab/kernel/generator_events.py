"""What the traffic generator tells: a value for each of its JSON lines (the events that `traffic` emits in a burst)."""

from __future__ import annotations

from dataclasses import dataclass, fields
import json
from typing import Any, Self, TypeAlias

from traffic.packet_record import PacketRecord
from traffic.result import EngineResult

__all__ = ["Connected", "Ended", "Event", "Failed", "Packet", "Progress", "event_of"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a burst is."""

    t_s: float
    offered: int
    answered: int
    established: int
    timed_out: int
    settled: int
    """Invocations that have their outcome."""
    open: int
    phase: str = "connecting"
    """`connecting`, `holding`, `closing`, `leaving`; the generator tells of the first."""

    @classmethod
    def from_json(cls, event: dict[str, Any]) -> Self:
        """The counts of an event `progress`, which has others as well."""
        return cls(**{field.name: event[field.name] for field in fields(cls) if field.name != "phase"})


@dataclass(frozen=True, slots=True)
class Packet:
    """The scapy engine has seen a packet."""

    seen: PacketRecord


@dataclass(frozen=True, slots=True)
class Connected:
    """Every invocation has its outcome."""

    result: EngineResult


@dataclass(frozen=True, slots=True)
class Failed:
    """It cannot go on."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What was open is closed, left open or reset."""


Event: TypeAlias = Progress | Packet | Connected | Failed | Ended


def event_of(line: str) -> Event:
    """The event of one line."""
    event: dict[str, Any] = json.loads(line)
    match event["event"]:
        case "progress":
            return Progress.from_json(event)
        case "packet":
            return Packet(PacketRecord.from_json(event))
        case "connected":
            return Connected(EngineResult.from_json(event["result"]))
        case "error":
            return Failed(event["message"])
        case "closed" | "left" | "aborted":
            return Ended()
        case other:
            raise ValueError(f"unknown event {other!r} of the traffic generator")

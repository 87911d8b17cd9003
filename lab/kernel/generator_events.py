"""What the traffic generator tells: a value for each of its JSON lines (the events that `traffic` emits in a burst)."""

from __future__ import annotations

from dataclasses import dataclass
import json
from typing import Any, TypeAlias

import msgspec

from traffic.packet_record import PacketRecord
from traffic.result import EngineResult

__all__ = ["Connected", "Ended", "Event", "Failed", "Packet", "Progress", "event_of"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The counts of a burst so far."""

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
    """The generator has failed, with its error as text."""

    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What was open is closed, left open or reset."""

    reset: int = 0
    """Connections that a RST had ended before the clients began to close what was left."""
    closed_by_server: int = 0
    """Connections that the server had closed before that."""
    closed: int = 0
    """Connections that the clients have closed, before or after."""
    closed_before: int = 0
    """Of those, the ones before."""


Event: TypeAlias = Progress | Packet | Connected | Failed | Ended


def event_of(line: str) -> Event:
    """The event that one JSON line of the generator stands for."""
    event: dict[str, Any] = json.loads(line)
    match event["event"]:
        case "progress":
            return msgspec.convert(event, Progress)  # the event has other counts as well
        case "packet":
            return Packet(PacketRecord.from_json(event))
        case "connected":
            return Connected(EngineResult.from_json(event["result"]))
        case "error":
            return Failed(event["message"])
        case "closed" | "left" | "aborted":
            return msgspec.convert(event, Ended)
        case other:
            raise ValueError(f"unknown event {other!r} of the traffic generator")

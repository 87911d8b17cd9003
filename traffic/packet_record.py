"""One packet of one connection as it passed one interface: what the scapy engine reports, without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self

import msgspec

__all__ = ["Direction", "PacketRecord"]

Direction = Literal["in", "out", "lost"]
"""`lost`: the connection was given up, and this interface was the last that saw a packet of it."""


@dataclass(frozen=True, slots=True)
class PacketRecord:
    """What passed, when, where, and what it means."""

    t_s: float
    """Seconds since the burst began, by the kernel's clock."""
    node: str
    interface: str
    direction: Direction
    connection: int
    """Counted from 1."""
    source: str
    destination: str
    """Address and port as they are here: a NAT on the way changes them."""
    flags: str
    """TCP's flags (`SYN-ACK`), or `DNS`, or `UDP`."""
    length: int
    """Bytes of the IP packet."""
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """The values of an event `packet`."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_json(cls, event: dict[str, Any]) -> Self:
        """The record in an event `packet`."""
        return msgspec.convert(event, cls)

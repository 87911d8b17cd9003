"""One packet of one conversation at one place on its way: a frozen value with a JSON form, and no numpy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

__all__ = ["Direction", "Sighting"]

Direction = Literal["in", "out", "lost"]
"""`lost` closes a conversation that nobody answered: the last place that saw it."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What was seen, when, where, and what it means."""

    t_s: float
    """Seconds since the burst began, by the kernel's clock."""
    node: str
    interface: str
    direction: Direction
    connection: int
    """Counted from 1."""
    source: str
    destination: str
    """Address and port, as they are here: NAT changes them on the way."""
    flags: str
    """TCP's flags (`SYN-ACK`), or `DNS`, or `UDP`."""
    length: int
    """Bytes of the IP packet."""
    meaning: str

    def to_json(self) -> dict[str, Any]:
        """The values of an event `packet`."""
        return asdict(self)

    @classmethod
    def from_json(cls, event: dict[str, Any]) -> Self:
        """The sighting of an event `packet`."""
        return cls(**{name: value for name, value in event.items() if name != "event"})

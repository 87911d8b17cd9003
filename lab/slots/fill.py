"""What fills a limiter: established connections, half-open ones, and closed ones whose slots are not free yet. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Fill", "HalfOpen", "Holder"]


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """Half-open connections to one destination: a SYN of theirs has passed, their handshake is not complete."""

    to: str
    """The server, or the address and port of one that the topology does not name."""
    slots: int
    oldest_s: int
    """Seconds since the last SYN of the one that has been silent for longest."""
    free_s: int
    """Seconds until all of their slots are free, if no further SYN of theirs comes."""
    timeout_s: int
    """The node's half-open timeout; each SYN starts it anew."""
    earlier: int = 0
    """Of a burst: those that held a slot before it began."""

    @property
    def sure_s(self) -> int:
        """Seconds for which all of them keep their slots at least."""
        return max(0, self.timeout_s - self.oldest_s - 1)

    def and_(self, other: Self) -> Self:
        """Both together, of one destination."""
        return replace(
            self,
            slots=self.slots + other.slots,
            oldest_s=max(self.oldest_s, other.oldest_s),
            free_s=max(self.free_s, other.free_s),
            earlier=self.earlier + other.earlier,
        )


@dataclass(frozen=True, slots=True)
class Holder:
    """A function whose connections hold slots of an ENI that it shares."""

    function: str
    slots: int


@dataclass(frozen=True, slots=True)
class Fill:
    """The slots of a limiter that are taken, told apart by the state of their connections."""

    established: int
    """With half-closed connections, which may go on for as long, and flows over UDP."""
    half_open: tuple[HalfOpen, ...] = ()
    """By destination, the most slots first."""
    closing: int = 0
    """Closed by two FINs or an RST: in the port hold (TIME_WAIT), or about to be collected."""
    closing_free_s: int = 0
    """Seconds until the last of those is free."""
    holders: tuple[Holder, ...] = ()
    """Of an ENI that has refused and that functions share: whose the slots are, by source address, the most first."""

    @property
    def half_open_slots(self) -> int:
        """Half-open connections to all destinations."""
        return sum(destination.slots for destination in self.half_open)

    @property
    def half_open_earlier(self) -> int:
        """Those of them that are left from before the burst."""
        return sum(destination.earlier for destination in self.half_open)

    @property
    def taken(self) -> int:
        """All slots that are taken."""
        return self.established + self.half_open_slots + self.closing

    @property
    def text(self) -> str:
        """`15 established, 5 half-open to cache (last SYN 12 s ago, free again within 108 s)`; nothing if empty."""
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        if self.established:
            yield f"{self.established:,} established"
        for destination in self.half_open:
            since = f"last SYN {destination.oldest_s:,} s ago, free again within {destination.free_s:,} s"
            yield f"{destination.slots:,} half-open to {destination.to} ({since})"
        if self.closing:
            yield f"{self.closing:,} closing (free again within {self.closing_free_s:,} s)"

    @classmethod
    def sum(cls, fills: Iterable[Fill | None]) -> Fill | None:
        """The fill of several slot sets together; None where one was not read."""
        established = closing = closing_free_s = 0
        half_open: dict[str, HalfOpen] = {}
        holders: dict[str, int] = {}
        for fill in fills:
            if fill is None:
                return None
            established, closing = established + fill.established, closing + fill.closing
            closing_free_s = max(closing_free_s, fill.closing_free_s)
            for new in fill.half_open:
                known = half_open.get(new.to)
                half_open[new.to] = known.and_(new) if known else new
            for holder in fill.holders:
                holders[holder.function] = holders.get(holder.function, 0) + holder.slots
        held = sorted(map(Holder, holders, holders.values()), key=lambda holder: -holder.slots)
        return cls(established, most_first(half_open.values()), closing, closing_free_s, tuple(held))


def most_first(half_open: Iterable[HalfOpen]) -> tuple[HalfOpen, ...]:
    """Destinations in the order in which they are shown."""
    return tuple(sorted(half_open, key=lambda destination: (-destination.slots, destination.to)))

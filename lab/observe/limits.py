"""The limits of a lab, each of one or several slot sets, and what samples say of them. Pure.

A NAT gateway's Elastic IPs share a limit for each destination, unless its clients have ports of their own; every other
slot set is a limit of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.observe.samples import Sample
from lab.slots.limiter import Limiter

__all__ = ["Limit", "limits_of"]


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit and the slot sets that it is made of."""

    limiters: tuple[Limiter, ...]

    @property
    def first(self) -> Limiter:
        """The first slot set; node, client, destination, address and protocol are those of all of them."""
        return self.limiters[0]

    @property
    def size(self) -> int:
        """How many connections all its slot sets have room for."""
        return sum(limiter.limit for limiter in self.limiters)

    @property
    def drops(self) -> str:
        """The kind of packets that it drops."""
        return {"tcp": "SYNs", "udp": "datagrams", "any": "SYNs and datagrams"}[self.first.protocol]

    def dropped(self, packets: int) -> str:
        """`1 SYN`, `20 SYNs and datagrams`."""
        return f"{packets:,} {self.drops.removesuffix('s') if packets == 1 else self.drops}"

    @property
    def to(self) -> str:
        """` from eni-private to cache`; nothing where it counts all destinations together."""
        client = f" from {self.first.client}" if self.first.client else ""
        return f"{client} to {self.first.towards}" if self.first.towards else ""

    @property
    def of_eips(self) -> str:
        """` (2 Elastic IPs)`; nothing where it is of one, or of none."""
        return f" ({len(self.limiters)} Elastic IPs)" if self.first.eip and len(self.limiters) > 1 else ""

    def total(self, sample: Sample, numbers: Callable[[Limiter], str], *, held: bool = False) -> int:
        """The sum of what a sample has under these names."""
        node = sample.nodes.get(self.first.place)
        if node is None:
            return 0
        counted = node.held if held else node.counters
        return sum(counted.get(numbers(limiter), 0) for limiter in self.limiters)

    def packets(self, sample: Sample) -> int:
        """Packets refused so far."""
        return self.total(sample, lambda limiter: limiter.refused_packets)

    def held(self, sample: Sample) -> int:
        """Slots taken at that moment."""
        return self.total(sample, lambda limiter: limiter.slots, held=True)


def limits_of(limiters: Iterable[Limiter]) -> tuple[Limit, ...]:
    """All limits, in the order of their limiters; what drains takes nothing new, and so refuses nothing."""
    groups: dict[tuple[str | None, ...], list[Limiter]] = {}
    for limiter in (limiter for limiter in limiters if not limiter.drains):
        key = limiter.node, limiter.client, limiter.towards, limiter.protocol
        groups.setdefault(key, []).append(limiter)
    return tuple(Limit(tuple(group)) for group in groups.values())

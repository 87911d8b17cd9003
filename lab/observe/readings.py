"""A reading: what a sample says of one limiter. Values only; `Sample.readings` makes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address
from typing import Any, Self

from lab.slots.fill import Fill
from lab.slots.limiter import Limiter

__all__ = ["FirstRefusal", "Reading"]


@dataclass(frozen=True, slots=True)
class FirstRefusal:
    """When a node refused its first connection, and the source address and port that the node saw."""

    age_s: float
    """When the sample began, so that the ages of all its nodes compare; less than 0 for a refusal since then."""
    source: IPv4Address
    port: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A limiter's numbers at one moment; the refused ones only ever grow."""

    limiter: Limiter
    in_use: int
    refused_packets: int
    refused_connections: int
    first_refusal: FirstRefusal | None
    """The first connection that its node refused since it last forgot; None if it has refused none."""
    appeared: bool = True
    """Whether it is there: a further ENI comes some time after the one before it was full."""
    fill: Fill | None = None
    """What is held by the state of connections, where that was read."""
    refused_lately: int = 0
    """With a fill: connections refused in the last 140 s (`REFUSED_TIMEOUT_S`), of all Elastic IPs together."""

    def to_json(self) -> dict[str, Any]:
        """The limiter's entry in the documents of `lab status --json` and `lab reset --json`."""
        limiter = self.limiter
        return {
            "node": limiter.node,
            "kind": limiter.kind,
            "eip": limiter.eip,
            "client": limiter.client,
            "destination": limiter.destination,
            "address": limiter.address,
            "protocol": limiter.protocol,
            "limit": limiter.limit,
            "connections": self.in_use,
            "fill": asdict(self.fill) if self.fill else None,
            "refused_connections": self.refused_connections,
            "refused_packets": self.refused_packets,
        }

    def with_peak(self, fullest: Reading) -> Reading:
        """The reading with the most that was ever held in place of what is held, if that is more."""
        if fullest.in_use <= self.in_use:
            return self
        return replace(self, in_use=fullest.in_use, fill=fullest.fill)

    def since(self, before: Self) -> Reading:
        """The reading with refusals counted from an earlier one; a counter that has begun anew counts as 0."""
        return replace(
            self,
            refused_packets=max(0, self.refused_packets - before.refused_packets),
            refused_connections=max(0, self.refused_connections - before.refused_connections),
        )

"""Where packets are dropped whatever the limits of connections are, and how many were.

The lab meets the same drop three times, and tells it by the same `point`: the topology predicts it (`DeadEnd` in
`lab.paths.leg`), a counter in the kernel counts it (`DropCounter` in `lab.plan.objects`), a result has the
number (`DropCount`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Direction", "DropCount", "DropPoint"]

Direction = Literal["egress", "ingress"]
"""Which entries of a network ACL: those for what leaves a subnet, or for what enters it."""


@dataclass(frozen=True, slots=True)
class DropPoint:
    """A node that drops packets, and the reason."""

    node: str
    kind: str
    """The cause: a key of `CAUSES` in `lab.diagnosis.drops`."""
    name: str
    """What it belongs to: the subnet or Transit Gateway without a route, the security groups, the network ACL; of a
    quota, how much."""
    direction: Direction | None = None
    """Of a network ACL: whether entries of `egress` or of `ingress` drop them."""
    answers: bool = False
    """Whether servers' answers are dropped; their connections hold every slot on the way."""
    far_side: bool = False
    """Whether it is between the node and the internet; by then a connection holds a slot of the node, too."""

    @property
    def point(self) -> DropPoint:
        """The drop without what a subclass knows of it: prediction, counter and number of one drop have equal ones."""
        return DropPoint(self.node, self.kind, self.name, self.direction, self.answers, self.far_side)

    def counted(self, packets: int, cure: str | None = None) -> DropCount:
        """The drop with the number of packets that it has dropped."""
        return DropCount(
            self.node,
            self.kind,
            self.name,
            self.direction,
            self.answers,
            self.far_side,
            dropped_packets=packets,
            cure=cure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCount(DropPoint):
    """How many packets were dropped here during one burst, or since `lab up`."""

    dropped_packets: int
    cure: str | None = None
    """The rule that would have let them pass, in the topology's words."""

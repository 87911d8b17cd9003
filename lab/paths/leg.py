"""What a connection crosses VPC by VPC, and where it ends if it does not arrive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.schema.drops import DropPoint

if TYPE_CHECKING:
    from lab.nodes.peering.model import Peering
    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.schema.exits import Exit

__all__ = ["DeadEnd", "Leg"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnd(DropPoint):
    """A drop that the topology predicts: connections end here whatever the limits are."""

    sentence: str
    certain: bool = True
    """Whether all end here; otherwise their ports or addresses decide, which a topology does not know."""
    cure: str | None = None
    """The rule that would let them pass, in the topology's words."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A VPC that a connection crosses: from the subnet where it enters to the one in which it leaves or arrives."""

    vpc: Vpc
    near: Subnet | None
    """None where it enters by a peering, which is in no subnet."""
    far: Subnet | None
    """None where it leaves by no other subnet: by a peering, by a route table's entry alone, or not at all."""
    exit: Exit | None = None
    """What takes it out of all VPCs."""
    transit_gateway: TransitGateway | None = None
    """What takes it to the next one."""
    peering: Peering | None = None
    """What takes it to the next one, if not a Transit Gateway."""
    arrives: bool = False
    """Whether the server is here, in the far subnet."""

    @property
    def leads_on(self) -> bool:
        """Whether the subnet has a route to the server."""
        return self.arrives or any((self.exit, self.transit_gateway, self.peering))

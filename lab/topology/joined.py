"""Which VPCs Transit Gateways and peerings join, and by which of them packets go from one VPC to another.

A route table has one route to a range: a peering has it before a Transit Gateway, and of several Transit Gateways the
first in the file. The routes of Transit Gateways are in all route tables by themselves, those of peerings where they
are listed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lab.nodes.peering.model import Peering
    from lab.nodes.transit_gateway.model import Attachment, TransitGateway
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.topology.model import Topology

__all__ = ["Crossed", "beyond", "joined", "peering_to", "transit_to", "way_between"]


class Crossed(NamedTuple):
    """A VPC that packets cross, and the subnets by which they enter and leave it; None by a peering, which has none."""

    vpc: Vpc
    entered: Subnet | None
    left: Subnet | None


def joined(topology: Topology, vpc: Vpc) -> Iterator[tuple[Vpc, TransitGateway]]:
    """The other VPCs to which Transit Gateways lead from a VPC, the nearest first, each with the first on its way."""
    return ((other, gateway) for other, _, gateway in _onwards(topology, [vpc.name]))


def beyond(topology: Topology, gateway: TransitGateway) -> Iterator[tuple[Vpc, Attachment]]:
    """The VPCs behind others of a Transit Gateway's, each with the attachment by which packets leave for it."""
    attachments = {attachment.vpc: attachment for attachment in gateway.attachments}
    return ((other, attachments[start]) for other, start, _ in _onwards(topology, attachments))


def peering_to(topology: Topology, start: Subnet, vpc: Vpc) -> Peering | None:
    """The peering that leads from a subnet to another VPC, by the subnet's route table."""
    home = topology.vpc_of(start.name).name
    return next((peering for peering in topology.peerings if peering.leads(home, start.name, vpc.name)), None)


def transit_to(topology: Topology, start: Vpc, end: Vpc) -> tuple[TransitGateway, Attachment, Attachment] | None:
    """The Transit Gateway that leads from a VPC towards another, and its attachments where packets come and leave."""
    gateway = next((gateway for other, gateway in joined(topology, start) if other == end), None)
    if gateway is None:
        return None
    attachments = {attachment.vpc: attachment for attachment in gateway.attachments}
    onward = attachments.get(end.name) or next(hop for other, hop in beyond(topology, gateway) if other == end)
    return gateway, attachments[start.name], onward


def way_between(topology: Topology, start: Subnet, end: Subnet) -> tuple[Crossed, ...] | None:
    """What packets cross from one subnet to another; None where no route leads there."""
    subnets, vpcs = {subnet.name: subnet for subnet in topology.subnets}, {vpc.name: vpc for vpc in topology.vpcs}
    vpc, home, entered = topology.vpc_of(start.name), topology.vpc_of(end.name), start
    if vpc != home and peering_to(topology, start, home):
        return Crossed(vpc, start, None), Crossed(home, None, end)
    crossed: list[Crossed] = []
    while vpc != home:
        way = transit_to(topology, vpc, home)
        if way is None:
            return None
        _, come, leave = way
        crossed.append(Crossed(vpc, entered, subnets[come.subnet]))
        vpc, entered = vpcs[leave.vpc], subnets[leave.subnet]
    return *crossed, Crossed(home, entered, end)


def _onwards(topology: Topology, starts: Iterable[str]) -> Iterator[tuple[Vpc, str, TransitGateway]]:
    """The VPCs behind these, the nearest first, each with its start and the first Transit Gateway on its way."""
    vpcs = {vpc.name: vpc for vpc in topology.vpcs}
    waiting: deque[tuple[str, str, TransitGateway | None]] = deque((start, start, None) for start in starts)
    reached = {start for start, _, _ in waiting}
    while waiting:
        vpc, start, first = waiting.popleft()
        for gateway in topology.transit_gateways:
            attached = [attachment.vpc for attachment in gateway.attachments]
            for other in attached if vpc in attached else ():
                if other not in reached:
                    reached.add(other)
                    waiting.append((other, start, first or gateway))
                    yield vpcs[other], start, first or gateway

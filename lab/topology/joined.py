"""Which VPCs Transit Gateways join, and by which of them packets go from one VPC to another.

A route table has one route to a range: of several Transit Gateways the first in the file has it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.nodes.transit_gateway.model import Attachment, TransitGateway
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.topology.model import Topology

__all__ = ["beyond", "joined", "way_between"]


def joined(topology: Topology, vpc: Vpc) -> Iterator[tuple[Vpc, TransitGateway]]:
    """The other VPCs to which Transit Gateways lead from a VPC, the nearest first, each with the first on its way."""
    return ((other, gateway) for other, _, gateway in _onwards(topology, [vpc.name]))


def beyond(topology: Topology, gateway: TransitGateway) -> Iterator[tuple[Vpc, Attachment]]:
    """The VPCs behind others of a Transit Gateway's, each with the attachment by which packets leave for it."""
    attachments = {attachment.vpc: attachment for attachment in gateway.attachments}
    return ((other, attachments[start]) for other, start, _ in _onwards(topology, attachments))


def way_between(topology: Topology, start: Subnet, end: Subnet) -> Iterator[tuple[Vpc, Subnet, Subnet]]:
    """Each VPC that packets cross from one subnet to another, with the subnets by which they enter and leave it."""
    subnets, vpcs = {subnet.name: subnet for subnet in topology.subnets}, {vpc.name: vpc for vpc in topology.vpcs}
    vpc, home, entered = topology.vpc_of(start.name), topology.vpc_of(end.name), start
    while vpc != home:
        gateway = next(gateway for other, gateway in joined(topology, vpc) if other == home)
        attachments = {attachment.vpc: attachment for attachment in gateway.attachments}
        yield vpc, entered, subnets[attachments[vpc.name].subnet]
        onward = attachments.get(home.name) or next(hop for other, hop in beyond(topology, gateway) if other == home)
        vpc, entered = vpcs[onward.vpc], subnets[onward.subnet]
    yield home, entered, end


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

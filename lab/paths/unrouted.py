"""Where routes end before a server, or before a client on the way of answers."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from lab.paths.leg import DeadEnd
from lab.schema.names import EGRESS
from lab.topology.joined import way_between

if TYPE_CHECKING:
    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.paths.leg import Leg
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["outside", "unrouted", "unrouted_back"]


def outside(topology: Topology, function: str, server: Server) -> DeadEnd | None:
    """Where connections of a function outside all VPCs to a server in one end."""
    if server.subnet is None:
        return None
    sentence = f"{function} is outside the VPC, where the private address of {server.name} leads nowhere"
    vpc = topology.vpc_of(server.subnet).name
    cure = f"Give {function} subnets in the VPC {vpc}."
    return DeadEnd(EGRESS, "outside_vpc", vpc, far_side=True, sentence=sentence, cure=cure)


def unrouted(topology: Topology, eni: Eni, last: Leg, server: Server) -> DeadEnd | None:
    """Where routes end before the server."""
    if last.arrives or (last.exit and server.subnet is None):
        return None
    if server.subnet is not None:
        return _unrouted_to_vpc(topology, eni, last, server, topology.vpc_of(server.subnet))
    if last.transit_gateway is not None:
        gateway = last.transit_gateway
        sentence = f"the Transit Gateway {gateway.name} has no route to {server.name}"
        return DeadEnd(gateway.node, "no_transit_route", gateway.name, sentence=sentence)
    near = last.near.name if last.near else ""
    return DeadEnd(last.vpc.node, "no_route", near, sentence=f"the subnet {near} has no route to {server.name}")


def _unrouted_to_vpc(topology: Topology, eni: Eni, last: Leg, server: Server, vpc: Vpc) -> DeadEnd:
    """Where routes end before a server in a VPC: of what has strayed to a NAT gateway, on the internet."""
    home = topology.vpc_of(eni.subnet.name)
    if last.peering is not None:
        sentence = (
            f"the peering {last.peering.name} does not carry what a Transit Gateway has brought to {last.vpc.name}: "
            "peering is not transitive"
        )
        return DeadEnd(last.peering.node, "not_transitive", last.peering.name, sentence=sentence, cure=_join(home, vpc))
    node = next(one.node for one in (last.exit, last.transit_gateway, last.vpc) if one is not None)
    sentence, cure = _lacking(topology, eni.subnet, home, vpc)
    astray = f", and its default route leads to {node}" if last.exit else ""
    return DeadEnd(
        node,
        "no_vpc_route",
        vpc.name,
        far_side=last.exit is not None,
        sentence=f"the subnet {eni.subnet.name} has no route to {server.name}{astray}: {sentence}",
        cure=cure,
    )


def _lacking(topology: Topology, subnet: Subnet, home: Vpc, vpc: Vpc) -> tuple[str, str]:
    """Why a subnet has no route to another VPC, and what would give it one."""
    peerings = topology.peerings
    direct = next((peering for peering in peerings if {*peering.vpcs} == {home.name, vpc.name}), None)
    if direct is not None:
        cure = (
            f"Add a route to {vpc.cidr} to the route table of {subnet.name}: {subnet.name} in subnets of {direct.name}."
        )
        return f"the peering {direct.name} is not in its route table", cure
    for one, other in permutations(peerings, 2):
        if home.name in one.vpcs and vpc.name in other.vpcs and {*one.vpcs} & {*other.vpcs}:
            return f"peering is not transitive, so {one.name} and {other.name} lead no further", _join(home, vpc)
    return f"no peering and no Transit Gateway joins {home.name} and {vpc.name}", _join(home, vpc)


def _join(home: Vpc, vpc: Vpc) -> str:
    return f"Make a peering of {home.name} and {vpc.name}, or attach both to one Transit Gateway."


def unrouted_back(topology: Topology, eni: Eni, last: Leg, server: Server) -> DeadEnd | None:
    """The missing way of answers from a server in a VPC."""
    if not last.arrives or last.far is None or way_between(topology, last.far, eni.subnet) is not None:
        return None
    home, subnet = topology.vpc_of(eni.subnet.name), last.far.name
    peering = next(peering for peering in topology.peerings if {*peering.vpcs} == {home.name, last.vpc.name})
    return DeadEnd(
        last.vpc.node,
        "no_route_back",
        subnet,
        answers=True,
        sentence=f"the subnet {subnet} of {server.name} has no route back to {eni.subnet.name} in {home.name}",
        cure=f"Add a route to {home.cidr} to the route table of {subnet}: {subnet} in subnets of {peering.name}.",
    )

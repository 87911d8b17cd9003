"""More Hyperplane ENIs: one in another subnet, or those of a security-group set of the function's own."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network

from lab.nodes.hyperplane_eni import KIND
from lab.nodes.proposals import Case, Proposal, Size
from lab.schema.limits import FUNCTION_SUBNETS
from lab.topology import Subnet, Topology, Vpc, enis_of
from lab.topology.edit import path_of, unused, with_function, with_vpcs

__all__ = ["more_room", "proposals"]


def more_room(topology: Topology, case: Case) -> Iterator[Proposal]:
    """A private subnet more, routed as the one of the ENI that binds."""
    what = f"one more private subnet for {case.question.source}, with a Hyperplane ENI of its own"
    enis = case.open_enis
    if not enis:
        return
    like = next((eni for eni in enis if eni.name in case.before.nodes), enis[0]).subnet
    home = topology.vpc_of(like.name)
    cidr = _vacant(home, like.cidr.prefixlen)
    if cidr is None:
        note = f"the VPC's range {home.cidr} has no room for another subnet"
        yield Proposal(what, "", None, Size.SUBNET, note=note)
        return
    if len(case.subnets) >= FUNCTION_SUBNETS:
        note = f"the function has all {FUNCTION_SUBNETS} subnets that AWS allows"
        yield Proposal(what, "", None, Size.SUBNET, note=note)
        return
    name = unused("private-more", {subnet.name for subnet in topology.subnets})
    added = Subnet(name=name, cidr=cidr, default_route=like.default_route)
    wider = with_vpcs(topology, lambda vpc: {"subnets": (*vpc.subnets, added)} if vpc == home else {})
    route = "" if like.default_route is None else f", default_route: {like.default_route}"
    yield Proposal(
        what,
        f"{path_of(topology, home)}.subnets: {{name: {name}, cidr: {cidr}{route}}}; "
        f"function {case.question.source}: subnet {name}",
        with_function(_peered_like(wider, like.name, name), case.question.source, subnets=(*case.subnets, name)),
        Size.SUBNET,
    )


def _peered_like(topology: Topology, like: str, added: str) -> Topology:
    """With the routes of peerings in the added subnet's route table that are in that of the other one."""
    peerings = (
        peering.model_copy(update={"subnets": (*peering.subnets, added)})
        if peering.subnets is not None and like in peering.subnets
        else peering
        for peering in topology.peerings
    )
    return topology.model_copy(update={"peerings": tuple(peerings)})


def _vacant(vpc: Vpc, prefix: int) -> IPv4Network | None:
    """A range of the VPC that no subnet has."""
    taken = [subnet.cidr for subnet in vpc.subnets]
    if prefix < vpc.cidr.prefixlen:
        return None
    ranges = vpc.cidr.subnets(new_prefix=prefix)
    return next((cidr for cidr in ranges if not any(cidr.overlaps(other) for other in taken)), None)


def proposals(case: Case) -> Iterator[Proposal]:
    """For a function that shares its ENIs; the numbers are those while each of the others opens as many connections."""
    function = case.question.source
    what = f"a security-group set of its own for {function}, and so Hyperplane ENIs of its own"
    sharing = (sharer for eni in enis_of(case.topology, function) for sharer in eni.functions)
    others = tuple(dict.fromkeys(sharer for sharer in sharing if sharer != function))
    if not others:
        if case.before.kind == KIND.name:
            note = f"no other function shares the Hyperplane ENIs of {function}"
            yield Proposal(what, "", None, Size.SECURITY_GROUPS, note=note)
        return
    described = {group.name for vpc in case.topology.vpcs for group in vpc.security_groups}
    group = unused(function, {name for other in case.topology.functions for name in other.security_groups} | described)
    yield Proposal(
        what,
        f"function {function}: security_groups: [{group}]",
        with_function(case.topology, function, security_groups=(group,)),
        Size.SECURITY_GROUPS,
        sharers=others,
    )

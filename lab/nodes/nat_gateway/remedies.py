"""More room in NAT gateways: another Elastic IP, or another NAT gateway for part of the subnets."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.nat_gateway.model import NatGateway
from lab.nodes.proposals import Case, Proposal, Size
from lab.schema.limits import NAT_EIPS
from lab.topology import Topology
from lab.topology.edit import rerouted, unused, with_vpc

__all__ = ["more_room", "proposals"]

_ORDINALS = ("", "a first", "a second", "a third", "a fourth", "a fifth", "a sixth", "a seventh", "an eighth")


def more_room(topology: Topology, case: Case) -> Iterator[Proposal]:
    """An Elastic IP more for each NAT gateway that binds."""
    gateways = _gateways(case)
    if not gateways:
        return
    names = " and ".join(gateway.name for gateway in gateways)
    full = [gateway.name for gateway in gateways if gateway.elastic_ips >= NAT_EIPS]
    if full:
        note = f"{' and '.join(full)} has all {NAT_EIPS} that AWS allows"
        yield Proposal(f"another Elastic IP for {names}", "", None, Size.ADDRESS, note=note)
        return
    more = {gateway.name: gateway.model_copy(update={"elastic_ips": gateway.elastic_ips + 1}) for gateway in gateways}
    counts = {gateway.elastic_ips for gateway in more.values()}
    ordinal = _ORDINALS[counts.pop()] if len(counts) == 1 else "one more"
    yield Proposal(
        f"{ordinal} Elastic IP for {'each of ' if len(gateways) > 1 else ''}{names}",
        ", ".join(f"NAT gateway {gateway.name}: elastic_ips: {gateway.elastic_ips}" for gateway in more.values()),
        with_vpc(topology, nat_gateways=tuple(more.get(gateway.name, gateway) for gateway in topology.nat_gateways)),
        Size.ADDRESS,
    )


def proposals(case: Case) -> Iterator[Proposal]:
    """A second NAT gateway for half of the subnets that use the one that binds."""
    gateways = _gateways(case)
    if not gateways:
        return
    routed = {gateway.name: [eni.subnet.name for eni in case.enis(through=gateway)] for gateway in gateways}
    gateway = max(gateways, key=lambda candidate: len(routed[candidate.name]))
    moved = routed[gateway.name][1::2]
    if not moved:
        reason = f"{case.question.function} has one subnet behind {gateway.name}, and a subnet has one default route"
        yield Proposal("a second NAT gateway for part of the subnets", "", None, Size.NODE, note=reason)
        return
    name = unused(f"{gateway.name}-2", {other.name for other in case.topology.nat_gateways})
    beside = gateway.model_copy(update={"name": name})
    wider = with_vpc(case.topology, nat_gateways=(*case.topology.nat_gateways, beside))
    subnets = ", ".join(moved)
    yield Proposal(
        f"a second NAT gateway like {gateway.name} for {subnets}",
        f"vpc.nat_gateways: {{name: {name}, subnet: {beside.subnet}, elastic_ips: {beside.elastic_ips}}}; "
        f"default_route: {name} for {subnets}",
        rerouted(wider, moved, name),
        Size.NODE,
    )


def _gateways(case: Case) -> tuple[NatGateway, ...]:
    """The NAT gateways that bind, or else all on the way."""
    on_the_way = tuple(out for out in case.exits if isinstance(out, NatGateway))
    return tuple(gateway for gateway in on_the_way if gateway.node in case.before.nodes) or on_the_way

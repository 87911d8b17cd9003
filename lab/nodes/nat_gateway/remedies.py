"""More room in NAT gateways: another Elastic IP, more ports per client, another destination, another NAT gateway."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from lab.nodes.nat_gateway.model import NatGateway, PortsPerClient
from lab.nodes.proposals import Case, Proposal, Size
from lab.schema.limits import NAT_CONNECTIONS_PER_DESTINATION, NAT_EIPS, SERVER_ADDRESSES
from lab.topology import Topology
from lab.topology.edit import path_of, rerouted, unused, with_vpcs

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
        with_vpcs(
            topology,
            lambda vpc: {"nat_gateways": tuple(more.get(gateway.name, gateway) for gateway in vpc.nat_gateways)},
        ),
        Size.ADDRESS,
    )


def proposals(case: Case) -> Iterator[Proposal]:
    """Twice the ports per client, another address of the server, and a second NAT gateway for half of the subnets."""
    gateways = _gateways(case)
    if not gateways:
        yield from _not_on_the_way(case)
        return
    if any(gateway.node in case.before.nodes for gateway in gateways):
        yield from _another_address(case)
    yield from (
        _more_ports(case, gateway, gateway.ports_per_client) for gateway in gateways if gateway.ports_per_client
    )
    routed = {gateway.name: _routed_to(gateway, case) for gateway in gateways}
    gateway = max(gateways, key=lambda candidate: len(routed[candidate.name]))
    moved = routed[gateway.name][1::2]
    if not moved:
        reason = f"{case.question.source} has one subnet behind {gateway.name}, and a subnet has one default route"
        if not routed[gateway.name]:
            reason = f"all connections come to {gateway.name} by the default route of one subnet of its VPC"
        yield Proposal("a second NAT gateway for part of the subnets", "", None, Size.NODE, note=reason)
        return
    name = unused(f"{gateway.name}-2", {other.name for other in case.topology.nat_gateways})
    beside = gateway.model_copy(update={"name": name})
    home = case.topology.vpc_of(gateway.subnet)
    wider = with_vpcs(case.topology, lambda vpc: {"nat_gateways": (*vpc.nat_gateways, beside)} if vpc == home else {})
    subnets = ", ".join(moved)
    yield Proposal(
        f"a second NAT gateway like {gateway.name} for {subnets}",
        f"{path_of(case.topology, home)}.nat_gateways: {{name: {name}, subnet: {beside.subnet}, elastic_ips: "
        f"{beside.elastic_ips}}}; default_route: {name} for {subnets}",
        rerouted(wider, moved, name),
        Size.NODE,
    )


def _more_ports(case: Case, gateway: NatGateway, ports: PortsPerClient) -> Proposal:
    most = min(2 * ports.most, NAT_CONNECTIONS_PER_DESTINATION)
    wider = ports.model_copy(update={"most": most, **({"least": most} if ports.fixed else {})})
    written = str(most) if ports.fixed else f"{{min: {wider.least}, max: {wider.most}}}"
    more = gateway.model_copy(update={"ports_per_client": wider})
    return Proposal(
        f"twice the ports for each client of {gateway.name}",
        f"NAT gateway {gateway.name}: ports_per_client: {written}",
        with_vpcs(
            case.topology,
            lambda vpc: {"nat_gateways": tuple(more if one == gateway else one for one in vpc.nat_gateways)},
        ),
        Size.RULE,
    )


def _another_address(case: Case) -> Iterator[Proposal]:
    """One more unique destination under the server's name, such as a load balancer's address in another zone."""
    topology = case.topology
    server = next(known for known in topology.servers if known.name == case.question.server)
    taken = {address for known in topology.servers for address in known.addresses}
    address = next(free for number in count(1) if (free := server.addresses[-1] + number) not in taken)
    if len(server.addresses) == SERVER_ADDRESSES:
        return
    several = (*server.addresses, address)
    yield Proposal(
        f"another address for {server.name}: each is a destination of its own",
        f"server {server.name}: addresses: [{', '.join(map(str, several))}]",
        topology.model_copy(
            update={
                "servers": tuple(
                    known.model_copy(update={"address": None, "several": several})
                    if known.hostname == server.hostname
                    else known
                    for known in topology.servers
                )
            }
        ),
        Size.NODE,
        condition="if its owner has one, as load balancers have in each zone, and clients use all",
    )


def _not_on_the_way(case: Case) -> Iterator[Proposal]:
    """What people add first, to reach a server in a VPC."""
    if case.server.subnet is None or not case.subnets:
        return
    home = case.topology.vpc_of(case.subnets[0])
    more = {
        gateway.name: gateway.model_copy(update={"elastic_ips": gateway.elastic_ips + 1})
        for gateway in home.nat_gateways
        if gateway.elastic_ips < NAT_EIPS
    }
    if more:
        gateways = tuple(more.get(gateway.name, gateway) for gateway in home.nat_gateways)
        yield Proposal(
            f"another Elastic IP for {' and '.join(more)}",
            ", ".join(f"NAT gateway {gateway.name}: elastic_ips: {gateway.elastic_ips}" for gateway in more.values()),
            with_vpcs(case.topology, lambda vpc: {"nat_gateways": gateways} if vpc == home else {}),
            Size.ADDRESS,
            note=f"no NAT gateway is on the way to {case.server.name}, which is in a VPC",
        )


def _routed_to(gateway: NatGateway, case: Case) -> list[str]:
    """The function's subnets whose default route it is; from other VPCs connections come by a Transit Gateway."""
    return [eni.subnet.name for eni in case.enis(through=gateway) if eni.subnet.default_route == gateway.name]


def _gateways(case: Case) -> tuple[NatGateway, ...]:
    """The NAT gateways that bind, or else all on the way."""
    on_the_way = tuple(out for out in case.exits if isinstance(out, NatGateway))
    return tuple(gateway for gateway in on_the_way if gateway.node in case.before.nodes) or on_the_way

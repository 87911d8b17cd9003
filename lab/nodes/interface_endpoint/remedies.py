"""An interface endpoint for the server: past the NAT gateway, not past the ENI."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.interface_endpoint import KIND
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.proposals import Case, Proposal, Size
from lab.topology import Topology, Vpc
from lab.topology.edit import path_of, unused, with_vpcs

__all__ = ["more_room", "proposals"]


def more_room(topology: Topology, case: Case) -> Iterator[Proposal]:
    """A network interface in another subnet, with a load balancer of its own, where the endpoint binds."""
    for home, endpoint in _endpoints(topology, case):
        if case.before.kind != KIND.name or not endpoint.private_dns:
            continue
        taken = [exit_.subnet for exit_ in endpoint.exits]
        zones = {subnet.name: subnet.zone or subnet for subnet in home.subnets}
        others = [*(name for name in case.subnets if name in zones), *zones]
        occupied = [zones[name] for name in taken]
        subnet = next((name for name in others if zones[name] not in occupied), None)
        if subnet is None:
            note = f"{endpoint.name} has one in every availability zone in which its VPC has a subnet"
            yield Proposal(f"one more network interface for {endpoint.name}", "", None, Size.SUBNET, note=note)
            return
        subnets = (*taken, subnet)
        yield Proposal(
            f"one more network interface for {endpoint.name}, in {subnet}, with a load balancer of its own",
            f"{path_of(topology, home)}.interface_endpoints[{endpoint.name}]: subnets: [{', '.join(subnets)}]",
            _changed(topology, home, endpoint, subnet=None, subnets=subnets),
            Size.SUBNET,
            condition="in another availability zone where its owner's service is",
        )


def proposals(case: Case) -> Iterator[Proposal]:
    """Private DNS of an endpoint that is there, or one for a server that has none, where the function is in a VPC."""
    server, existing = case.question.server, list(_endpoints(case.topology, case))
    if not case.subnets or case.server.subnet or any(endpoint.private_dns for _, endpoint in existing):
        return
    for home, endpoint in existing[:1]:
        yield Proposal(
            f"private DNS for the interface endpoint {endpoint.name}: private DNS is off, so it is not used",
            f"{path_of(case.topology, home)}.interface_endpoints[{endpoint.name}]: private_dns: true",
            _changed(case.topology, home, endpoint, private_dns=True),
            Size.RULE,
        )
        return
    home = case.topology.vpc_of(case.subnets[0])
    name = unused(server, {other.name for other in (*home.interface_endpoints, *home.gateway_endpoints)})
    endpoint = InterfaceEndpoint(name=name, subnet=case.subnets[0], server=server)
    yield Proposal(
        f"an interface endpoint (PrivateLink) for {server}",
        f"{path_of(case.topology, home)}.interface_endpoints: {{name: {name}, subnet: {case.subnets[0]}, "
        f"server: {server}}}",
        with_vpcs(
            case.topology,
            lambda vpc: {"interface_endpoints": (*vpc.interface_endpoints, endpoint)} if vpc == home else {},
        ),
        Size.NODE,
        condition="if its owner offers one",
    )


def _endpoints(topology: Topology, case: Case) -> Iterator[tuple[Vpc, InterfaceEndpoint]]:
    """Those for the server, each with its VPC."""
    for vpc in topology.vpcs:
        yield from ((vpc, each) for each in vpc.interface_endpoints if each.server == case.question.server)


def _changed(topology: Topology, home: Vpc, endpoint: InterfaceEndpoint, **parts: object) -> Topology:
    changed = endpoint.model_copy(update=parts)
    others = tuple(changed if other == endpoint else other for other in home.interface_endpoints)
    return with_vpcs(topology, lambda vpc: {"interface_endpoints": others} if vpc == home else {})

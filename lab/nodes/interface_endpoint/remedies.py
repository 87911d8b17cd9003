"""An interface endpoint for the server: past the NAT gateway, not past the ENI."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.proposals import Case, Proposal, Size
from lab.topology import Topology
from lab.topology.edit import path_of, unused, with_vpcs

__all__ = ["more_room", "proposals"]


def more_room(_: Topology, __: Case) -> tuple[Proposal, ...]:
    """The limit is the service owner's to raise."""
    return ()


def proposals(case: Case) -> Iterator[Proposal]:
    """An endpoint for a server outside all VPCs that has none, where the function is in one."""
    server, existing = case.question.server, case.topology.interface_endpoints
    if not case.subnets or case.server.subnet or any(endpoint.server == server for endpoint in existing):
        return
    name = unused(server, {endpoint.name for endpoint in existing})
    endpoint = InterfaceEndpoint(name=name, subnet=case.subnets[0], server=server)
    home = case.topology.vpc_of(case.subnets[0])
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

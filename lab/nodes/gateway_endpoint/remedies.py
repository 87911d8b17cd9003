"""A gateway endpoint for S3 or DynamoDB: past the NAT gateway, not past the ENI, and without cost."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.proposals import Case, Proposal, Size
from lab.topology import Topology, Vpc
from lab.topology.edit import path_of, unused, with_vpcs

__all__ = ["more_room", "proposals"]


def more_room(_: Topology, __: Case) -> tuple[Proposal, ...]:
    """None: it has no limit."""
    return ()


def proposals(case: Case) -> Iterator[Proposal]:
    """One for the server's service, in all route tables of the VPC from which connections come to it."""
    (server,) = (known for known in case.topology.servers if known.name == case.question.server)
    subnets = [eni.subnet for eni in case.enis()]
    if server.service is None or not subnets:
        return
    home = case.topology.vpc_of(subnets[0].name)
    existing = [endpoint for endpoint in home.gateway_endpoints if endpoint.service == server.service]
    if all(any(endpoint.is_routed_from(subnet.name) for endpoint in existing) for subnet in subnets):
        return
    name = existing[0].name if existing else unused(server.service, _names(home))
    endpoint = GatewayEndpoint(name=name, service=server.service)
    others = tuple(other for other in home.gateway_endpoints if other not in existing)
    yield Proposal(
        f"a gateway endpoint for {server.service} in the route tables of all subnets, which costs nothing",
        f"{path_of(case.topology, home)}.gateway_endpoints: {{name: {name}, service: {server.service}}}",
        with_vpcs(case.topology, lambda vpc: {"gateway_endpoints": (*others, endpoint)} if vpc == home else {}),
        Size.RULE,
    )


def _names(vpc: Vpc) -> set[str]:
    """Names that the nodes of endpoints have already."""
    return {endpoint.name for endpoint in (*vpc.gateway_endpoints, *vpc.interface_endpoints)}

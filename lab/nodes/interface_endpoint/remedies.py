"""An interface endpoint for the server: past the NAT gateway, not past the ENI."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.proposals import Case, Proposal, Size
from lab.topology import Topology
from lab.topology.edit import unused, with_vpc

__all__ = ["more_room", "proposals"]


def more_room(_: Topology, __: Case) -> tuple[Proposal, ...]:
    """The limit is the service owner's to raise."""
    return ()


def proposals(case: Case) -> Iterator[Proposal]:
    """An endpoint for a server that has none."""
    server, existing = case.question.server, case.topology.interface_endpoints
    if any(endpoint.server == server for endpoint in existing):
        return
    name = unused(server, {endpoint.name for endpoint in existing})
    endpoint = InterfaceEndpoint(name=name, subnet=case.subnets[0], server=server)
    yield Proposal(
        f"an interface endpoint (PrivateLink) for {server}",
        f"vpc.interface_endpoints: {{name: {name}, subnet: {case.subnets[0]}, server: {server}}}",
        with_vpc(case.topology, interface_endpoints=(*existing, endpoint)),
        Size.NODE,
        condition="if its owner offers one",
    )

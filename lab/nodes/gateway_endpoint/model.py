"""The gateway endpoint as a user writes it: entries in route tables that lead to S3 or DynamoDB.

In the route tables of some subnets the service's prefix list, its addresses, leads to the endpoint. That has no network
interface and no address, is in no subnet, limits nothing, and "there is no additional charge" for it. "Endpoint
connections cannot be extended out of a VPC. Resources on the other side of a VPN connection, VPC peering connection,
transit gateway, or Direct Connect connection in your VPC cannot use a gateway endpoint".
https://docs.aws.amazon.com/vpc/latest/privatelink/gateway-endpoints.html
https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-ddb.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from lab.schema.base import NAME
from lab.schema.exits import Exit
from lab.schema.faults import Fault
from lab.schema.references import unknown
from lab.schema.words import GatewayService, Name, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.topology.draft import Draft

__all__ = ["CHECKS", "GatewayEndpoint"]


class GatewayEndpoint(Exit):
    """A way to S3 or DynamoDB by route tables: no NAT gateway is in its path, the functions' ENIs still are."""

    KIND: ClassVar[str] = "gateway_endpoint"
    WORDS: ClassVar[str] = "gateway endpoint"
    OF_OTHER_VPCS: ClassVar[bool] = False

    name: Name = Field(description=f"a gateway endpoint's name is {NAME}")
    service: GatewayService = Field(description="a gateway endpoint is for s3 or dynamodb; AWS has none for others")
    subnets: tuple[Name, ...] | None = Field(
        None,
        min_length=1,
        description="a gateway endpoint is in the route tables of a list of its VPC's subnets (leave it out for all)",
    )

    @property
    def node(self) -> str:
        """`objects` is `vpce-objects`."""
        return f"vpce-{self.name}"

    @property
    def capacity(self) -> None:
        """Any number of connections."""
        return

    def is_routed_from(self, subnet: str) -> bool:
        """Whether a subnet's route table leads to it."""
        return self.subnets is None or subnet in self.subnets

    def takes(self, subnet: Subnet, server: Server) -> bool:
        """What goes to an address of the service from a subnet whose route table has it."""
        return server.service == self.service and self.is_routed_from(subnet.name)


def _subnets(draft: Draft) -> Iterator[Fault]:
    """An endpoint in the route table of a subnet that is not there, or is in another VPC, or has one already."""
    taken: dict[tuple[str, str], str] = {}
    for item in draft.ways_out_of(GatewayEndpoint):
        endpoint, home = item.value, draft.vpc_at(item.path)
        for index, name in enumerate(endpoint.subnets or ()):
            path = (*item.path, "subnets", index)
            yield from unknown("subnet", name, draft.subnet_names, path)
            if draft.vpc_of_subnet(name) not in (None, home):
                text = f"{shown(name)} is in the VPC {draft.vpc_of_subnet(name)}; {endpoint.name} is in {home}"
                yield Fault(path, text)
        (vpc,) = (vpc for vpc in draft.vpcs if vpc.name == home and item.path[: len(vpc.path)] == vpc.path)
        for name in endpoint.subnets or [subnet.value.name for subnet in vpc.subnets]:
            first = taken.setdefault((endpoint.service, name), endpoint.name)
            if first != endpoint.name:
                text = (
                    f"the route table of {name} leads to {endpoint.service} by {first} already; a route table has one "
                    "gateway endpoint for a service"
                )
                yield Fault((*item.path, "service"), text)


CHECKS = (_subnets,)

"""A VPC as a user writes it: its subnets, the ways out of it, its firewalls."""

from pydantic import Field

from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.nat_gateway.model import NatGateway
from lab.schema.base import NAME, Model
from lab.schema.exits import Exit, WayOut
from lab.schema.firewall import NetworkAcl, SecurityGroup
from lab.schema.names import node_name_of_vpc
from lab.schema.words import Block, Name

__all__ = ["WAYS_OUT", "Subnet", "Vpc"]


class Subnet(Model):
    """A part of the VPC with a route table of its own; private when its default route is a NAT gateway."""

    name: Name = Field(description=f"a subnet's name is {NAME}")
    cidr: Block = Field(description="a subnet's IPv4 range is a /16 to a /28 inside the VPC's, such as 10.0.1.0/24")
    default_route: Name | None = Field(
        None,
        description="a default route is the name of a NAT gateway or Transit Gateway, or none for a private subnet "
        "without one; a public subnet leaves it out",
    )
    zone: Name | None = Field(
        None,
        description="a subnet's availability zone is a word such as a or eu-west-1a (leave it out: a zone of its own)",
    )

    @property
    def title(self) -> str:
        """What drawings write at its border."""
        return f"{self.name} {self.cidr}" if self.zone is None else f"{self.name} {self.cidr}, zone {self.zone}"


WAYS_OUT: dict[str, type[WayOut]] = {
    "interface_endpoints": InterfaceEndpoint,
    "gateway_endpoints": GatewayEndpoint,
    "nat_gateways": NatGateway,
}
"""Where in a VPC each kind of way out is listed; those first that connections take first."""


class Vpc(Model):
    """The customer's VPC: a router with one port and one route table per subnet."""

    name: Name = Field("vpc", description=f"a VPC's name, for where there are several, is {NAME}")
    cidr: Block = Field(description="a VPC's IPv4 range is a /16 to a /28, such as 10.0.0.0/16")
    subnets: tuple[Subnet, ...] = Field(
        min_length=1, description="a VPC has a list of one or more subnets, each with a name and a cidr"
    )
    nat_gateways: tuple[NatGateway, ...] = Field(
        (), description="NAT gateways are a list, each with a name and a subnet (leave it out for none)"
    )
    interface_endpoints: tuple[InterfaceEndpoint, ...] = Field(
        (),
        description="interface endpoints are a list, each with a name, subnet and server (leave it out for none)",
    )
    gateway_endpoints: tuple[GatewayEndpoint, ...] = Field(
        (),
        description="gateway endpoints are a list, each with a name, a service (s3 or dynamodb) and, if not all, "
        "subnets (leave it out for none)",
    )
    security_groups: tuple[SecurityGroup, ...] = Field(
        (),
        description="security groups are a list, each with a name and egress; one that functions name and this list "
        "does not allows everything out",
    )
    network_acls: tuple[NetworkAcl, ...] = Field(
        (),
        description="network ACLs are a list, each with a name, subnets, egress and ingress; a subnet without one "
        "allows everything",
    )

    @property
    def node(self) -> str:
        """The node of its router: the only VPC's is `vpc`, that of a VPC called `orders` is `vpc-orders`."""
        return node_name_of_vpc(self.name)

    @property
    def exits(self) -> tuple[Exit, ...]:
        """All ways out, those first that connections take first."""
        return tuple(exit_ for key in WAYS_OUT for way_out in getattr(self, key) for exit_ in way_out.exits)

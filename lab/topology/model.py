"""The topology as a user writes it: the parts that node kinds state in `lab.nodes.KIND.model`, in one file.

Each field has one sentence that says what is allowed. It is read twice: an error line ends with it, and an editor shows
it while the file is written.
"""

from typing import Literal

from pydantic import Field

from lab.nodes.fleet.model import Function
from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.hyperplane_eni.model import HyperplaneEniSettings
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.nat_gateway.model import NatGateway
from lab.nodes.peering.model import Peering
from lab.nodes.server.model import Server
from lab.nodes.service_vpc.model import ServiceVpc
from lab.nodes.transit_gateway.model import TransitGateway
from lab.nodes.vpc.model import Subnet, Vpc
from lab.schema.base import Model
from lab.schema.exits import Exit
from lab.schema.firewall import NetworkAcl, SecurityGroup
from lab.schema.source import Source
from lab.schema.words import LabName

__all__ = ["Topology"]


class Topology(Model):
    """A small AWS region: functions in a service VPC, a customer VPC with NAT gateways, and the internet."""

    version: Literal[1] = Field(description="the version of this file format is 1")
    name: LabName = Field(
        description="a lab's name is 1 to 32 of a-z, 0-9 and -, a letter first, no - last "
        "(it becomes part of a namespace's name)"
    )
    service_vpc: ServiceVpc = Field(
        ServiceVpc(),
        description="the service VPC is a mapping of cidr and resolver (leave it out for 100.64.0.0/10)",
    )
    hyperplane_eni: HyperplaneEniSettings = Field(
        HyperplaneEniSettings(),
        description="the settings of every Hyperplane ENI are a mapping (leave it out for AWS' limits)",
    )
    vpc: Vpc | None = Field(
        None,
        description="the VPC is a mapping of cidr, subnets and nat_gateways; list several under vpcs instead",
    )
    listed_vpcs: tuple[Vpc, ...] = Field(
        (),
        alias="vpcs",
        description="VPCs are a list, each with a name, cidr and subnets (for one VPC write vpc instead)",
    )
    transit_gateways: tuple[TransitGateway, ...] = Field(
        (),
        description="Transit Gateways are a list, each with a name and attachments (leave it out for none)",
    )
    peerings: tuple[Peering, ...] = Field(
        (),
        description="peerings are a list, each with a name and two vpcs (leave it out for none)",
    )
    functions: tuple[Function, ...] = Field(
        min_length=1,
        description="a topology has a list of one or more functions, each with a name and subnets",
    )
    servers: tuple[Server, ...] = Field(
        min_length=1,
        description="a topology has a list of one or more servers, each with name, hostname, port, address or subnet",
    )

    @property
    def vpcs(self) -> tuple[Vpc, ...]:
        """The customer's VPCs."""
        return self.listed_vpcs if self.vpc is None else (self.vpc,)

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """The subnets of all VPCs."""
        return tuple(subnet for vpc in self.vpcs for subnet in vpc.subnets)

    @property
    def nat_gateways(self) -> tuple[NatGateway, ...]:
        """The NAT gateways of all VPCs."""
        return tuple(gateway for vpc in self.vpcs for gateway in vpc.nat_gateways)

    @property
    def interface_endpoints(self) -> tuple[InterfaceEndpoint, ...]:
        """The interface endpoints of all VPCs."""
        return tuple(endpoint for vpc in self.vpcs for endpoint in vpc.interface_endpoints)

    @property
    def gateway_endpoints(self) -> tuple[GatewayEndpoint, ...]:
        """The gateway endpoints of all VPCs."""
        return tuple(endpoint for vpc in self.vpcs for endpoint in vpc.gateway_endpoints)

    @property
    def exits(self) -> tuple[Exit, ...]:
        """All ways out of all VPCs, those first that connections take first."""
        return tuple(exit_ for vpc in self.vpcs for exit_ in vpc.exits)

    @property
    def security_groups(self) -> tuple[SecurityGroup, ...]:
        """The security groups of all VPCs."""
        return tuple(group for vpc in self.vpcs for group in vpc.security_groups)

    @property
    def network_acls(self) -> tuple[NetworkAcl, ...]:
        """The network ACLs of all VPCs."""
        return tuple(acl for vpc in self.vpcs for acl in vpc.network_acls)

    @property
    def sources(self) -> tuple[Source, ...]:
        """What opens connections; the first one does where none is named."""
        return self.functions

    def source(self, name: str) -> Source:
        """The source of that name."""
        return next(source for source in self.sources if source.name == name)

    def vpc_of(self, subnet: str) -> Vpc:
        """The VPC that a subnet is in."""
        return next(vpc for vpc in self.vpcs if any(known.name == subnet for known in vpc.subnets))

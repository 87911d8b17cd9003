"""What a user writes: the topology as frozen models, each field with one sentence that says what is allowed.

The sentences are read twice: an error line ends with one, and an editor shows it while the file is written.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, WrapSerializer

from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.nat_gateway.model import NatGateway
from lab.schema.base import DURATION, NAME, HalfOpenTimeout, IdleTimeout, Limit, Model, PortHold, Whole, YesNo
from lab.schema.exits import Exit
from lab.schema.firewall import NetworkAcl, SecurityGroup
from lab.schema.limits import (
    ENI_CONNECTIONS,
    ENI_IDLE_TIMEOUT_S,
    ENI_SCALING_DEFAULT,
    ENI_SCALING_MOST,
    FUNCTION_SECURITY_GROUPS,
    FUNCTION_SUBNETS,
    HALF_OPEN_TIMEOUT_S,
    PORT_HOLD_S,
    RESOLVER_PACKETS_PER_SECOND,
    RESOLVER_TTL_S,
    SERVICE_VPC_CIDR,
)
from lab.schema.scale import SCALES
from lab.schema.words import Address, Block, Hostname, LabName, Name, ServiceBlock, Timeout, shown

__all__ = [
    "EXITS",
    "EniScaling",
    "Function",
    "HyperplaneEniSettings",
    "InterfaceEndpoint",
    "NatGateway",
    "Resolver",
    "Server",
    "ServiceVpc",
    "Subnet",
    "Topology",
    "Vpc",
]


class Resolver(Model):
    """The name server: no question to it crosses an ENI, so DNS outlives connections, unless it is in the VPC."""

    location: Literal["service_vpc", "vpc"] = Field(
        "service_vpc",
        alias="in",
        description="the name server is in the service_vpc, or in the vpc, behind the ENIs, as one of your own",
    )
    subnet: Name | None = Field(
        None, description="with `in: vpc`, the name server lives in one of vpc.subnets, the first unless given"
    )
    packets_per_second: Annotated[Whole | None, SCALES] = Field(
        None,
        ge=1,
        le=RESOLVER_PACKETS_PER_SECOND,
        description="a name server takes 1 to 1,024 packets per second from each network interface "
        "(leave it out for no quota)",
    )
    ttl_s: Timeout = Field(
        RESOLVER_TTL_S, alias="ttl", description=f"a TTL, how long a client may keep an answer, is {DURATION}"
    )

    @property
    def behind_eni(self) -> bool:
        """Whether a question crosses the ENI, and takes one of its connections."""
        return self.location == "vpc"

    @property
    def counts_sources(self) -> bool:
        """Whether it matters which interface a question comes from."""
        return self.behind_eni or self.packets_per_second is not None


class ServiceVpc(Model):
    """The network in which Lambda's execution environments and their name server live."""

    cidr: ServiceBlock = Field(
        SERVICE_VPC_CIDR,
        description="the service VPC's IPv4 range is a /8 to a /15: 65,536 addresses for the lab itself, "
        "then 8,192 per function and ENI for the execution environments",
    )
    resolver: Resolver = Field(Resolver(), description="the service VPC's name server, a mapping")


class EniScaling(Model):
    """Further ENIs for a subnet and security-group set, each some time after the one before it was full."""

    after_s: Timeout = Field(
        alias="after",
        description="the lag, from an ENI's first refusal to the ENI that appears beside it, "
        f"is {DURATION} (AWS publishes none)",
    )
    most: Whole = Field(
        ENI_SCALING_DEFAULT,
        ge=2,
        le=ENI_SCALING_MOST,
        description="the most ENIs that one subnet and security-group set may come to are 2 to 8",
    )


OFF = "off"


def _scaling(value: object) -> object:
    """`off` is a word in YAML 1.2 and false in YAML 1.1; nothing at all is neither."""
    if value is None:
        raise ValueError(f"{shown(value)} is neither {OFF} nor a mapping")
    return None if value == OFF or value is False else value


def _written_scaling(value: EniScaling | None, write: SerializerFunctionWrapHandler) -> object:
    return OFF if value is None else write(value)


def _scaling_schema(schema: dict[str, Any]) -> None:
    """What an editor may offer: a mapping, or `off` in either YAML's meaning."""
    mapping, _ = schema["anyOf"]
    schema.update(anyOf=[mapping, {"enum": [OFF, False]}], default=OFF)


Scaling = Annotated[EniScaling | None, BeforeValidator(_scaling), WrapSerializer(_written_scaling)]


class HyperplaneEniSettings(Model):
    """How each Hyperplane ENI counts and forgets connections, and whether others come to its help."""

    connection_limit: Limit = Field(
        ENI_CONNECTIONS,
        ge=1,
        le=ENI_CONNECTIONS,
        description="a Hyperplane ENI carries 1 to 65,000 connections (a port each, of 65,535)",
    )
    idle_timeout_s: IdleTimeout = ENI_IDLE_TIMEOUT_S
    half_open_timeout_s: HalfOpenTimeout = HALF_OPEN_TIMEOUT_S
    port_hold_s: PortHold = PORT_HOLD_S
    per_destination: YesNo = Field(
        False,  # noqa: FBT003 - pydantic's way to write a default
        description="per_destination, a limit for each unique destination (address, port, protocol) "
        "instead of one in total, is true or false",
    )
    eni_scaling: Scaling = Field(
        None,
        description="ENI scaling, further ENIs when one is full, is off or a mapping such as {after: 60s, most: 4}",
        json_schema_extra=_scaling_schema,
    )

    @property
    def most_enis(self) -> int:
        """How many ENIs one subnet and security-group set may come to."""
        return self.eni_scaling.most if self.eni_scaling else 1


class Subnet(Model):
    """A part of the VPC with a route table of its own; private when its default route is a NAT gateway."""

    name: Name = Field(description=f"a subnet's name is {NAME}")
    cidr: Block = Field(description="a subnet's IPv4 range is a /16 to a /28 inside the VPC's, such as 10.0.1.0/24")
    default_route: Name | None = Field(
        None,
        description="a default route is the name of a NAT gateway, or none for a private subnet without one; "
        "a public subnet leaves it out",
    )


EXITS: dict[str, type[Exit]] = {"interface_endpoints": InterfaceEndpoint, "nat_gateways": NatGateway}
"""Where in a VPC each kind of way out is listed; those first that connections take first."""


class Vpc(Model):
    """The customer's VPC: a router with one port and one route table per subnet."""

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
    def exits(self) -> tuple[Exit, ...]:
        """All ways out, those first that connections take first."""
        return tuple(way_out for key in EXITS for way_out in getattr(self, key))


class Function(Model):
    """A Lambda function: a fleet of execution environments behind one ENI per subnet, or outside the VPC."""

    name: Name = Field(description=f"a function's name is {NAME}")
    subnets: tuple[Name, ...] = Field(
        (),
        max_length=FUNCTION_SUBNETS,
        description="a function has a list of 1 to 16 names from vpc.subnets, private ones; "
        "one without the list is outside the VPC",
    )
    security_groups: tuple[Name, ...] = Field(
        ("default",),
        min_length=1,
        max_length=FUNCTION_SECURITY_GROUPS,
        description=f"a function has a list of 1 to 5 security groups; a name is {NAME}",
    )


class Server(Model):
    """A remote server on the internet, known to the resolver by its hostname."""

    name: Name = Field(description=f"a server's name is {NAME}")
    hostname: Hostname = Field(
        description="a hostname has two or more labels of letters, digits and -, such as cache.example.com"
    )
    address: Address = Field(description="a server has one public IPv4 address, such as 203.0.113.10")
    port: Whole = Field(ge=1, le=65_535, description="a TCP port is 1 to 65535")
    embedded: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="embedded, the lab's own server on the port, is true, or false to leave the port to a real program",
    )


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
    vpc: Vpc = Field(description="the VPC is a mapping of cidr, subnets and nat_gateways")
    functions: tuple[Function, ...] = Field(
        min_length=1,
        description="a topology has a list of one or more functions, each with a name and subnets",
    )
    servers: tuple[Server, ...] = Field(
        min_length=1,
        description="a topology has a list of one or more servers, each with name, hostname, address, port",
    )

    @property
    def vpcs(self) -> tuple[Vpc, ...]:
        """The customer's VPCs."""
        return (self.vpc,)

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """Those of all VPCs."""
        return tuple(subnet for vpc in self.vpcs for subnet in vpc.subnets)

    @property
    def nat_gateways(self) -> tuple[NatGateway, ...]:
        """Those of all VPCs."""
        return tuple(gateway for vpc in self.vpcs for gateway in vpc.nat_gateways)

    @property
    def interface_endpoints(self) -> tuple[InterfaceEndpoint, ...]:
        """Those of all VPCs."""
        return tuple(endpoint for vpc in self.vpcs for endpoint in vpc.interface_endpoints)

    @property
    def exits(self) -> tuple[Exit, ...]:
        """All ways out of all VPCs, those first that connections take first."""
        return tuple(exit_ for vpc in self.vpcs for exit_ in vpc.exits)

    @property
    def security_groups(self) -> tuple[SecurityGroup, ...]:
        """Those of all VPCs."""
        return tuple(group for vpc in self.vpcs for group in vpc.security_groups)

    @property
    def network_acls(self) -> tuple[NetworkAcl, ...]:
        """Those of all VPCs."""
        return tuple(acl for vpc in self.vpcs for acl in vpc.network_acls)

    def vpc_of(self, subnet: str) -> Vpc:
        """The VPC that a subnet is in."""
        return next(vpc for vpc in self.vpcs if any(known.name == subnet for known in vpc.subnets))

"""What a user writes: the topology as frozen models, each field with one sentence that says what is allowed.

The sentences are read twice: an error line ends with one, and an editor shows it while the file is written.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from lab.topology.limits import (
    ENI_CONNECTIONS,
    ENI_IDLE_TIMEOUT_S,
    FUNCTION_SECURITY_GROUPS,
    FUNCTION_SUBNETS,
    HALF_OPEN_TIMEOUT_S,
    NAT_CONNECTIONS_PER_DESTINATION,
    NAT_DRAIN_TIMEOUT_S,
    NAT_EIPS,
    NAT_IDLE_TIMEOUT_S,
    PORT_HOLD_S,
    RESOLVER_TTL_S,
    SERVICE_VPC_CIDR,
)
from lab.topology.names import node_name_of_nat_gateway
from lab.topology.scale import SCALES
from lab.topology.words import Address, Block, Hold, Hostname, LabName, Name, ServiceBlock, Timeout

__all__ = [
    "Function",
    "HyperplaneEniSettings",
    "NatGateway",
    "Resolver",
    "Server",
    "ServiceVpc",
    "Subnet",
    "Topology",
    "Vpc",
]

Whole = Annotated[int, Field(strict=True)]
Limit = Annotated[Whole, SCALES]
YesNo = Annotated[bool, Field(strict=True)]

NAME = "1 to 24 of a-z, 0-9 and -, a letter first, no - last (it becomes part of a namespace's name)"
DURATION = "whole seconds up to 5 days, such as 350s, 5m, 1h or 350"
IDLE_TIMEOUT = f"an idle timeout, after which a silent connection is forgotten, is {DURATION}"
HALF_OPEN_TIMEOUT = f"a half-open timeout, after which an unanswered SYN is forgotten, is {DURATION}"
PORT_HOLD = f"a port hold, for which a closed connection keeps its port, is 0 or {DURATION}"


class _Model(BaseModel):
    """Frozen, closed, and written under its YAML names; Python may use either name."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        serialize_by_alias=True,
        validate_by_alias=True,
        validate_by_name=True,
        validate_default=False,
    )


class Resolver(_Model):
    """The service VPC's name server: no question to it crosses an ENI, so DNS outlives connections."""

    ttl_s: Timeout = Field(
        RESOLVER_TTL_S, alias="ttl", description=f"a TTL, how long a client may keep an answer, is {DURATION}"
    )


class ServiceVpc(_Model):
    """The network in which Lambda's execution environments and their name server live."""

    cidr: ServiceBlock = Field(
        SERVICE_VPC_CIDR,
        description="the service VPC's IPv4 range is a /8 to a /15: 65,536 addresses for the lab itself, "
        "then 8,192 per function and ENI for the execution environments",
    )
    resolver: Resolver = Field(Resolver(), description="the service VPC's name server, a mapping")


class HyperplaneEniSettings(_Model):
    """How each Hyperplane ENI counts and forgets connections."""

    connection_limit: Limit = Field(
        ENI_CONNECTIONS,
        ge=1,
        le=ENI_CONNECTIONS,
        description="a Hyperplane ENI carries 1 to 65,000 connections (a port each, of 65,535)",
    )
    idle_timeout_s: Timeout = Field(
        ENI_IDLE_TIMEOUT_S,
        alias="idle_timeout",
        description=IDLE_TIMEOUT,
    )
    half_open_timeout_s: Timeout = Field(
        HALF_OPEN_TIMEOUT_S,
        alias="half_open_timeout",
        description=HALF_OPEN_TIMEOUT,
    )
    port_hold_s: Hold = Field(
        PORT_HOLD_S,
        alias="port_hold",
        description=PORT_HOLD,
    )


class Subnet(_Model):
    """A part of the VPC with a route table of its own; private when its default route is a NAT gateway."""

    name: Name = Field(description=f"a subnet's name is {NAME}")
    cidr: Block = Field(description="a subnet's IPv4 range is a /16 to a /28 inside the VPC's, such as 10.0.1.0/24")
    default_route: Name | None = Field(
        None,
        description="a default route is the name of a NAT gateway, or none for a private subnet without one; "
        "a public subnet leaves it out",
    )


class NatGateway(_Model):
    """Source NAT to 1 to 8 Elastic IPs, each with a port pool per unique destination."""

    name: Name = Field(description=f"a NAT gateway's name is {NAME}")
    subnet: Name = Field(description="a NAT gateway lives in one of vpc.subnets, a public one")
    elastic_ips: Whole = Field(
        1,
        ge=1,
        le=NAT_EIPS,
        description="a NAT gateway has 1 to 8 Elastic IPs (1 primary, up to 7 secondary)",
    )
    connections_per_destination: Limit = Field(
        NAT_CONNECTIONS_PER_DESTINATION,
        ge=1,
        le=NAT_CONNECTIONS_PER_DESTINATION,
        description="an Elastic IP carries 1 to 55,000 connections to each unique destination "
        "(address, port, protocol)",
    )
    idle_timeout_s: Timeout = Field(
        NAT_IDLE_TIMEOUT_S,
        alias="idle_timeout",
        description=IDLE_TIMEOUT,
    )
    half_open_timeout_s: Timeout = Field(
        HALF_OPEN_TIMEOUT_S,
        alias="half_open_timeout",
        description=HALF_OPEN_TIMEOUT,
    )
    port_hold_s: Hold = Field(
        PORT_HOLD_S,
        alias="port_hold",
        description=PORT_HOLD,
    )
    drain_timeout_s: Timeout = Field(
        NAT_DRAIN_TIMEOUT_S,
        alias="drain_timeout",
        description=f"a drain timeout, after which a removed Elastic IP ends its connections, is {DURATION}",
    )
    spill_over: YesNo = Field(
        True,  # noqa: FBT003 - pydantic's way to write a default
        description="spill-over, trying the next Elastic IP when one is full, is true or false",
    )
    eip_selection: Literal["round_robin", "hash"] = Field(
        "round_robin",
        description="a new connection gets its Elastic IP by round_robin (in turn) or hash (of its tuple)",
    )

    @property
    def node(self) -> str:
        """Its node."""
        return node_name_of_nat_gateway(self.name)

    @property
    def kind(self) -> str:
        """Its node kind."""
        return "nat_gateway"

    @property
    def capacity(self) -> int:
        """Connections at the same time to one server."""
        return self.elastic_ips * self.connections_per_destination

    def certain_capacity(self, in_use: int) -> int | None:
        """Without spill-over one Elastic IP may be full long before the others: by hash, or by what it had before."""
        even = self.spill_over or self.elastic_ips == 1 or (self.eip_selection == "round_robin" and not in_use)
        return None if even else max(0, self.connections_per_destination - in_use)


class Vpc(_Model):
    """The customer's VPC: a router with one port and one route table per subnet."""

    cidr: Block = Field(description="a VPC's IPv4 range is a /16 to a /28, such as 10.0.0.0/16")
    subnets: tuple[Subnet, ...] = Field(
        min_length=1, description="a VPC has a list of one or more subnets, each with a name and a cidr"
    )
    nat_gateways: tuple[NatGateway, ...] = Field(
        (), description="NAT gateways are a list, each with a name and a subnet (leave it out for none)"
    )


class Function(_Model):
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


class Server(_Model):
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


class Topology(_Model):
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

"""The service VPC as a user writes it."""

from pydantic import Field

from lab.nodes.resolver.model import Resolver
from lab.schema.base import Model
from lab.schema.limits import SERVICE_VPC_CIDR
from lab.schema.words import ServiceBlock

__all__ = ["ServiceVpc"]


class ServiceVpc(Model):
    """The network in which Lambda's execution environments and their name server live."""

    cidr: ServiceBlock = Field(
        SERVICE_VPC_CIDR,
        description="the service VPC's IPv4 range is a /8 to a /15: 65,536 addresses for the lab itself, "
        "then 8,192 per function and ENI for the execution environments",
    )
    resolver: Resolver = Field(Resolver(), description="the service VPC's name server, a mapping")

"""What a user writes: a topology file, read into frozen models; no I/O but the reading."""

from __future__ import annotations

from lab.nodes.fleet.model import Function
from lab.nodes.hyperplane_eni.model import EniScaling, HyperplaneEniSettings
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.nat_gateway.model import NatGateway
from lab.nodes.resolver.model import Resolver
from lab.nodes.server.model import Server
from lab.nodes.service_vpc.model import ServiceVpc
from lab.nodes.vpc.model import Subnet, Vpc
from lab.schema.scale import scaled
from lab.topology.enis import Eni, enis_of, hyperplane_enis
from lab.topology.loader import load, load_text
from lab.topology.model import Topology
from lab.topology.schema import json_schema, schema_text

__all__ = [
    "Eni",
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
    "enis_of",
    "hyperplane_enis",
    "json_schema",
    "load",
    "load_text",
    "scaled",
    "schema_text",
]

"""What a user writes: a topology file, read into frozen models; no I/O but the reading."""

from __future__ import annotations

from lab.schema.scale import scaled
from lab.topology.enis import Eni, enis_of, hyperplane_enis
from lab.topology.loader import load, load_text
from lab.topology.model import (
    EniScaling,
    Function,
    HyperplaneEniSettings,
    InterfaceEndpoint,
    NatGateway,
    Resolver,
    Server,
    ServiceVpc,
    Subnet,
    Topology,
    Vpc,
)
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

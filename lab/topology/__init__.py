"""What a user writes: a topology file, read into frozen models; no I/O but the reading."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from lab.topology.loader import load, load_text, loaded, text_of
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
    "loaded",
    "scaled",
    "schema_text",
    "text_of",
]

_HOMES = {
    "Function": "lab.nodes.fleet.model",
    "InterfaceEndpoint": "lab.nodes.interface_endpoint.model",
    "NatGateway": "lab.nodes.nat_gateway.model",
    "Resolver": "lab.nodes.resolver.model",
    "Server": "lab.nodes.server.model",
    "ServiceVpc": "lab.nodes.service_vpc.model",
    "Topology": "lab.topology.model",
    "scaled": "lab.schema.scale",
    **dict.fromkeys(("EniScaling", "HyperplaneEniSettings"), "lab.nodes.hyperplane_eni.model"),
    **dict.fromkeys(("Subnet", "Vpc"), "lab.nodes.vpc.model"),
    **dict.fromkeys(("Eni", "enis_of", "hyperplane_enis"), "lab.topology.enis"),
    **dict.fromkeys(("load", "load_text", "loaded", "text_of"), "lab.topology.loader"),
    **dict.fromkeys(("json_schema", "schema_text"), "lab.topology.schema"),
}
"""Name → the module that has it."""


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the models take 0.1 s, and `lab status` only wants the names of node kinds.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

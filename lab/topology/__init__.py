"""What a user writes: a topology file, read into frozen models; no I/O but the reading."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.schema.scale import scaled
    from lab.topology.enis import Eni, enis_of, hyperplane_enis
    from lab.topology.loader import load, load_text, text_of
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
    "text_of",
]

_NOT_IN_MODEL = {
    "scaled": "lab.schema.scale",
    **dict.fromkeys(("Eni", "enis_of", "hyperplane_enis"), "lab.topology.enis"),
    **dict.fromkeys(("load", "load_text", "text_of"), "lab.topology.loader"),
    **dict.fromkeys(("json_schema", "schema_text"), "lab.topology.schema"),
}
"""Where a name is that is not one of the models."""


def __getattr__(name: str) -> Any:
    # Imported when first asked for: the models take 0.1 s, and `lab status` only wants the names of node kinds.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NOT_IN_MODEL.get(name, "lab.topology.model")), name)

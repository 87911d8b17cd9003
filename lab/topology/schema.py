"""The JSON schema of a topology file, for editors: the models' own words, under the YAML names."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from lab.topology.model import Topology

__all__ = ["json_schema"]


def json_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) that knows every key, default and limit that stands in one place of a file."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **Topology.model_json_schema(by_alias=True)}

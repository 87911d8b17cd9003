"""The JSON schema of a topology file, for editors: the models' own words, under the YAML names."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from lab.topology.model import Topology

__all__ = ["json_schema", "schema_text"]


def json_schema() -> dict[str, Any]:
    """A JSON schema (draft 2020-12) of every key, default and bound; `lab validate` knows the rest."""
    return {"$schema": GenerateJsonSchema.schema_dialect, **Topology.model_json_schema(by_alias=True)}


def schema_text() -> str:
    """The schema as it stands in `topologies/schema.json`, and as `lab schema` prints it."""
    return f"{json.dumps(json_schema(), indent=2, ensure_ascii=False)}\n"

"""The JSON schema that editors use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.topology import json_schema, schema_text

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMITTED = Path(__file__).parents[3] / "topologies" / "schema.json"


def properties(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of a topology file with its schema."""
    for model in (schema, *schema["$defs"].values()):
        yield from model["properties"].items()


def test_no_drift() -> None:
    """The committed schema is the models' schema; `lab schema > topologies/schema.json` makes it so."""
    assert COMMITTED.read_text(encoding="utf-8") == schema_text(), "run: lab schema > topologies/schema.json"


def test_dialect() -> None:
    """The schema is JSON, and says that it is draft 2020-12."""
    assert json.loads(schema_text())["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_words_for_every_key() -> None:
    """An editor has a sentence for every key."""
    assert [name for name, key in properties(json_schema()) if not key.get("description")] == []


def test_yaml_names() -> None:
    """Durations stand under the names that a file uses, not under Python's."""
    names = {name for name, _ in properties(json_schema())}
    assert {"idle_timeout", "half_open_timeout", "port_hold", "ttl"} <= names
    assert not {name for name in names if name.endswith("_s")}


def test_closed() -> None:
    """An editor marks unknown keys at every level."""
    schema = json_schema()
    assert all(model["additionalProperties"] is False for model in (schema, *schema["$defs"].values()))

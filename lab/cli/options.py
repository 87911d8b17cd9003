"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "LabName", "TopologyFile", "count"]

LabName = Annotated[
    str | None,
    typer.Option("--lab", envvar="LAB_NAME", help="Which lab; may be left out while one is up.", metavar="NAME"),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
TopologyFile = Annotated[
    Path,
    typer.Argument(help="A topology file, such as topologies/two_subnets.yaml.", metavar="TOPOLOGY.yaml"),
]


def count(text: str) -> int:
    """A number as people write it: 140000, 140,000, 140_000."""
    try:
        return int(text.replace(",", ""))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no number of connections; write it like 140000") from None

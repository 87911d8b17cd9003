"""The functions in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.schema.names import node_name_of_function
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The functions by their names, with their reserved concurrency."""
    for function in topology.functions:
        most = function.reserved_concurrency
        reserved = () if most is None else (f"{most:,} at a time",)
        yield Drawn(node_name_of_function(function.name), function.name, reserved)

"""The service VPC's egress in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.schema.names import EGRESS
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The egress, if a function is outside the VPC."""
    if any(not function.subnets for function in topology.functions):
        yield Drawn(EGRESS, EGRESS, ("no limit",), "no limit")

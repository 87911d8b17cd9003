"""The peerings in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The peerings, between their VPCs; they limit nothing."""
    return (Drawn(peering.node, peering.node, ("no limit",), "no limit") for peering in topology.peerings)

"""The Transit Gateways in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The Transit Gateways, between the VPCs; they limit nothing."""
    return (Drawn(gateway.node, gateway.node, ("no limit",), "no limit") for gateway in topology.transit_gateways)

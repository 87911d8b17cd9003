"""The gateway endpoints in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.topology import Topology


def drawn(topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
    """The endpoints with their service; they limit nothing."""
    for vpc in topology.vpcs:
        for endpoint in vpc.gateway_endpoints:
            lines = (f"for {endpoint.service}", "no limit" if endpoint.node in passed else "idle")
            yield Drawn(endpoint.node, endpoint.node, lines, "no limit", vpc=vpc.name)

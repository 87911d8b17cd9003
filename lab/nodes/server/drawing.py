"""The remote servers in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.schema.names import node_name_of_server
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The servers with their addresses, and whether the lab's own server answers there."""
    for server in topology.servers:
        lines = (f"{server.address}:{server.port}", *(() if server.embedded else ("a real program",)))
        yield Drawn(node_name_of_server(server.name), server.hostname, lines)

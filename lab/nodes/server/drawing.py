"""The remote servers in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.nodes.kind import Column
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The servers with their addresses and limits, and whether the lab's own server answers there."""
    for server in topology.servers:
        addresses = (f"{address}:{server.port}" for address in server.addresses or (server.subnet,))
        where = (*addresses, *(() if server.embedded else ("a real program",)))
        limit = "" if server.max_connections is None else f"{server.max_connections:,}"
        lines = (*where, f"limit {limit}, then {server.refusal}") if limit else where
        column: Column | None = "exits" if server.subnet else None
        yield Drawn(server.node, server.hostname, lines, limit, where, subnet=server.subnet, column=column)

"""The interface endpoints in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn, timeouts
from lab.topology import Topology


def drawn(topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
    """The endpoints with the server that each is for, and its load balancer's limit."""
    for endpoint in topology.interface_endpoints:
        targets = next(len(server.addresses) for server in topology.servers if server.name == endpoint.server)
        server, limit = f"for {endpoint.server}", endpoint.connections_per_target
        limit = limit and limit * targets
        said = ("no limit" if limit is None else f"limit {limit:,}", *timeouts(endpoint))
        unused = "idle" if endpoint.private_dns else "private DNS off"
        brief = "" if limit is None else f"{limit:,}"
        for exit_ in endpoint.exits:
            lines = (server, *said) if exit_.node in passed else (server, unused)
            yield Drawn(exit_.node, exit_.node, lines, brief, (server,), exit_.subnet)

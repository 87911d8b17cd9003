"""The clients that are no functions in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The clients in their subnets, with how many connections to one server their addresses have ports for."""
    for client in topology.clients:
        ports = f"{client.limit.size:,} ports"
        files = () if client.descriptors is None else (f"{client.descriptors:,} descriptors",)
        lines = (ports,) if client.addresses == 1 else (f"{client.addresses} addresses,", f"{ports} each")
        yield Drawn(client.node, client.node, (*lines, *files), ports, subnet=client.subnet)

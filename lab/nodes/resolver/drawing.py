"""The name server in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.schema.names import RESOLVER
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The name server with its subnet, if it is behind the ENIs, and its quota."""
    resolver = topology.service_vpc.resolver
    subnet = (resolver.subnet or topology.subnets[0].name) if resolver.behind_eni else None
    quota = resolver.packets_per_second
    lines = () if subnet is None else (f"in {subnet}",)
    limit = () if quota is None else (f"{quota:,} packets/s", "per interface")
    yield Drawn(RESOLVER, RESOLVER, (*lines, *limit), subnet=subnet)

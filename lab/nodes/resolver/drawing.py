"""The name server in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn
from lab.schema.names import RESOLVER
from lab.topology import Topology


def drawn(topology: Topology, _passed: Collection[str]) -> Iterator[Drawn]:
    """The name server with its subnet, if it is behind the ENIs, and its limits."""
    resolver = topology.service_vpc.resolver
    subnet = (resolver.subnet or topology.subnets[0].name) if resolver.behind_eni else None
    quota = resolver.packets_per_second
    lines = () if subnet is None else (f"in {subnet}",)
    limits = [f"{quota:,} packets/s"] if quota else []
    limits += [f"{resolver.tcp_connections} over TCP"] if resolver.tcp_connections else []
    yield Drawn(RESOLVER, RESOLVER, (*lines, *limits, *(["per interface"] if limits else [])), subnet=subnet)

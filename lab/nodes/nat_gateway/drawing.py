"""The NAT gateways in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn, timeouts
from lab.topology import NatGateway, Topology


def drawn(topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
    """The NAT gateways with their Elastic IPs, and how many connections these carry to one server."""
    for gateway in topology.nat_gateways:
        lines = tuple(_lines(topology, gateway))
        if gateway.node not in passed:
            lines = (lines[0], "idle")
        yield Drawn(gateway.node, gateway.node, lines, f"{gateway.capacity:,}", lines[:1], gateway.subnet)


def _lines(topology: Topology, gateway: NatGateway) -> Iterator[str]:
    yield f"{gateway.elastic_ips} EIP{'s' if gateway.elastic_ips > 1 else ''}"
    if any(len(server.addresses) > 1 for server in topology.servers):
        yield from (f"{gateway.capacity:,}", "per address")
    elif len(topology.servers) == 1:
        yield from (f"{gateway.capacity:,} to", "one server")
    else:
        yield from (f"{gateway.capacity:,}", "per server")
    if not gateway.spill_over and gateway.elastic_ips > 1:
        yield "no spill-over"
    yield from timeouts(gateway)
    yield from (f"ACL {acl.name}" for acl in topology.network_acls if gateway.subnet in acl.subnets)

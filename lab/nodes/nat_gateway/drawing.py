"""The NAT gateways in drawings."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from lab.nodes.drawing import Drawn, timeouts
from lab.topology import NatGateway, Topology
from lab.topology.nat_clients import clients_of


def drawn(topology: Topology, passed: Collection[str]) -> Iterator[Drawn]:
    """The NAT gateways with their Elastic IPs, and how many connections these carry to one server."""
    for gateway in topology.nat_gateways:
        lines = tuple(_lines(topology, gateway))
        if gateway.node not in passed:
            lines = (lines[0], "idle")
        carries = _of_each(topology, gateway) or gateway.capacity
        yield Drawn(gateway.node, gateway.node, lines, f"{carries:,}", lines[:1], gateway.subnet)


def _lines(topology: Topology, gateway: NatGateway) -> Iterator[str]:
    yield f"{gateway.elastic_ips} EIP{'s' if gateway.elastic_ips > 1 else ''}"
    each = _of_each(topology, gateway)
    if each is not None:
        yield from (f"{each:,} per", "client")
    elif any(len(server.addresses) > 1 for server in topology.servers):
        yield from (f"{gateway.capacity:,}", "per address")
    elif len(topology.servers) == 1:
        yield from (f"{gateway.capacity:,} to", "one server")
    else:
        yield from (f"{gateway.capacity:,}", "per server")
    if each is None and not gateway.spill_over and gateway.elastic_ips > 1:
        yield "no spill-over"
    yield from timeouts(gateway)
    yield from (f"ACL {acl.name}" for acl in topology.network_acls if gateway.subnet in acl.subnets)


def _of_each(topology: Topology, gateway: NatGateway) -> int | None:
    return gateway.ports_of_each(len(clients_of(topology, gateway)))

"""Which ephemeral ports of a lab's clients are in use now: by the sockets of their kernels, and by slots on the way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal

from lab.kernel.netns import Namespaces
from lab.kernel.sockets import Socket, sockets
from lab.observe.limiters import held_sources
from lab.plan.objects import FleetPlan, Plan

__all__ = ["PortsInUse", "ports_in_use"]

_PROTOCOLS: tuple[Literal["tcp", "udp"], ...] = ("tcp", "udp")


@dataclass(frozen=True, slots=True)
class PortsInUse:
    """Ephemeral ports of one address of a client."""

    node: str
    address: IPv4Address
    destination: str | None
    """Name of a server, with its address where it has several; over UDP None, for a port is then in use for all."""
    protocol: Literal["tcp", "udp"]
    first_port: int
    ports: int
    in_use: int


def ports_in_use(namespaces: Namespaces, plan: Plan) -> Iterator[PortsInUse]:
    """Of each address of each client to each destination."""
    for fleet in plan.fleets:
        if fleet.own_ports:
            yield from _of_client(namespaces, plan, fleet)


def _of_client(namespaces: Namespaces, plan: Plan, fleet: FleetPlan) -> Iterator[PortsInUse]:
    """The connections of frames have an address of their own, that of a slot; real sockets are known to the kernel."""
    range_ = range(fleet.blocks.first_port, fleet.blocks.first_port + fleet.blocks.ports)
    taken = defaultdict[tuple[IPv4Address, str, str | None], set[int]](set)
    rings = {path.first_address for path in fleet.paths}
    for limiter in plan.limiters:
        if limiter.destination is None or limiter.protocol == "any":
            continue
        to = limiter.destination if limiter.address is None else f"{limiter.destination} {limiter.address}"
        for address, port in held_sources(namespaces, [limiter]):
            if address in rings:
                taken[address, limiter.protocol, to if limiter.protocol == "tcp" else None].add(port)
    servers = {
        (address, server.port): f"{server.name} {address}" if len(server.addresses) > 1 else server.name
        for server in plan.servers
        for address in server.addresses
    }
    for protocol in _PROTOCOLS:
        for socket in namespaces[fleet.namespace].run(_sockets, protocol):
            if socket.local.port in range_ and socket.state != "TIME_WAIT":
                called = servers.get(socket.remote) if protocol == "tcp" else None
                taken[socket.local.address, protocol, called].add(socket.local.port)
    node = next(node.name for node in plan.nodes if node.namespace == fleet.namespace)
    destinations: list[tuple[Literal["tcp", "udp"], str | None]] = [
        ("tcp", name) for name in dict.fromkeys(servers.values())
    ]
    for path in fleet.paths:
        real = path.sockets.first_address
        for protocol, called in (*destinations, ("udp", None)):
            in_use = len(taken[path.first_address, protocol, called]) + len(taken[real, protocol, called])
            yield PortsInUse(node, real, called, protocol, range_.start, len(range_), in_use)


def _sockets(protocol: Literal["tcp", "udp"]) -> list[Socket]:
    """Runs inside the client's namespace."""
    return list(sockets(protocol))

"""More ephemeral ports for a host, or fewer that it needs."""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes.client import KIND
from lab.nodes.client.model import Client
from lab.nodes.proposals import Case, Proposal, Size
from lab.schema.limits import CLIENT_ADDRESSES
from lab.schema.words import FIRST_USER_PORT, LAST_PORT
from lab.topology import Topology

__all__ = ["more_room", "proposals"]

_ALL_PORTS = range(FIRST_USER_PORT, LAST_PORT + 1)


def more_room(topology: Topology, case: Case) -> Iterator[Proposal]:
    """Another address, where the ports of those that it has bind."""
    client = case.client
    if client is None or case.before.kind != KIND.name:
        return
    what, addresses = f"one more private address for {client.name}", client.addresses + 1
    if addresses > CLIENT_ADDRESSES:
        note = f"it has all {CLIENT_ADDRESSES} that a network interface can have"
        yield Proposal(what, "", None, Size.ADDRESS, note=note)
        return
    yield Proposal(
        what,
        f"client {client.name}: addresses: {addresses}",
        _with(topology, client, addresses=addresses),
        Size.ADDRESS,
        condition="if its connections take turns between them",
    )


def proposals(case: Case) -> Iterator[Proposal]:
    """All ports but those of services, and connections that are used again."""
    client = case.client
    if client is None:
        return
    if case.before.kind == KIND.name and len(client.ephemeral_ports) < len(_ALL_PORTS):
        ports = f"{_ALL_PORTS[0]}-{_ALL_PORTS[-1]}"
        yield Proposal(
            f"a wider range of ephemeral ports at {client.name}",
            f'client {client.name}: ephemeral_ports: "{ports}" (sysctl net.ipv4.ip_local_port_range)',
            _with(case.topology, client, ephemeral_ports=_ALL_PORTS),
            Size.RULE,
            condition="if no service there needs one of them",
        )
    yield Proposal(
        "reuse of connections",
        "the program: keep connections alive, in a pool",
        None,
        Size.CODE,
        note="the threshold stays, and fewer connections are needed for the same requests",
        effect="saves",
    )


def _with(topology: Topology, client: Client, **parts: object) -> Topology:
    changed = client.model_copy(update=parts)
    clients = tuple(changed if known == client else known for known in topology.clients)
    return topology.model_copy(update={"clients": clients})

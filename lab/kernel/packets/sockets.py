"""Ears on the way of a burst: AF_PACKET sockets in the namespaces that its packets cross, for the engine to inherit.

A traffic process lives in one namespace; a socket belongs to the one where it was opened, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
import socket
from typing import NamedTuple

from lab.kernel.netns import Namespaces
from lab.plan.interfaces import interfaces_of
from lab.plan.objects import FleetPlan, NodePlan, Plan, ServerPlan
from traffic.spec import Tap

__all__ = ["Place", "opened", "places"]

_ETH_P_ALL = 0x0003
"""All protocols, or nothing that the node sends would be heard (dev_queue_xmit_nit); the engine attaches a filter."""

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_SO_RCVBUFFORCE = 33
_RECEIVE_BYTES = 1 << 22


class Place(NamedTuple):
    """An interface of a node."""

    node: NodePlan
    interface: str


def places(plan: Plan, fleet: FleetPlan, server: ServerPlan, on_the_way: Collection[str]) -> Iterator[Place]:
    """Every interface of the fleet, the nodes on its ways to the server, the server and the resolver."""
    for node in plan.nodes:
        if (
            node.namespace == fleet.namespace
            or node.name in on_the_way
            or node.kind == "resolver"
            or (node.kind == "server" and node.alias == server.name)
        ):
            yield from (Place(node, each) for each in interfaces_of(plan, node))


@contextmanager
def opened(namespaces: Namespaces, wanted: Iterable[Place]) -> Iterator[tuple[Tap, ...]]:
    """Sockets that listen at these places until the block ends; their descriptors are this process's."""
    with ExitStack() as undo:
        yield tuple(
            Tap(
                undo.enter_context(namespaces[node.namespace].run(_listen, interface)).fileno(),
                node.name,
                node.kind,
                interface,
            )
            for node, interface in wanted
        )


def _listen(interface: str) -> socket.socket:
    """Runs inside the namespace of the interface."""
    # Protocol 0: nothing is received until bind.
    ear = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        # Time stamps from now on: the kernel takes a moment until it makes them (net_enable_timestamp).
        ear.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        ear.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BYTES)
        ear.bind((interface, _ETH_P_ALL))
    except BaseException:
        ear.close()
        raise
    return ear

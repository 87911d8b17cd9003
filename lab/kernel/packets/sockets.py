"""AF_PACKET sockets on the interfaces that a burst's packets cross, for the scapy engine to inherit.

A traffic process lives in one namespace; a socket belongs to the one where it was opened, whichever process reads it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
import socket
from typing import NamedTuple

from lab.kernel.netns import Namespaces
from lab.nodes.registry import kind_of
from lab.plan.interfaces import interfaces_of
from lab.plan.objects import FleetPlan, NodePlan, Plan, ServerPlan
from lab.schema.names import front_of_server
from traffic.buffers import make_room
from traffic.spec import PacketSocket

__all__ = ["NodeInterface", "interfaces_on_path", "packet_sockets"]

_ETH_P_ALL = 0x0003
"""All protocols: without it a socket misses what the node sends (dev_queue_xmit_nit); the engine attaches a filter."""

_SO_TIMESTAMPNS = 35  # asm-generic/socket.h
_RECEIVE_BYTES = 1 << 22


class NodeInterface(NamedTuple):
    """An interface of a node."""

    node: NodePlan
    interface: str


def interfaces_on_path(
    plan: Plan, fleets: Collection[FleetPlan], server: ServerPlan, between: Collection[str]
) -> Iterator[NodeInterface]:
    """Every interface of fleets, the nodes `between` them and the server, the server, its front and the resolver."""
    namespaces = {fleet.namespace for fleet in fleets}
    for node in plan.nodes:
        if (
            node.namespace in namespaces
            or node.name in (*between, front_of_server(server.name))
            or (kind_of(node.kind).answers and node.alias in (None, server.name))
        ):
            yield from (NodeInterface(node, interface) for interface in interfaces_of(plan, node))


@contextmanager
def packet_sockets(namespaces: Namespaces, interfaces: Iterable[NodeInterface]) -> Iterator[tuple[PacketSocket, ...]]:
    """A socket on each of these interfaces until the block ends; their descriptors are this process's."""
    with ExitStack() as undo:
        yield tuple(
            PacketSocket(
                undo.enter_context(namespaces[node.namespace].run(_packet_socket, interface)).fileno(),
                node.name,
                node.kind,
                interface,
            )
            for node, interface in interfaces
        )


def _packet_socket(interface: str) -> socket.socket:
    """Runs inside the namespace of the interface."""
    # Protocol 0: nothing is received until bind.
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    try:
        # Time stamps from now on: the kernel takes a moment until it makes them (net_enable_timestamp).
        packets.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        make_room(packets, socket.SO_RCVBUF, _RECEIVE_BYTES)
        packets.bind((interface, _ETH_P_ALL))
    except BaseException:
        packets.close()
        raise
    return packets

"""Where a capture has its packets from: interfaces of nodes, or what their limiters refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
import errno
from typing import Protocol

from lab.capture import pcapng
from lab.errors import KernelError, UsageError
from lab.kernel.netfilter.nflog import LogGroup
from lab.kernel.netns import Namespaces
from lab.kernel.packets.bpf import Program, without_others
from lab.kernel.packets.frames import Frames
from lab.kernel.packets.ring import BLOCK_BYTES, PacketRing
from lab.kernel.packets.sockets import NodeInterface
from lab.kernel.preflight import available_memory_bytes, require_descriptors
from lab.nodes.registry import kind_of
from lab.plan.interfaces import interfaces_of
from lab.plan.objects import BridgePort, NodePlan, Plan
from lab.slots.counters import REFUSED_GROUP

__all__ = [
    "PacketOptions",
    "PacketSource",
    "all_interfaces",
    "interface_sources",
    "limiting_nodes",
    "node_interfaces",
    "refusal_sources",
    "require_limiting",
]

_ONLY_JOINS_LINKS = ("service_vpc",)
"""Its bridge only joins the others' links: each frame would be there twice more."""

_BY_PACKET_TYPE = (
    pcapng.flags(outgoing=False, reception=1),
    pcapng.flags(outgoing=False, reception=3),
    pcapng.flags(outgoing=False, reception=2),
    pcapng.flags(outgoing=False, reception=4),
    pcapng.flags(outgoing=True),
)
"""What is said of a frame, by its packet type: to this station, broadcast, multicast, to another one, sent."""

_ALL_RINGS_BYTES = 256 << 20
_SHARE_OF_MEMORY = 8
_FEWEST_BLOCKS, _MOST_BLOCKS = 8, 128


# ── Which interfaces and nodes ──────────────────────────────────────────────────────────────────────────────


def all_interfaces(plan: Plan) -> list[NodeInterface]:
    """Every interface that packets cross between functions, resolver and servers, in the order in which they do."""
    nodes = (node for node in plan.nodes if node.kind not in _ONLY_JOINS_LINKS)
    return [interface for node in nodes for interface in node_interfaces(plan, node)]


def node_interfaces(plan: Plan, node: NodePlan, interface: str | None = None) -> list[NodeInterface]:
    """All interfaces of a node, or the one of that name; UsageError lists the known ones."""
    return [NodeInterface(node, name) for name in interfaces_of(plan, node, interface)]


def limiting_nodes(plan: Plan) -> list[NodePlan]:
    """Every node that refuses connections when a limit is reached."""
    limiting = {limiter.place for limiter in plan.limiters}
    return [node for node in plan.nodes if node.name in limiting]


def require_limiting(plan: Plan, node: NodePlan) -> NodePlan:
    """The node again, if it refuses connections when a limit is reached; UsageError lists those that do."""
    limiting = limiting_nodes(plan)
    if node not in limiting:
        known = ", ".join(limiter.name for limiter in limiting)
        raise UsageError(f"--dropped: node {node.name} has no limit of connections; those that have: {known}")
    return node


# ── Their packets ───────────────────────────────────────────────────────────────────────────────────────────


class PacketSource(Protocol):
    """One interface of the capture file, and where its packets come from."""

    node: NodePlan
    described: pcapng.Interface
    """The interface block that stands for it in the file."""

    def read(self) -> Iterator[Frames]:
        """The packets since the last call."""

    def end(self) -> None:
        """Take no packets any more; those that were taken before can still be read."""

    def complete(self) -> bool:
        """After the end: whether all were read."""

    def dropped(self) -> int:
        """How many packets there was no room for, as far as is known."""

    def close(self) -> None:
        """Close the socket."""


class PacketOptions:
    """The options of packets in the file (direction, comment), each kind of them once, under a number."""

    def __init__(self) -> None:
        self.encoded = list(_BY_PACKET_TYPE)
        self._comments: dict[str, int] = {}

    def comment(self, text: str) -> int:
        """The number of a comment."""
        if text not in self._comments:
            self._comments[text] = len(self.encoded)
            self.encoded.append(pcapng.comment(text))
        return self._comments[text]


@contextmanager
def interface_sources(
    plan: Plan, interfaces: Sequence[NodeInterface], program: Program, snap_bytes: int, expression: str | None
) -> Iterator[list[PacketSource]]:
    """The packets of these interfaces that the program, compiled from the expression, lets pass, until the block ends.

    A ring takes one descriptor, so a lab with more interfaces than this process may have descriptors for is refused.
    """
    require_descriptors(len(interfaces), "interfaces")
    bridged = {(item.namespace, item.interface) for item in plan.objects if isinstance(item, BridgePort)}
    blocks = _blocks_for(len(interfaces))
    with ExitStack() as undo, Namespaces() as namespaces:
        sources = list[PacketSource]()
        for node, interface in interfaces:
            # A bridge's port takes what is for others; at a node's own interface that is what the bridge has flooded.
            wanted = program if (node.namespace, interface) in bridged else without_others(program)
            name = f"{node.name}:{interface}"
            try:
                ring = namespaces[node.namespace].run(PacketRing, interface, wanted, blocks)
            except OSError as refused:
                raise KernelError(f"the kernel refused to listen at {name}: {refused.strerror}") from refused
            undo.callback(ring.close)
            described = pcapng.Interface(name, _description(node), pcapng.ETHERNET, snap_bytes, expression)
            sources.append(_InterfaceSource(node, described, ring))
        namespaces.close()
        yield sources


@contextmanager
def refusal_sources(nodes: Sequence[NodePlan], options: PacketOptions, snap_bytes: int) -> Iterator[list[PacketSource]]:
    """The packets that these nodes refuse until the block ends; KernelError where another process has them already."""
    with ExitStack() as undo, Namespaces() as namespaces:
        sources = list[PacketSource]()
        for node in nodes:
            try:
                group = namespaces[node.namespace].run(LogGroup, REFUSED_GROUP, snap_bytes)
            except OSError as refused:
                taken = "; it has one listener at a time, perhaps another lab capture --dropped, or tcpdump -i nflog:"
                why = f"{taken}{REFUSED_GROUP}" if refused.errno in (errno.EPERM, errno.EBUSY) else ""
                raise KernelError(
                    f"NFLOG group {REFUSED_GROUP} of node {node.name}: {refused.strerror}{why}"
                ) from refused
            undo.callback(group.close)
            described = pcapng.Interface(f"{node.name} (dropped)", _description(node), pcapng.RAW, snap_bytes)
            sources.append(_RefusalSource(node, described, group, options))
        namespaces.close()
        yield sources


def _description(node: NodePlan) -> str:
    return " ".join((kind_of(node.kind).words, *node.addresses))


def _blocks_for(rings: int) -> int:
    """How large each of so many rings is: as large as is useful, but a small share of the memory in all."""
    in_all = min(_ALL_RINGS_BYTES, available_memory_bytes() // _SHARE_OF_MEMORY) // BLOCK_BYTES
    return max(_FEWEST_BLOCKS, min(_MOST_BLOCKS, in_all // max(rings, 1)))


@dataclass(slots=True)
class _InterfaceSource:
    node: NodePlan
    described: pcapng.Interface
    ring: PacketRing
    seen: int = 0

    def read(self) -> Iterator[Frames]:
        for frames in self.ring.read():
            self.seen += len(frames)
            yield frames

    def end(self) -> None:
        self.ring.end()

    def complete(self) -> bool:
        return self.seen >= self.ring.count().taken

    def dropped(self) -> int:
        return self.ring.count().dropped

    def close(self) -> None:
        self.ring.close()


@dataclass(slots=True)
class _RefusalSource:
    node: NodePlan
    described: pcapng.Interface
    group: LogGroup
    options: PacketOptions

    def read(self) -> Iterator[Frames]:
        if packets := list(self.group.read()):
            yield Frames.of(
                [packet.payload for packet in packets],
                [packet.original for packet in packets],
                [packet.at_ns for packet in packets],
                [self.options.comment(f"{self.node.name}: no slot free in {packet.prefix}") for packet in packets],
            )

    def end(self) -> None:
        self.group.end()

    def complete(self) -> bool:
        return True  # the kernel delivers what it has gathered when the group is left

    def dropped(self) -> int:
        return self.group.dropped

    def close(self) -> None:
        self.group.close()

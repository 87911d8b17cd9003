"""Where a capture listens: at interfaces of nodes, or at what their limiters refuse; and how such a place is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
import errno
from pathlib import Path
from typing import Protocol

from lab.capture import pcapng
from lab.errors import KernelError, UsageError
from lab.kernel.netfilter.nflog import LogGroup
from lab.kernel.netns import Namespaces
from lab.kernel.packets.bpf import Program, without_others
from lab.kernel.packets.frames import Frames
from lab.kernel.packets.ring import BLOCK_BYTES, PacketRing
from lab.kernel.packets.sockets import Place
from lab.plan.interfaces import interfaces_of
from lab.plan.objects import BridgePort, NodePlan, Plan
from lab.slots.counters import REFUSED_GROUP
from lab.topology.kinds import in_words

__all__ = [
    "Ear",
    "Kinds",
    "at_interfaces",
    "at_limiters",
    "every_limiter_node",
    "every_place",
    "limiter_node",
    "places_of",
]

_NOT_ON_THE_WAY = ("service_vpc",)
"""Its bridge only joins the others' links: each frame would be there twice more."""

_BY_PACKET_TYPE = (
    pcapng.flags(outgoing=False, reception=1),
    pcapng.flags(outgoing=False, reception=3),
    pcapng.flags(outgoing=False, reception=2),
    pcapng.flags(outgoing=False, reception=4),
    pcapng.flags(outgoing=True),
)
"""What is said of a frame, by its packet type: to this station, broadcast, multicast, to another one, sent."""

_MEMORY = Path("/proc/meminfo")
_ALL_RINGS_BYTES = 256 << 20
_SHARE_OF_MEMORY = 8
_FEWEST_BLOCKS, _MOST_BLOCKS = 8, 128


# ── Which places ────────────────────────────────────────────────────────────────────────────────────────────


def every_place(plan: Plan) -> list[Place]:
    """Every interface that packets cross between functions, resolver and servers, in the order in which they do."""
    on_the_way = (node for node in plan.nodes if node.kind not in _NOT_ON_THE_WAY)
    return [place for node in on_the_way for place in places_of(plan, node)]


def places_of(plan: Plan, node: NodePlan, interface: str | None = None) -> list[Place]:
    """All interfaces of a node, or the one of that name; UsageError lists the known ones."""
    return [Place(node, each) for each in interfaces_of(plan, node, interface)]


def every_limiter_node(plan: Plan) -> list[NodePlan]:
    """Every node that refuses connections when a limit is reached."""
    limiting = {limiter.place for limiter in plan.limiters}
    return [node for node in plan.nodes if node.name in limiting]


def limiter_node(plan: Plan, node: NodePlan) -> NodePlan:
    """The node again, if it does; UsageError lists those that do."""
    limiting = every_limiter_node(plan)
    if node not in limiting:
        known = ", ".join(each.name for each in limiting)
        raise UsageError(f"--dropped: node {node.name} has no limit of connections; those that have: {known}")
    return node


# ── Listening there ─────────────────────────────────────────────────────────────────────────────────────────


class Ear(Protocol):
    """One interface of the file, and where its packets come from."""

    node: NodePlan
    described: pcapng.Interface
    """What the file says of it."""

    def read(self) -> Iterator[Frames]:
        """What it has heard since the last time."""

    def end(self) -> None:
        """Hear nothing more; what was heard before is still to be read."""

    def complete(self) -> bool:
        """After the end: whether all has been read."""

    def dropped(self) -> int:
        """How many packets there was no room for, as far as is known."""

    def close(self) -> None:
        """Let go of the place."""


class Kinds:
    """What the file says of a packet beside its bytes: a number for each thing that is said."""

    def __init__(self) -> None:
        self.options = list(_BY_PACKET_TYPE)
        self._remarks: dict[str, int] = {}

    def remark(self, text: str) -> int:
        """The number of a comment."""
        if text not in self._remarks:
            self._remarks[text] = len(self.options)
            self.options.append(pcapng.comment(text))
        return self._remarks[text]


@contextmanager
def at_interfaces(
    plan: Plan, places: Sequence[Place], program: Program, snap_bytes: int, expression: str | None
) -> Iterator[list[Ear]]:
    """Ears at these places until the block ends, for what the program lets pass, compiled of that expression."""
    bridged = {(each.namespace, each.interface) for each in plan.objects if isinstance(each, BridgePort)}
    blocks = _blocks_for(len(places))
    with ExitStack() as undo, Namespaces() as namespaces:
        ears = list[Ear]()
        for node, interface in places:
            # A bridge's port takes what is for others; at a node's own interface that is what the bridge has flooded.
            heard = program if (node.namespace, interface) in bridged else without_others(program)
            name = f"{node.name}:{interface}"
            try:
                ring = namespaces[node.namespace].run(PacketRing, interface, heard, blocks)
            except OSError as refused:
                raise KernelError(f"the kernel refused to listen at {name}: {refused.strerror}") from refused
            undo.callback(ring.close)
            described = pcapng.Interface(name, _description(node), pcapng.ETHERNET, snap_bytes, expression)
            ears.append(_AtInterface(node, described, ring))
        namespaces.close()
        yield ears


@contextmanager
def at_limiters(nodes: Sequence[NodePlan], kinds: Kinds, snap_bytes: int) -> Iterator[list[Ear]]:
    """Ears for what these nodes refuse until the block ends; KernelError where somebody else listens already."""
    with ExitStack() as undo, Namespaces() as namespaces:
        ears = list[Ear]()
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
            ears.append(_AtLimiters(node, described, group, kinds))
        namespaces.close()
        yield ears


def _description(node: NodePlan) -> str:
    return " ".join((in_words(node.kind), *node.addresses))


def _blocks_for(rings: int) -> int:
    """How large each of so many rings is: as large as is useful, but a small share of the memory in all."""
    available = next(
        int(line.split()[1]) << 10 for line in _MEMORY.read_text().splitlines() if line.startswith("MemAv")
    )
    in_all = min(_ALL_RINGS_BYTES, available // _SHARE_OF_MEMORY) // BLOCK_BYTES
    return max(_FEWEST_BLOCKS, min(_MOST_BLOCKS, in_all // max(rings, 1)))


@dataclass(slots=True)
class _AtInterface:
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
class _AtLimiters:
    node: NodePlan
    described: pcapng.Interface
    group: LogGroup
    kinds: Kinds

    def read(self) -> Iterator[Frames]:
        if found := list(self.group.read()):
            yield Frames.of(
                [each.payload for each in found],
                [each.original for each in found],
                [each.at_ns for each in found],
                [self.kinds.remark(f"{self.node.name}: no slot free in {each.prefix}") for each in found],
            )

    def end(self) -> None:
        self.group.end()

    def complete(self) -> bool:
        return True  # what the kernel had gathered was there when the group was left

    def dropped(self) -> int:
        return self.group.dropped

    def close(self) -> None:
        self.group.close()

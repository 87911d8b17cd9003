"""Listening at places of a lab, as people name them, and writing down what is heard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lab.capture import sources
from lab.capture.recording import Limits, Outcome, Output, record
from lab.capture.sources import PacketOptions, PacketSource
from lab.errors import UsageError
from lab.kernel.packets.bpf import compiled, everything
from lab.plan.objects import NodePlan, Plan

__all__ = ["WHOLE_PACKETS", "Capture", "listening"]

WHOLE_PACKETS = 262_144
"""tcpdump's own default of bytes: more than any packet has."""

_Node = Callable[[str], NodePlan]
"""Finds a node by one of its names; UsageError when there is none."""


@dataclass(frozen=True, slots=True)
class Capture:
    """Sockets that receive from now on; the packets wait in the kernel until they are recorded."""

    lab: str
    sources: Sequence[PacketSource]
    options: PacketOptions
    dropped: bool
    """Whether they receive only what limits refuse."""

    @property
    def what(self) -> str:
        """`3 interfaces of 2 nodes`, `packets that 1 node refused`."""
        nodes = _counted(len({source.node.name for source in self.sources}), "node")
        return (
            f"packets that {nodes} refused"
            if self.dropped
            else f"{_counted(len(self.sources), 'interface')} of {nodes}"
        )

    def record(
        self,
        descriptor: int,
        *,
        packets: int | None = None,
        seconds: float | None = None,
        asked_to_end: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Outcome:
        """Write a pcapng file to a descriptor, until so many packets or seconds, or until it is asked to end.

        `progress` is told the number of packets so far, several times a second.
        """
        return record(
            self.sources,
            self.options,
            Output(descriptor),
            Limits(packets, seconds),
            about=f"lab {self.lab}: {self.what}",
            asked_to_end=asked_to_end,
            progress=progress,
        )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


@contextmanager
def listening(
    plan: Plan,
    node: _Node,
    places: Sequence[str],
    *,
    dropped: bool,
    expression: str | None,
    snap_bytes: int | None,
) -> Iterator[Capture]:
    """Listen at these places until the block ends, or at all on the way if there are none.

    UsageError for a place that is none, or a filter that is none; KernelError where the kernel refuses to listen.
    """
    options, bytes_kept = PacketOptions(), snap_bytes or WHOLE_PACKETS
    if dropped:
        nodes = _limiting(plan, node, places)
        listens = sources.refusal_sources(nodes, options, bytes_kept)
    else:
        chosen = []
        for text in places:
            name, colon, interface = text.partition(":")
            chosen.extend(sources.node_interfaces(plan, node(name), interface if colon else None))
        program = everything(bytes_kept) if expression is None else compiled(expression, bytes_kept)
        listens = sources.interface_sources(
            plan, list(dict.fromkeys(chosen)) or sources.all_interfaces(plan), program, bytes_kept, expression
        )
    with listens as listening_there:
        yield Capture(plan.lab, listening_there, options, dropped)


def _limiting(plan: Plan, node: _Node, names: Sequence[str]) -> list[NodePlan]:
    for name in names:
        if ":" in name:
            raise UsageError(f"--dropped {name}: limits are a node's, not an interface's: {name.partition(':')[0]}")
    nodes = [sources.require_limiting(plan, node(name)) for name in names]
    return list(dict.fromkeys(nodes)) or sources.limiting_nodes(plan)

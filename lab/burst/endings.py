"""Who ended a burst's connections: the client, the server, or a NAT node that had no entry for them. Pure.

Every NAT node counts it in the kernel (`lab.slots.counters`). A node counts by the side from which a FIN or
RST comes first, so the RST of a NAT gateway comes from the servers' side in the ENI before it. What clients and server
did is therefore read where they are nearest: FINs and the clients' RSTs at the first node of a path, the server's RSTs
at the last one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from lab.kernel.generator_events import Ended
from lab.observe.samples import Sample
from lab.paths.path import Path
from lab.slots import counters as counting
from lab.slots.counters import NatNode
from traffic.result import TcpCount
from traffic.spec import Close

__all__ = ["Counted", "Endings", "NodeEndings", "by_clients", "by_kernel", "may_have_forgotten", "node_endings"]


@dataclass(frozen=True, slots=True)
class NodeEndings:
    """A NAT node that had no entry for connections of which packets came, or whose idle timeout ended some."""

    node: str
    kind: str
    reset: int
    """Connections without an entry whose client sent a packet, and got an RST from this node."""
    idle_timeouts: int
    """Connections whose entry expired because they were idle, whether a packet of theirs came later or not."""
    idle_timeout_s: int
    dropped_packets: int = 0
    """Packets without an entry that it dropped and did not answer: what a server still sent."""
    first_reset_s: float | None = None
    """When it reset the first one: of a burst, seconds since it began; of a lab that is up, Unix time."""

    @property
    def unnoticed(self) -> int:
        """Connections that it forgot because they were idle, and that it has not reset."""
        return self.idle_timeouts - self.reset_as_idle

    @property
    def reset_as_idle(self) -> int:
        """Of those reset, as many as had fallen idle: any others had no entry for another reason."""
        return min(self.reset, self.idle_timeouts)


@dataclass(frozen=True, slots=True)
class Endings:
    """How many connections ended in which way, each counted once, by what came first."""

    closed_by_client: int = 0
    closed_by_server: int = 0
    reset_by_client: int = 0
    reset_by_server: int = 0
    nodes: tuple[NodeEndings, ...] = ()
    account: Literal["kernel", "clients"] = "kernel"
    """Whose numbers these are: outside the VPC no NAT node is on the way, and the clients' are the only ones."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Samples of the NAT nodes on a burst's paths."""

    paths: tuple[Path, ...]
    nodes: tuple[NatNode, ...]
    before: Sample
    held: Sample
    """Before the clients began to close what was left."""
    after: Sample
    began_s: float
    """Unix time."""

    def grown(self, counter: str, nodes: Collection[str], until: Sample | None = None) -> int:
        """How much a counter of these nodes has grown, until the clients began to close if no other sample is given."""
        return sum(_grown(counter, node, self.before, until or self.held) for node in nodes)

    @property
    def first(self) -> frozenset[str]:
        """The nodes that a connection crosses first."""
        return frozenset(tracking[0] for tracking in self._tracking())

    @property
    def last(self) -> frozenset[str]:
        """Those nearest to the server."""
        return frozenset(tracking[-1] for tracking in self._tracking())

    def _tracking(self) -> Iterator[list[str]]:
        """Of each path, the nodes that track connections; outside the VPC a server may be the only one."""
        known = {node.node for node in self.nodes}
        tracking = ([node for node in path.nodes if node in known] for path in self.paths)
        return filter(None, tracking)

    @property
    def attempted(self) -> int:
        """Connections whose first SYN came to the first nodes."""
        return sum(
            sample.attempted - (self.before.nodes[node].attempted if node in self.before.nodes else 0)
            for node, sample in self.held.nodes.items()
            if node in self.first
        )

    @property
    def closed_to_clients(self) -> int:
        """Connections whose client was sent a FIN first."""
        return self.grown(counting.CLOSED_BY_SERVER, self.first)

    @property
    def reset_to_clients(self) -> int:
        """Connections whose client was sent an RST, by whichever node or server."""
        return self.grown(counting.RESET_BY_SERVER, self.first) + self.grown(counting.RESET_HERE, self.first)


def by_kernel(counted: Counted) -> Endings:
    """By the NAT nodes' counters."""
    return Endings(
        closed_by_client=counted.grown(counting.CLOSED_BY_CLIENT, counted.first, counted.after),
        closed_by_server=counted.closed_to_clients,
        reset_by_client=counted.grown(counting.RESET_BY_CLIENT, counted.first, counted.after),
        reset_by_server=counted.grown(counting.RESET_BY_SERVER, counted.last),
        nodes=tuple(node_endings(counted.nodes, counted.before, counted.held, counted.began_s)),
    )


def by_clients(tcp: TcpCount, ended: Ended, close: Close) -> Endings:
    """By the clients' own counts, where no NAT node is on the way."""
    by_reset = close == "reset"
    return Endings(
        closed_by_client=0 if by_reset else ended.closed,
        closed_by_server=tcp.closed_by_server,
        reset_by_client=ended.closed if by_reset else 0,
        reset_by_server=tcp.reset,
        account="clients",
    )


def node_endings(nodes: Iterable[NatNode], before: Sample, now: Sample, began_s: float = 0.0) -> Iterator[NodeEndings]:
    """The nodes that reset connections without an entry, or whose idle timeout ended some."""
    for node in nodes:
        if node.node not in now.nodes:
            continue
        earlier, later = before.nodes.get(node.node), now.nodes[node.node]
        reset = _grown(counting.RESET_HERE, node.node, before, now)
        # A sample that was taken without a look at the list of connections has no idle timeouts, not even earlier ones.
        idle = max(0, later.idle_timeouts - (earlier.idle_timeouts if earlier else 0))
        if reset or idle:
            first = later.first_reset
            yield NodeEndings(
                node=node.node,
                kind=node.kind,
                reset=reset,
                idle_timeouts=idle,
                idle_timeout_s=node.idle_timeout_s,
                dropped_packets=_grown(counting.INVALID_PACKETS, node.node, before, now),
                first_reset_s=round(now.at_s - first.age_s - began_s, 3) if first and reset else None,
            )


def may_have_forgotten(nodes: Iterable[NatNode], before: Sample, now: Sample) -> bool:
    """Whether an idle timeout may have ended a connection: one is over, or packets came for which a node had no entry.

    Without such packets entries may be gone all the same, of connections that nobody has used since.
    """
    counters = (counting.RESET_HERE, counting.INVALID_PACKETS)
    return any(now.at_s - before.at_s > node.idle_timeout_s for node in nodes) or any(
        _grown(counter, node, before, now) for counter in counters for node in now.nodes
    )


def _grown(counter: str, node: str, before: Sample, now: Sample) -> int:
    earlier, later = before.nodes.get(node), now.nodes.get(node)
    grown = (later.counters.get(counter, 0) if later else 0) - (earlier.counters.get(counter, 0) if earlier else 0)
    return max(0, grown)

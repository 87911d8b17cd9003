"""A path: what a connection crosses from an execution environment to a server, hop after hop. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.paths.dead_ends import DeadEnd
    from lab.schema.exits import Exit
    from lab.schema.limit import ConnectionLimit
    from lab.topology.enis import Eni

__all__ = ["Hop", "Path"]


@dataclass(frozen=True, slots=True)
class Hop:
    """A node on a path, and the limit of connections that it has, if it has one."""

    node: str
    kind: str
    limit: ConnectionLimit | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """One of the paths between which a function's connections take turns."""

    hops: tuple[Hop, ...]
    """From the node by which it leaves the service VPC (an ENI, or the service VPC's own egress) to the last node
    before the internet, or to where it ends; then the server, if that limits connections."""
    eni: Eni | None
    """None outside the VPC."""
    exit: Exit | None
    """What takes its connections out of the VPCs; None where nothing does."""
    dead_end: DeadEnd | None = None
    """Where all of its connections end, whatever the limits."""
    doubt: DeadEnd | None = None
    """Where some of its connections end and others pass, by what a topology does not know."""

    @property
    def gateway(self) -> str:
        """The node by which it leaves the service VPC."""
        return self.hops[0].node

    @property
    def reached(self) -> tuple[Hop, ...]:
        """The hops whose limits its connections are counted by: all of them, unless they end before.

        A node that drops them drops them before its own limit is asked, unless it is on the node's far side. Where only
        answers are dropped, the connections have come to the server.
        """
        if self.dead_end is None or self.dead_end.answers or self.dead_end.far_side:
            return self.hops
        nodes = [hop.node for hop in self.hops]
        return self.hops[: nodes.index(self.dead_end.node)]

    @property
    def limits(self) -> tuple[Hop, ...]:
        """The hops that limit its connections, in the order in which they are crossed."""
        return tuple(hop for hop in self.reached if hop.limit is not None)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on it that track connections: the first, what takes them out of the VPCs, and a limiting server."""
        out = () if self.exit is None else (self.exit.node,)
        further = (hop.node for hop in self.reached[1:] if hop.node in out or hop.limit is not None)
        return (self.gateway, *further)

"""A path: what a connection crosses from its source to a server, hop after hop. Values only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lab.nodes.client.model import Client
    from lab.paths.leg import DeadEnd
    from lab.schema.exits import Exit
    from lab.schema.limit import ConnectionLimit
    from lab.topology.enis import Eni

__all__ = ["Hop", "Path", "Scope", "Scoped"]


class Scope(NamedTuple):
    """Which connections a limit counts together: those through a node that have the rest in common; None is any."""

    node: str
    destination: str | None = None
    """Name of a server."""
    answer: int | None = None
    """Which of the addresses that the server's name has, from 0."""
    client: str | None = None
    """Whose private address they come from: a node, or one of a client's addresses (`Client.names_of_addresses`)."""


class Scoped(NamedTuple):
    """A limit, and which connections share it."""

    scope: Scope
    limit: ConnectionLimit


@dataclass(frozen=True, slots=True)
class Hop:
    """A node on a path, and the limits of connections that it has, in the order in which it asks them."""

    node: str
    kind: str
    limits: tuple[Scoped, ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """One of the paths between which a source's connections take turns."""

    hops: tuple[Hop, ...]
    """From the node by which it leaves the service VPC (an ENI, or the service VPC's own egress), or the client that
    opens it, to the last node before the internet, or to where it ends; then the server, if that is in a VPC or limits
    connections."""
    eni: Eni | None
    """None outside the VPC, and from a client that is no function."""
    exit: Exit | None
    """What takes its connections out of the VPCs; None where nothing does."""
    answer: int | None = None
    """Which of the addresses that its server's name has, from 0; None where it has one."""
    dead_end: DeadEnd | None = None
    """Where all of its connections end, whatever the limits."""
    doubt: DeadEnd | None = None
    """Where some of its connections end and others pass, by what a topology does not know."""
    client: Client | None = None
    """The client that opens them, from one of its addresses; None for a function's."""
    client_address: str | None = None
    """Which of them (`Client.names_of_addresses`)."""
    leads: bool = True
    """Whether routes lead to the server."""

    @property
    def gateway(self) -> str:
        """The node by which it leaves the service VPC, or the client."""
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
    def limits(self) -> Iterator[tuple[Hop, Scoped]]:
        """What limits its connections, each limit with its hop, in the order in which they are met."""
        return ((hop, scoped) for hop in self.reached for scoped in hop.limits)

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on it that track connections: the first, what takes them out of the VPCs, and a limiting server."""
        out = () if self.exit is None else (self.exit.node,)
        further = (hop.node for hop in self.reached[1:] if hop.node in out or hop.limits)
        return (self.gateway, *further)

"""A limit of connections, and under which names the kernel keeps its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OTHER_DESTINATIONS", "Limiter", "WhenFull", "destination_text"]

WhenFull = Literal["close", "reset", "ignore"]
"""What a connection beyond a limit meets: a FIN after its handshake, a RST for its SYN, or no answer."""

OTHER_DESTINATIONS = "all others"
"""A limiter's destination where it is for those that the topology does not name; no server can be called so."""


def destination_text(server: str | None, address: str | None) -> str | None:
    """What a limit is for: a server, or one of its addresses; None for everything."""
    return server if address is None else f"{server} at {address}"


@dataclass(frozen=True, slots=True)
class Limiter:
    """One limit and where the kernel keeps its numbers: a set of slots and the counters of what it refused."""

    node: str
    kind: str
    """The kind of its node: `hyperplane_eni`, `nat_gateway` …"""
    namespace: str
    table: str
    slots: str
    """The set that holds one element per connection."""
    limit: int
    refused_packets: str
    refused_connections: str
    first_refused: str
    """A set of one element: the first tuple that was refused, and since when."""
    refused: str
    """The set of refused tuples, by which retransmissions are told from connections."""
    protocol: Literal["any", "tcp", "udp"] = "any"
    eip: str | None = None
    destination: str | None = None
    """Name of the server that this limit is for; None counts all destinations together."""
    address: str | None = None
    """Which of the server's addresses it is for, where the server has several and each has a limit of its own."""
    when_full: WhenFull = "ignore"
    """What a connection meets that it refuses."""
    port_hold_s: int = 0
    """For how long a closed connection keeps its slot."""
    half_open_s: int = 0
    """For how long a connection keeps its slot after its last SYN while its handshake is not complete."""
    mark: int = 0
    """What the low 16 bits of the marks of connections with a slot are."""
    spills_over: bool = True
    """Whether a connection that finds it full is offered to those beside it."""
    drains: bool = False
    """Whether it belongs to an address that has been removed: it keeps what it has, and takes nothing new."""
    of: str | None = None
    """The ENI in whose namespace this one appears when that is full; None for everything that is there from `up` on."""
    asked: str | None = None
    """A set with one element once this ENI has been asked for."""
    growing: str | None = None
    """A set with one element from then on until the ENI is there."""
    client: str | None = None
    """The node whose connections this limit is for; None counts those of all together."""
    sources: tuple[str, ...] = ()
    """Its private addresses, from which they come; empty for all together."""

    @property
    def share(self) -> str | None:
        """What tells it from the other limits of its node to the same destination: a client, or an Elastic IP."""
        return self.client or self.eip

    @property
    def answers(self) -> bool:
        """Whether a connection that it refuses gets an answer, so that its client does not wait."""
        return self.when_full != "ignore"

    @property
    def towards(self) -> str | None:
        """What the connections that it counts have for a destination, in words."""
        return destination_text(self.destination, self.address)

    @property
    def place(self) -> str:
        """The node in whose namespace it is."""
        return self.of or self.node

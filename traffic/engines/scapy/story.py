"""What the packets of a conversation mean, in plain sentences: tables and their state, no library, no socket, no clock.

Where a packet begins its way, the first table says what it is: a line for each stage of a conversation, as in a
protocol's state machine. Where it comes by, the second says what happens to it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from traffic.engines.scapy.dissected import Endpoint, Packet

__all__ = ["CLIENT", "SERVER", "Place", "Side", "Sight", "Story"]

Side = Literal["client", "server"]
CLIENT: Final = "client"
SERVER: Final = "server"
"""The resolver as well: whoever is asked."""

_NAMES: Final[Mapping[str, str]] = {
    "fleet": "the function",
    "hyperplane_eni": "the Hyperplane ENI",
    "nat_gateway": "the NAT gateway",
}
"""Of node kinds whose words are not their name's."""
_ENDS: Final = ("fleet", "resolver", "server")


@dataclass(frozen=True, slots=True)
class Place:
    """An interface of a node."""

    node: str
    interface: str
    kind: str
    """What the node is, as the lab's plan calls it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """A packet at a place."""

    t_s: float
    place: Place
    leaving: bool
    """Out of the node, rather than into it."""
    side: Side
    """Who has sent it."""
    packet: Packet

    @property
    def client(self) -> Endpoint:
        """The client's address and port as they are here."""
        return self.packet.source if self.side == CLIENT else self.packet.destination

    @property
    def server(self) -> Endpoint:
        """The server's address and port as they are here."""
        return self.packet.destination if self.side == CLIENT else self.packet.source

    @property
    def begins(self) -> bool:
        """Whether the packet begins its way here."""
        return self.leaving and self.place.kind in _ENDS


class Stage(Enum):
    """How far a conversation is, by what has been sent."""

    NEW = auto()
    ASKING = auto()
    CALLING = auto()
    ACCEPTED = auto()
    OPEN = auto()
    REQUESTING = auto()
    CLOSING = auto()
    CLOSED = auto()


class Line(NamedTuple):
    """What a packet means, and where it leads."""

    meaning: str
    then: Stage


_Key = tuple[Side, str, Stage]
"""Who says what, and when."""

_SEQUENCE_NUMBERS = 1 << 32
_AGAIN = "again, {later} later: nobody answered"


def _from(
    stages: Iterable[Stage], side: Side, acts: str, meaning: str, then: Stage | None = None
) -> Iterator[tuple[_Key, Line]]:
    """The same line for several stages and acts; `then` is the same stage unless there is another."""
    for stage in stages:
        for act in acts.split():
            yield (side, act, stage), Line(meaning, then or stage)


_S = Stage
_FRESH = (_S.NEW, _S.CLOSED)
_ALIVE = (_S.ACCEPTED, _S.OPEN, _S.REQUESTING)

_LINES: Final[Mapping[_Key, Line]] = dict(
    line
    for lines in (
        _from(_S, CLIENT, "RST RST-ACK", "reset: ends the connection without a goodbye", _S.CLOSED),
        _from(_S, SERVER, "RST RST-ACK", "reset by the server", _S.CLOSED),
        _from(_S, CLIENT, "ACK LAST-ACK", "acknowledged"),
        _from(_S, SERVER, "ACK", "acknowledged"),
        # DNS
        _from((_S.NEW, _S.CLOSED), CLIENT, "QUESTION", "asks the resolver for {name}", _S.ASKING),
        _from((_S.ASKING,), CLIENT, "QUESTION", f"asks the resolver {_AGAIN}"),
        _from(_S, SERVER, "ANSWER NO-ANSWER", "the resolver answers once more"),
        _from((_S.ASKING,), SERVER, "ANSWER", "the resolver answers {address}: DNS works", _S.NEW),
        _from((_S.ASKING,), SERVER, "NO-ANSWER", "the resolver knows no address of {name}", _S.NEW),
        # The handshake
        _from(_FRESH, CLIENT, "SYN", "connection request", _S.CALLING),
        _from((_S.CALLING, _S.ACCEPTED), CLIENT, "SYN", f"connection request {_AGAIN}", _S.CALLING),
        _from(_S, SERVER, "SYN-ACK", "accepted, once more"),
        _from((_S.CALLING,), SERVER, "SYN-ACK", "accepted", _S.ACCEPTED),
        _from((_S.ACCEPTED,), CLIENT, "ACK", "handshake complete: established", _S.OPEN),
        _from((_S.CALLING,), SERVER, "RST RST-ACK", "refused: the server takes no connections", _S.CLOSED),
        # Requests
        _from((_S.OPEN,), CLIENT, "DATA", "request", _S.REQUESTING),
        _from((_S.REQUESTING,), CLIENT, "DATA", f"request {_AGAIN}"),
        _from((_S.REQUESTING,), SERVER, "DATA", "response", _S.OPEN),
        _from((_S.OPEN,), SERVER, "DATA", "more of the response"),
        _from((_S.CLOSING,), SERVER, "DATA", "response"),
        # Goodbyes
        _from(_ALIVE, CLIENT, "FIN", "goodbye", _S.CLOSING),
        _from(_ALIVE, CLIENT, "DATA-FIN", "last request and goodbye in one: half-closed", _S.CLOSING),
        _from((_S.CLOSING,), CLIENT, "FIN DATA-FIN", f"goodbye {_AGAIN}"),
        _from(_ALIVE, SERVER, "FIN DATA-FIN", "the server says goodbye first"),
        _from((_S.CLOSING,), SERVER, "FIN", "goodbye as well", _S.CLOSED),
        _from((_S.CLOSING,), SERVER, "DATA-FIN", "response, and goodbye as well", _S.CLOSED),
        _from((_S.CLOSED,), CLIENT, "LAST-ACK", "both have said goodbye: closed"),
        # UDP has no handshake
        _from(_FRESH, CLIENT, "UDP", "first datagram", _S.CALLING),
        _from((_S.CALLING,), CLIENT, "UDP", f"first datagram {_AGAIN}"),
        _from((_S.CALLING,), SERVER, "UDP", "answered", _S.OPEN),
        _from((_S.OPEN,), CLIENT, "UDP", "request", _S.REQUESTING),
        _from((_S.REQUESTING,), CLIENT, "UDP", f"request {_AGAIN}"),
        _from((_S.REQUESTING,), SERVER, "UDP", "response", _S.OPEN),
    )
    for line in lines
)
"""Later lines stand above earlier ones."""

_TRANSLATED: Final[Mapping[Side, str]] = {
    "client": "translated to {here} by {name}",
    "server": "translated back to {here} by {name}",
}
"""By who has sent it."""

_LOST: Final[Mapping[tuple[bool, bool], str]] = {
    (False, False): "last seen entering {node}; it never left: dropped there",
    (False, True): "last seen leaving {node}; nobody got it: lost on the link",
    (True, False): "last seen arriving at {node}; nobody there answered",
    (True, True): "last seen leaving {node}; nobody got it: lost on the link",
}
"""By whether the node is one end of the conversation, and by whether the packet was leaving."""


def _left(entered: Sight, sight: Sight, name: str) -> str:
    """What a node did to a packet on its way."""
    ends = ((entered.client, sight.client), (entered.server, sight.server))
    here = [str(now) for before, now in ends if now != before]
    if not here:
        return f"leaves {name} as it came"
    return _TRANSLATED[sight.side].format(here=" and ".join(here), name=name)


@dataclass(slots=True)
class Story:
    """One conversation, told in the order of time."""

    _stage: Stage = Stage.NEW
    _entered: dict[str, Sight] = field(default_factory=dict)
    """By node, the packet as it came in."""
    _said_s: dict[tuple[Side, str], float] = field(default_factory=dict)
    _end: int | None = None
    """The sequence number after the server's FIN."""
    last: Sight | None = None

    def tell(self, sight: Sight) -> str:
        """What this means, after all that came before it."""
        self.last = sight
        if sight.begins:
            return self._begins(sight)
        kind = sight.place.kind
        name = _NAMES.get(kind, f"the {kind.replace('_', ' ')}")
        if sight.leaving:
            return _left(self._entered.get(sight.place.node, sight), sight, name)
        self._entered[sight.place.node] = sight
        return f"arrives at {name}" if sight.place.kind in _ENDS else f"enters {name}"

    def lost(self) -> str | None:
        """Where a conversation was last seen that nobody answered; None of one that nobody saw."""
        self._stage = Stage.NEW
        if self.last is None:
            return None
        place = self.last.place
        return _LOST[place.kind in _ENDS, self.last.leaving].format(node=place.node)

    def _begins(self, sight: Sight) -> str:
        act, packet = self._act(sight), sight.packet
        line = _LINES.get((sight.side, act, self._stage))
        before_s = self._said_s.get((sight.side, act), sight.t_s)
        self._said_s[sight.side, act] = sight.t_s
        if line is None:
            return "out of turn"
        self._stage = line.then
        name, address = (packet.dns.name, packet.dns.address) if packet.dns else ("", None)
        return line.meaning.format(later=_seconds(sight.t_s - before_s), name=name, address=address)

    def _act(self, sight: Sight) -> str:
        """What a packet does, by which the table knows it: data is data, whether it is pushed or not."""
        packet = sight.packet
        if packet.dns is not None:
            return "QUESTION" if not packet.dns.is_answer else "ANSWER" if packet.dns.address else "NO-ANSWER"
        if packet.protocol == "udp":
            return "UDP"
        if "FIN" in packet.flags:
            if sight.side == SERVER:
                self._end = (packet.sequence + packet.payload_bytes + 1) % _SEQUENCE_NUMBERS
            return "DATA-FIN" if packet.payload_bytes else "FIN"
        if packet.payload_bytes:
            return "DATA"
        last = sight.side == CLIENT and packet.flags == "ACK" and packet.acknowledgement == self._end
        return "LAST-ACK" if last else packet.flags.removeprefix("PSH-")


def _seconds(span_s: float) -> str:
    """A span as people say it: `1 s`, `0.2 s`."""
    return f"{span_s:.0f} s" if span_s >= 0.95 else f"{span_s:.1f} s"  # noqa: PLR2004 -- rounds to one second

"""What the packets of a connection mean, in plain sentences: tables and a state; no library, no socket, no clock.

At the interface where a packet is sent, `_LINES` says what it is: a line for each stage of a connection, as in a
protocol's state machine. At each interface after that, `_passing` says what the node does with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Literal, NamedTuple

from traffic.engines.scapy.packets import Endpoint, Packet

__all__ = ["CLIENT", "SERVER", "Explainer", "NodeInterface", "Observation", "Side"]

Side = Literal["client", "server"]
CLIENT: Final = "client"
SERVER: Final = "server"
"""The resolver, too."""

_NAMES: Final[Mapping[str, str]] = {
    "fleet": "the function",
    "hyperplane_eni": "the Hyperplane ENI",
    "nat_gateway": "the NAT gateway",
}
"""Node kinds whose words differ from their names."""
_ENDS: Final = ("fleet", "resolver", "server")


@dataclass(frozen=True, slots=True)
class NodeInterface:
    """An interface of a node."""

    node: str
    name: str
    kind: str
    """The node's kind in the lab's plan."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A packet of a connection at an interface."""

    t_s: float
    interface: NodeInterface
    leaving: bool
    """Out of the node, rather than into it."""
    side: Side
    """Which side has sent it."""
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
    def is_sent(self) -> bool:
        """Whether the packet is sent here, rather than passed on."""
        return self.leaving and self.interface.kind in _ENDS


class Stage(Enum):
    """How far a connection is, by the packets that were sent."""

    NEW = auto()
    ASKING = auto()
    CALLING = auto()
    ACCEPTED = auto()
    OPEN = auto()
    REQUESTING = auto()
    CLOSING = auto()
    LEFT = auto()
    """The server has closed first."""
    CLOSED = auto()


class Line(NamedTuple):
    """What a packet means, and the stage after it."""

    meaning: str
    then: Stage


_Key = tuple[Side, str, Stage]
"""Which side sends what, in which stage."""

_SEQUENCE_NUMBERS = 1 << 32
_AGAIN = "again, {later} later: no answer came"


def _from(
    stages: Iterable[Stage], side: Side, acts: str, meaning: str, then: Stage | None = None
) -> Iterator[tuple[_Key, Line]]:
    """One line for several stages and acts; `then` is the same stage unless there is another."""
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
        _from(_S, CLIENT, "QUESTION-AAAA", "asks for its IPv6 address (AAAA) as well: two packets for one look-up"),
        _from(_S, SERVER, "NO-AAAA", "the resolver answers that there is no IPv6 address"),
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
        # Closing
        _from(_ALIVE, CLIENT, "FIN", "goodbye", _S.CLOSING),
        _from(_ALIVE, CLIENT, "DATA-FIN", "last request and goodbye in one: half-closed", _S.CLOSING),
        _from((_S.CLOSING,), CLIENT, "FIN DATA-FIN", f"goodbye {_AGAIN}"),
        _from(_ALIVE, SERVER, "FIN DATA-FIN", "the server says goodbye first", _S.LEFT),
        _from((_S.LEFT,), CLIENT, "FIN DATA-FIN", "goodbye as well", _S.CLOSED),
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
"""A later line replaces an earlier one with the same key."""

_TRANSLATED: Final[Mapping[Side, str]] = {
    "client": "translated to {here} by {name}",
    "server": "translated back to {here} by {name}",
}
"""Side that has sent the packet → what a translating node does with it."""

_LOST: Final[Mapping[tuple[bool, bool], str]] = {
    (False, False): "last seen entering {node}; it never left: dropped there",
    (False, True): "last seen leaving {node}; it arrived nowhere: lost on the link",
    (True, False): "last seen arriving at {node}; no answer left there",
    (True, True): "last seen leaving {node}; it arrived nowhere: lost on the link",
}
"""(whether the node is an end of the connection, whether the packet was leaving it) → where it was lost."""


@dataclass(slots=True)
class Explainer:
    """Explains the packets of one connection, in the order of time."""

    last: Observation | None = None
    _stage: Stage = Stage.NEW
    _entered: dict[str, Observation] = field(default_factory=dict)
    """Node → the packet as it came in."""
    _sent_s: dict[tuple[Side, str], float] = field(default_factory=dict)
    """Side and act → when it was sent last."""
    _end: int | None = None
    """The sequence number after the server's FIN."""

    def explain(self, observation: Observation) -> str:
        """What the packet means, after all packets before it."""
        self.last = observation
        return self._sent(observation) if observation.is_sent else self._passing(observation)

    def lost(self) -> str | None:
        """Where the last packet of a connection was seen that was never answered; None if none was seen at all."""
        self._stage = Stage.NEW
        if self.last is None:
            return None
        interface = self.last.interface
        return _LOST[interface.kind in _ENDS, self.last.leaving].format(node=interface.node)

    def _passing(self, observation: Observation) -> str:
        """What a node does with a packet that another has sent."""
        interface = observation.interface
        name = _NAMES.get(interface.kind, f"the {interface.kind.replace('_', ' ')}")
        if not observation.leaving:
            self._entered[interface.node] = observation
            return f"arrives at {name}" if interface.kind in _ENDS else f"enters {name}"
        entered = self._entered.get(interface.node, observation)
        ends = ((entered.client, observation.client), (entered.server, observation.server))
        here = [str(now) for before, now in ends if now != before]
        if not here:
            return f"leaves {name} as it came"
        return _TRANSLATED[observation.side].format(here=" and ".join(here), name=name)

    def _sent(self, observation: Observation) -> str:
        act, packet = self._act(observation), observation.packet
        line = _LINES.get((observation.side, act, self._stage))
        before_s = self._sent_s.get((observation.side, act), observation.t_s)
        self._sent_s[observation.side, act] = observation.t_s
        if line is None:
            return "out of turn"
        self._stage = line.then
        name, address = (packet.dns.name, packet.dns.address) if packet.dns else ("", None)
        span_s = observation.t_s - before_s
        later = f"{span_s:.{0 if span_s >= 0.95 else 1}f} s"  # noqa: PLR2004 -- from here on it rounds to 1 s
        return line.meaning.format(later=later, name=name, address=address)

    def _act(self, observation: Observation) -> str:
        """What a packet does, as `_LINES` names it: data is data, with PSH or without."""
        packet = observation.packet
        if packet.dns is not None and packet.dns.ipv6:
            return "NO-AAAA" if packet.dns.is_answer else "QUESTION-AAAA"
        if packet.dns is not None:
            return "QUESTION" if not packet.dns.is_answer else "ANSWER" if packet.dns.address else "NO-ANSWER"
        if packet.protocol == "udp":
            return "UDP"
        if "FIN" in packet.flags:
            if observation.side == SERVER:
                self._end = (packet.sequence + packet.payload_bytes + 1) % _SEQUENCE_NUMBERS
            return "DATA-FIN" if packet.payload_bytes else "FIN"
        if packet.payload_bytes:
            return "DATA"
        last = observation.side == CLIENT and packet.flags == "ACK" and packet.acknowledgement == self._end
        return "LAST-ACK" if last else packet.flags.removeprefix("PSH-")

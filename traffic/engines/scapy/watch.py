"""Tells every packet of every conversation, place by place, in the order of time.

A packet of the clients is known by its IP identification and the port that it is for, which NAT leaves alone; where it
passes a NAT, both ends' addresses there are learned from it, and by those the answers are known.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
import heapq
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from traffic.engines.scapy.story import CLIENT, SERVER, Sight, Story
from traffic.sighting import Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traffic.engines.scapy.dissected import Endpoint, Packet
    from traffic.engines.scapy.story import Place, Side

__all__ = ["SETTLED_AFTER_S", "Seen", "Watch"]

SETTLED_AFTER_S = 0.02
"""Places are read one after the other, so what was seen is told when it is so old that nothing older can follow."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A packet at a place, of whomever."""

    t_s: float
    place: Place
    leaving: bool
    packet: Packet


class _Lost(NamedTuple):
    """Nobody answered a connection."""

    connection: int


_Server = tuple[str, "Endpoint"]
"""Protocol, address and port."""


_Mark = tuple[int, str, int]
"""What no NAT changes of a client's packet: its identification, its protocol, the port that it is for."""


def _mark(packet: Packet) -> _Mark:
    return packet.identification, packet.protocol, packet.destination.port


@dataclass(slots=True)
class Watch:
    """All conversations of a burst; `say` is called with each sighting."""

    say: Callable[[Sighting], None]
    _waiting: list[tuple[float, int, Seen | _Lost]] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _sent: dict[_Mark, int] = field(default_factory=dict)
    _clients: dict[tuple[Endpoint, _Server], int] = field(default_factory=dict)
    _stories: defaultdict[int, Story] = field(default_factory=lambda: defaultdict(Story))

    def sent(self, connection: int, packet: Packet) -> None:
        """The engine sends this; connections are named by their index in the burst."""
        self._sent[_mark(packet)] = connection

    def saw(self, seen: Seen) -> None:
        """A place saw a packet; it is told by and by."""
        heapq.heappush(self._waiting, (seen.t_s, next(self._order), seen))

    def lost(self, connection: int, t_s: float) -> None:
        """Nobody answered a connection, and its client has given up."""
        heapq.heappush(self._waiting, (t_s, next(self._order), _Lost(connection)))

    def tell(self, until_s: float) -> None:
        """Tell everything up to this moment."""
        while self._waiting and self._waiting[0][0] <= until_s:
            t_s, _, item = heapq.heappop(self._waiting)
            if isinstance(item, Seen):
                self._tell_seen(item)
            else:
                self._tell_lost(item.connection, t_s)

    def _tell_seen(self, seen: Seen) -> None:
        packet = seen.packet
        connection = self._sent.get(_mark(packet))
        side: Side = CLIENT if connection is not None else SERVER
        if connection is not None:
            self._clients[packet.source, (packet.protocol, packet.destination)] = connection
        else:
            connection = self._clients.get((packet.destination, (packet.protocol, packet.source)))
        if connection is not None:  # else it is somebody else's
            sight = Sight(seen.t_s, seen.place, seen.leaving, side, packet)
            self._say(connection, sight, self._stories[connection].tell(sight))

    def _tell_lost(self, connection: int, t_s: float) -> None:
        story = self._stories[connection]
        meaning = story.lost()
        if meaning is not None and story.last is not None:
            self._say(connection, story.last, meaning, lost_at_s=t_s)

    def _say(self, connection: int, sight: Sight, meaning: str, lost_at_s: float | None = None) -> None:
        packet = sight.packet
        self.say(
            Sighting(
                t_s=round(sight.t_s if lost_at_s is None else lost_at_s, 6),
                node=sight.place.node,
                interface=sight.place.interface,
                direction="lost" if lost_at_s is not None else "out" if sight.leaving else "in",
                connection=connection + 1,
                source=str(packet.source),
                destination=str(packet.destination),
                flags=packet.flags,
                length=packet.length,
                meaning=meaning,
            )
        )

"""Reports every packet of every connection, interface by interface, in the order of time.

A client's packet is recognised by its IP identification and destination port, which no NAT changes; the addresses and
ports that it has at an interface are remembered, and the server's packets are recognised by those.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
import heapq
from itertools import count
from typing import TYPE_CHECKING

from traffic.engines.scapy.explain import CLIENT, SERVER, Explainer, Observation
from traffic.packet_record import PacketRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traffic.engines.scapy.explain import NodeInterface, Side
    from traffic.engines.scapy.packets import Endpoint, Packet
    from traffic.packet_record import Direction

__all__ = ["SETTLED_AFTER_S", "Captured", "Tracker"]

SETTLED_AFTER_S = 0.02
"""Sockets are read one after the other, so a packet is reported when it is so old that no older one can follow."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A packet at an interface, not yet assigned to a connection."""

    t_s: float
    interface: NodeInterface
    leaving: bool
    packet: Packet


_Mark = tuple[int, str, int]
"""What no NAT changes in a client's packet: its identification, protocol and destination port."""

_Flow = tuple[str, "Endpoint", "Endpoint"]
"""Protocol, client and server as they are at some interface."""


def _mark(packet: Packet) -> _Mark:
    return packet.identification, packet.protocol, packet.destination.port


@dataclass(slots=True)
class Tracker:
    """All connections of a burst, named by their index; `report` is called with each packet at each interface."""

    report: Callable[[PacketRecord], None]
    _waiting: list[tuple[float, int, Captured | int]] = field(default_factory=list)
    """Times, order of arrival, and packets, or connections that were given up."""
    _order: Iterator[int] = field(default_factory=count)
    _sent: dict[_Mark, int] = field(default_factory=dict)
    _flows: dict[_Flow, int] = field(default_factory=dict)
    _explainers: defaultdict[int, Explainer] = field(default_factory=lambda: defaultdict(Explainer))

    def sent(self, connection: int, packet: Packet) -> None:
        """Remember a packet that the engine sends, to recognise it at interfaces."""
        self._sent[_mark(packet)] = connection

    def captured(self, captured: Captured) -> None:
        """Take in a packet that an interface saw."""
        heapq.heappush(self._waiting, (captured.t_s, next(self._order), captured))

    def lost(self, connection: int, t_s: float) -> None:
        """A connection was given up without an answer."""
        heapq.heappush(self._waiting, (t_s, next(self._order), connection))

    def report_until(self, until_s: float) -> None:
        """Report everything up to this moment."""
        while self._waiting and self._waiting[0][0] <= until_s:
            t_s, _, item = heapq.heappop(self._waiting)
            if isinstance(item, Captured):
                self._report_captured(item)
            else:
                self._report_lost(item, t_s)

    def _report_captured(self, captured: Captured) -> None:
        packet = captured.packet
        connection = self._sent.get(_mark(packet))
        side: Side = CLIENT if connection is not None else SERVER
        if connection is not None:
            self._flows[packet.protocol, packet.source, packet.destination] = connection
        else:
            connection = self._flows.get((packet.protocol, packet.destination, packet.source))
        if connection is None:  # no packet of this burst
            return
        observation = Observation(captured.t_s, captured.interface, captured.leaving, side, packet)
        meaning = self._explainers[connection].explain(observation)
        self._report(connection, observation, "out" if captured.leaving else "in", captured.t_s, meaning)

    def _report_lost(self, connection: int, t_s: float) -> None:
        explainer = self._explainers[connection]
        meaning = explainer.lost()
        if meaning is not None and explainer.last is not None:
            self._report(connection, explainer.last, "lost", t_s, meaning)

    def _report(
        self, connection: int, observation: Observation, direction: Direction, t_s: float, meaning: str
    ) -> None:
        packet, interface = observation.packet, observation.interface
        self.report(
            PacketRecord(
                t_s=round(t_s, 6),
                node=interface.node,
                interface=interface.name,
                direction=direction,
                connection=connection + 1,
                source=str(packet.source),
                destination=str(packet.destination),
                flags=packet.flags,
                length=packet.length,
                meaning=meaning,
            )
        )

"""The scapy engine: one invocation at a time, every packet built and dissected by scapy, seen and told at each place.

Made for explaining, not for load: it shows a conversation on its whole way, through both NATs and back, or to the
place where it is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.orders import Orders
from traffic.clients.state import OPEN, State
from traffic.engines.scapy.crafting import Crafts, dissect
from traffic.engines.scapy.taps import Link, Taps
from traffic.engines.scapy.watch import SETTLED_AFTER_S, Watch
from traffic.events import emit
from traffic.frames import FULL_WINDOW, ISN_FACTOR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traffic.clients.medium import Hears
    from traffic.clients.state import Connections, Indices
    from traffic.engines.scapy.dissected import Packet
    from traffic.result import RingCount
    from traffic.sighting import Sighting
    from traffic.spec import BurstSpec

__all__ = ["Conversations", "run"]

_NUMBERS = 1 << 32
_NEXT_ISN = 1_000_000
"""A port's next connection begins so much further on, which a server in TIME_WAIT asks for (RFC 9293 section 3.6.1)."""

_HEARING = (*OPEN, State.CLOSING)
_LATE = (State.TIMED_OUT, State.REFUSED, State.RESET, State.CLOSED, State.ABANDONED)


def run(spec: BurstSpec) -> None:
    """Make the conversations one after another and stay until they are over."""
    if spec.destination is not None:
        raise ValueError("the scapy engine has whole conversations; SYNs alone are the packet engine's")
    spec = replace(spec, at_a_time=1)
    orders = Orders(sys.stdin.fileno())
    orders.heed_signals()
    connections = connections_of(spec, repeats=Conversations.repeats)
    with Link(spec.interface) as link, Taps(spec.taps) as taps:
        medium = Conversations(spec, connections, link, taps, Watch(_tell))
        Burst(spec, Client(spec, connections, medium), medium, orders).run()
        medium.listen_out()


def _tell(sighting: Sighting) -> None:
    emit("packet", **sighting.to_json())


@dataclass(slots=True)
class _Numbers:
    """A connection's sequence numbers (RFC 9293 section 3.3.1)."""

    initial: int
    used: int = 0
    """How much of its sequence space the client has used, its SYN and FIN included."""
    expected: int = 0
    """What of the server's comes next."""
    unacknowledged: bool = False
    """Whether the last request may not have arrived: then it is repeated, with the FIN too."""

    def all_acknowledged(self, packet: Packet) -> bool:
        """Whether a segment acknowledges all that was sent."""
        return (packet.acknowledgement - self.initial) % _NUMBERS == self.used


class Conversations:
    """A `Medium` of packets, one at a time."""

    repeats = True

    def __init__(self, spec: BurstSpec, connections: Connections, link: Link, taps: Taps, watch: Watch) -> None:
        self._spec, self._known = spec, connections
        self._link, self._taps, self._watch = link, taps, watch
        self._crafts = Crafts(spec)
        self._udp = spec.protocol == "udp"
        self._half_close, self._by_reset = spec.close == "half-close", spec.close == "reset"
        self.close_is_answered = not (self._udp or self._by_reset)
        first = spec.first_connection
        self._numbers = [_Numbers((each + first) * int(ISN_FACTOR) % _NUMBERS) for each in range(spec.connections)]
        self._epoch_s = time.time()

    def descriptors(self) -> Iterable[int]:
        """The engine's own, and those of the places that are listened to."""
        return (self._link.fileno(), *self._taps.filenos())

    def count(self) -> RingCount:
        """The engine's own socket's."""
        return self._link.count()

    def leave(self) -> None:
        """Nothing of a connection is in this process but its numbers."""

    # Sending

    def ask(self, indices: Indices) -> None:
        """DNS queries."""
        for index in indices.tolist():
            self._send(index, self._crafts.question(index))

    def call(self, indices: Indices) -> None:
        """SYNs; a connection's first one has a new initial sequence number, its retransmissions the same."""
        for index in indices.tolist():
            if self._udp:
                self._send(index, self._crafts.datagram(index, self._server(index)))
                continue
            numbers = self._numbers[index]
            if self._known.tries[index] == 1:
                initial = (numbers.initial + _NEXT_ISN) % _NUMBERS
                self._numbers[index] = _Numbers(initial, used=1)
            self._segment(index, "S", back=1)

    def request(self, indices: Indices) -> None:
        """HTTP requests, one segment each, until they are acknowledged; or datagrams."""
        length = len(self._crafts.request)
        for index in indices.tolist():
            if self._udp:
                self._send(index, self._crafts.datagram(index, self._server(index)))
                continue
            numbers = self._numbers[index]
            if self._known.tries[index] == 1:
                numbers.used, numbers.unacknowledged = numbers.used + length, True
            if numbers.unacknowledged:
                self._segment(index, "PA", back=length)

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: with a last request, or RSTs; over UDP there is no goodbye."""
        for index in indices.tolist() if not self._udp else ():
            if self._by_reset:
                self._segment(index, "RA")
            else:
                self._goodbye(index)

    def _goodbye(self, index: int) -> None:
        """A FIN, with a request where one is the last, or may not have arrived."""
        numbers, length = self._numbers[index], len(self._crafts.request)
        if self._known.tries[index] == 1:
            if self._half_close and not numbers.unacknowledged:
                numbers.used, numbers.unacknowledged = numbers.used + length, True
            numbers.used += 1
        if numbers.unacknowledged:
            self._segment(index, "FPA", back=length + 1)
        else:
            self._segment(index, "FA", back=1)

    def drop(self, indices: Indices) -> None:
        """RSTs; without an ACK where the server's number is unknown (RFC 9293 section 3.5.2)."""
        for index in indices.tolist() if not self._udp else ():
            state = self._known.state[index]
            if state in (State.SYN_SENT, State.HALF_OPEN):
                self._segment(index, "R")
            elif state in (*_HEARING, State.ABANDONED):
                self._segment(index, "RA")

    def forget(self, indices: Indices) -> None:
        """Say where those were last seen that nobody answered."""
        given_up = (State.TIMED_OUT, State.DNS_FAILED)
        for index in indices[np.isin(self._known.state[indices], given_up)].tolist():
            self._watch.lost(index, time.time() - self._epoch_s)

    def _server(self, index: int) -> IPv4Address:
        return IPv4Address(int(self._known.destination[index]))

    def _segment(self, index: int, flags: str, *, back: int = 0) -> None:
        """A segment at the next number, or so much before it."""
        numbers = self._numbers[index]
        sequence = (numbers.initial + numbers.used - back) % _NUMBERS
        acknowledgement = numbers.expected if "A" in flags else 0
        self._send(index, self._crafts.segment(index, self._server(index), flags, sequence, acknowledgement))

    def _send(self, index: int, frame: Any) -> None:
        sent = bytes(frame)
        if (packet := dissect(sent)) is not None:
            self._watch.sent(index, packet)
        self._link.send(sent)

    # Receiving

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in what came, and tell what was seen on the way."""
        received = False
        for packet in self._link.receive():
            received = True
            index = self._crafts.connection(packet.destination)
            if index >= 0:
                self._read(index, packet, ears, now_s)
        self._listen()
        return received

    def listen_out(self) -> None:
        """Tell what is still on its way at the end."""
        time.sleep(SETTLED_AFTER_S)
        self._listen()
        self._watch.tell(float("inf"))

    def _listen(self) -> None:
        for seen in self._taps.read(self._epoch_s):
            self._watch.saw(seen)
        self._watch.tell(time.time() - self._epoch_s - SETTLED_AFTER_S)

    def _read(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        indices = np.array([index])
        if packet.source.address == str(self._spec.resolver_address):
            self._dns(indices, packet, ears, now_s)
        elif packet.source != (str(self._server(index)), self._spec.port):
            return
        elif packet.protocol == "tcp":
            self._tcp(index, packet, ears, now_s)
        elif self._udp and self._known.state[index] == State.SYN_SENT:
            ears.connected(indices, now_s)
        elif self._udp:
            ears.responded(indices, now_s)

    def _dns(self, indices: Indices, packet: Packet, ears: Hears, now_s: float) -> None:
        answer = packet.dns
        if answer is None or answer.identifier != (int(indices[0]) + self._spec.first_connection) & 0xFFFF:
            return
        if answer.address is None:
            ears.unanswerable(indices, now_s)
        else:
            ears.answered(indices, np.array([int(IPv4Address(answer.address))], np.uint32), now_s)

    def _tcp(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        numbers = self._numbers[index]
        numbers.unacknowledged = numbers.unacknowledged and not numbers.all_acknowledged(packet)
        if "RST" in packet.flags:
            self._rst(index, packet, ears, now_s)
            return
        if "SYN" in packet.flags:
            self._syn_ack(index, packet, ears, now_s)
            return
        if packet.payload_bytes:
            self._data(index, packet, ears, now_s)
        if "FIN" in packet.flags:
            self._fin(index, packet, ears, now_s)

    def _syn_ack(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        """ACK for one that waits, and for a repetition; RST for one that has given up."""
        numbers, state = self._numbers[index], self._known.state[index]
        if (packet.acknowledgement - numbers.initial) % _NUMBERS != 1:
            return
        if state == State.SYN_SENT:
            numbers.expected = (packet.sequence + 1) % _NUMBERS
            ears.connected(np.array([index]), now_s)
            self._segment(index, "A")
        elif state in _HEARING:
            self._segment(index, "A")
        elif state in _LATE:
            self._segment(index, "R", back=numbers.used - 1)

    def _data(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        """Take in what comes in order and acknowledge; a response ends with PSH (RFC 9293 section 3.9.1)."""
        numbers, state = self._numbers[index], self._known.state[index]
        if state not in _HEARING:
            return
        expected = packet.sequence == numbers.expected
        if expected:
            numbers.expected = (numbers.expected + packet.payload_bytes) % _NUMBERS
        whole = expected and "PSH" in packet.flags and state == State.REQUESTING
        self._segment(index, "A")
        if whole and numbers.all_acknowledged(packet):
            ears.responded(np.array([index]), now_s)

    def _fin(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        """The answer to a FIN, or its repetition; a server that closes first ends the connection."""
        numbers, state = self._numbers[index], self._known.state[index]
        end = (packet.sequence + packet.payload_bytes) % _NUMBERS
        after = (end + 1) % _NUMBERS
        if end == numbers.expected and state in OPEN:
            numbers.expected = after
            self._segment(index, "RA")
            ears.reset(np.array([index]), now_s)
        elif end == numbers.expected and state == State.CLOSING and numbers.all_acknowledged(packet):
            numbers.expected = after
            ears.closed(np.array([index]), now_s)
            self._segment(index, "A")
        elif state == State.CLOSED and after == numbers.expected:
            self._segment(index, "A")

    def _rst(self, index: int, packet: Packet, ears: Hears, now_s: float) -> None:
        """Refused, if the RST acknowledges the SYN that waits; reset, if it is in the window (RFC 9293, 3.5.3)."""
        numbers = self._numbers[index]
        waiting = self._known.state[index] == State.SYN_SENT
        in_window = (packet.sequence - numbers.expected) % _NUMBERS < FULL_WINDOW
        if numbers.all_acknowledged(packet) if waiting else in_window:
            ears.reset(np.array([index]), now_s)

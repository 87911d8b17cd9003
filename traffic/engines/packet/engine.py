"""The packet engine: clients whose TCP is numpy, thousands of segments at a time, on a pair of AF_PACKET rings.

No kernel socket and no descriptor per connection: of TCP it does what a lab needs, a handshake, requests that fit one
segment, their responses, three ways to close. Of sequence numbers it keeps what comes next in each direction.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from traffic import frames as f
from traffic.clients.burst import Burst
from traffic.clients.client import Client, connections_of
from traffic.clients.orders import Orders
from traffic.clients.state import IS_OPEN, OPEN, State, among
from traffic.dns import encode_query
from traffic.engines.packet.wire import Wire
from traffic.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from traffic.clients.medium import Hears
    from traffic.clients.state import Connections, Indices
    from traffic.engines.packet.wire import Datagrams, Segments
    from traffic.frames import Batch
    from traffic.result import RingCount
    from traffic.spec import BurstSpec

__all__ = ["Packets", "run"]

_RX_SLOTS = 8192
"""More than both windows together: answers never find the ring full."""

_NEXT_ISN = np.uint32(1_000_000)
"""A port's next connection begins so much further on, which a server in TIME_WAIT asks for (RFC 9293 section 3.6.1)."""

_CALLED = among(State.SYN_SENT, State.HALF_OPEN)
_HEARS = among(*OPEN, State.CLOSING)
_KNOWN_TO_SERVER = among(*OPEN, State.CLOSING, State.ABANDONED)
_IS_LATE = among(State.TIMED_OUT, State.REFUSED, State.RESET, State.CLOSED, State.ABANDONED)


def run(spec: BurstSpec) -> None:
    """Fire one burst and stay until it is over."""
    orders = Orders(sys.stdin.fileno())
    orders.heed_signals()
    connections = connections_of(spec, repeats=Packets.repeats)
    with Ring(spec.interface, rx_slots=_RX_SLOTS) as ring:
        medium = Packets(spec, connections, ring)
        Burst(spec, Client(spec, connections, medium), medium, orders).run()


class Packets:
    """A `Medium` of frames."""

    repeats = True

    def __init__(self, spec: BurstSpec, connections: Connections, ring: Ring) -> None:
        self._wire = Wire(spec, encode_query(spec.hostname))
        self._known, self._ring = connections, ring
        self._udp = spec.protocol == "udp"
        self._half_close, self._by_reset = spec.close == "half-close", spec.close == "reset"
        self._syn_only = spec.destination is not None
        self._talks = spec.requests != 0 or self._half_close
        self.close_is_answered = not (self._udp or self._by_reset)
        numbers = np.arange(spec.connections) + spec.first_connection
        self._isn = numbers.astype(np.uint32) * f.ISN_FACTOR
        self._sent = np.zeros(spec.connections, np.uint32)
        """How much of its sequence space each has used, its SYN and FIN included: where the next segment begins."""
        self._unacknowledged = np.zeros(spec.connections, np.bool_)
        """Whose last request may not have arrived: then it is repeated, with the FIN too."""
        self._theirs = np.zeros(spec.connections, np.uint32)
        """The sequence number that is expected next of the server."""

    def descriptors(self) -> Iterable[int]:
        """The ring's."""
        return (self._ring.fileno(),)

    def count(self) -> RingCount:
        """The ring's."""
        return self._ring.count()

    def leave(self) -> None:
        """Nothing of a connection is in this process but its numbers."""

    # Sending

    def ask(self, indices: Indices) -> None:
        """DNS queries."""
        self._ring.send(self._wire.queries(indices))

    def call(self, indices: Indices) -> None:
        """SYNs; a connection's first one has a new initial sequence number, its retransmissions the same."""
        destination = self._known.destination[indices]
        if self._udp:
            self._ring.send(self._wire.datagrams(indices, destination))
            return
        fresh = self._first_times(indices)
        self._isn[fresh] += _NEXT_ISN
        self._sent[fresh] = 1
        self._unacknowledged[fresh] = False
        self._ring.send(self._wire.syns(indices, destination, self._isn[indices]))

    def request(self, indices: Indices) -> None:
        """HTTP requests, one segment each, until they are acknowledged; or datagrams."""
        if self._udp:
            self._ring.send(self._wire.datagrams(indices, self._known.destination[indices]))
            return
        fresh = self._first_times(indices)
        self._sent[fresh] += np.uint32(self._wire.request_bytes)
        self._unacknowledged[fresh] = True
        self._send(indices[self._unacknowledged[indices]], f.PSH | f.ACK, back=self._wire.request_bytes)

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: with a last request, or RSTs; over UDP there is no goodbye."""
        if self._udp:
            return
        if self._by_reset:
            self._send(indices, f.RST | f.ACK)
            return
        fresh = self._first_times(indices)
        if self._half_close:
            self._sent[fresh[~self._unacknowledged[fresh]]] += np.uint32(self._wire.request_bytes)
            self._unacknowledged[fresh] = True
        self._sent[fresh] += 1
        asking = self._unacknowledged[indices]
        self._send(indices[asking], f.FIN | f.PSH | f.ACK, back=self._wire.request_bytes + 1)
        self._send(indices[~asking], f.FIN | f.ACK, back=1)

    def _first_times(self, indices: Indices) -> Indices:
        """Those that have not sent the same before."""
        fresh: Indices = indices[self._known.tries[indices] == 1]
        return fresh

    def drop(self, indices: Indices) -> None:
        """RSTs; without an ACK where the server's number is unknown (RFC 9293 section 3.5.2)."""
        if self._udp:
            return
        states = self._known.state[indices]
        self._send(indices[_CALLED[states]], f.RST)
        self._send(indices[_KNOWN_TO_SERVER[states]], f.RST | f.ACK)

    def forget(self, indices: Indices) -> None:
        """There is nothing to give back; a late answer gets a RST."""

    def _send(self, indices: Indices, flags: int, *, back: int | NDArray[np.uint32] = 0) -> None:
        """A segment for each connection, at its next number or so much before it."""
        if len(indices):
            sequence = self._isn[indices] + self._sent[indices] - np.asarray(back, np.uint32)
            acknowledgement = self._theirs[indices] if flags & f.ACK else np.zeros(len(indices), np.uint32)
            destination = self._known.destination[indices]
            self._ring.send(self._wire.segments(indices, destination, flags, sequence, acknowledgement))

    # Receiving

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in all frames that wait: more is sent only when what came back is dealt with."""
        received = False
        while len((batch := self._ring.receive())[0]):
            self.read(*batch, ears, now_s)
            received = True
        return received

    def read(self, batch: Batch, lengths: NDArray[np.uint32], ears: Hears, now_s: float) -> None:
        """What frames mean."""
        answered, segments, datagrams = self._wire.read(batch, lengths)
        if len(answered.good):
            ears.answered(answered.good, answered.addresses, now_s)
        if len(answered.bad):
            ears.unanswerable(answered.bad, now_s)
        if len(segments.indices):
            known = segments.source == self._known.destination[segments.indices]
            self._segments(segments.where(known), ears, now_s)
        if len(datagrams.indices) and self._udp:
            self._datagrams(datagrams, ears, now_s)

    def _datagrams(self, datagrams: Datagrams, ears: Hears, now_s: float) -> None:
        indices = datagrams.indices[datagrams.source == self._known.destination[datagrams.indices]]
        calling = self._known.state[indices] == State.SYN_SENT
        ears.connected(indices[calling], now_s)
        ears.responded(indices[~calling], now_s)

    def _segments(self, segments: Segments, ears: Hears, now_s: float) -> None:
        if self._talks:
            self._unacknowledged[segments.indices[self._all_acknowledged(segments)]] = False
        flags = segments.flags & np.uint8(f.SYN | f.FIN | f.RST)
        syn, fin, rst = flags == f.SYN, flags == f.FIN, (flags & f.RST) != 0
        if syn.any():
            self._syn_acks(segments.where(syn), ears, now_s)
        data = (segments.payload > 0) & ~syn & ~rst
        if data.any():
            for each in _one_after_another(segments.where(data)):
                self._data(each, ears, now_s)
        if fin.any():
            self._fins(segments.where(fin), ears, now_s)
        if rst.any():
            self._rsts(segments.where(rst), ears, now_s)

    def _all_acknowledged(self, segments: Segments) -> NDArray[np.bool_]:
        """Which segments acknowledge all that their connections have sent."""
        indices = segments.indices
        acknowledged: NDArray[np.bool_] = segments.acknowledgement - self._isn[indices] == self._sent[indices]
        return acknowledged

    def _syn_acks(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """ACK for those that wait, and for repetitions; RST for those that have given up."""
        known, indices = self._known, segments.indices
        waiting = known.state[indices] == State.SYN_SENT
        good = segments.acknowledgement - self._isn[indices] == 1
        fresh = waiting & good
        self._theirs[indices[fresh]] = segments.sequence[fresh] + np.uint32(1)
        ears.connected(indices[fresh], now_s)
        if not self._syn_only:
            self._send(indices[good & _HEARS[known.state[indices]]], f.ACK)
            late = indices[good & _IS_LATE[known.state[indices]]]
            self._send(late, f.RST, back=self._sent[late] - np.uint32(1))

    def _data(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """Take in what comes in order and acknowledge; a response ends with PSH (RFC 9293 section 3.9.1)."""
        known, indices = self._known, segments.indices
        states = known.state[indices]
        hears = _HEARS[states]
        expected = (segments.sequence == self._theirs[indices]) & hears
        self._theirs[indices[expected]] += segments.payload[expected]
        whole = expected & ((segments.flags & f.PSH) != 0)
        answers = whole & (states == State.REQUESTING) & self._all_acknowledged(segments)
        self._send(indices[hears], f.ACK)
        ears.responded(indices[answers], now_s)

    def _fins(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """The answer to a FIN, or its repetition; a server that closes first ends the connection."""
        known, indices = self._known, segments.indices
        states, after = known.state[indices], segments.sequence + segments.payload
        in_order = after == self._theirs[indices]
        last = in_order & self._all_acknowledged(segments) & (states == State.CLOSING)
        again = (after + np.uint32(1) == self._theirs[indices]) & (states == State.CLOSED)
        first = in_order & IS_OPEN[states]
        self._theirs[indices[last | first]] = after[last | first] + np.uint32(1)
        self._send(indices[last | again], f.ACK)
        self._send(indices[first], f.RST | f.ACK)
        ears.closed(indices[last], now_s)
        ears.reset(indices[first], now_s)

    def _rsts(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """Refused, if the RST acknowledges the SYN that waits; reset, if it is in the window (RFC 9293, 3.5.3)."""
        indices = segments.indices
        waiting = self._known.state[indices] == State.SYN_SENT
        in_window = segments.sequence - self._theirs[indices] < f.FULL_WINDOW
        ears.reset(indices[np.where(waiting, self._all_acknowledged(segments), in_window)], now_s)


def _one_after_another(segments: Segments) -> Iterator[Segments]:
    """The first of each connection, then their second ones …: what one means depends on those before it."""
    while len(segments.indices):
        first = np.zeros(len(segments.indices), np.bool_)
        first[np.unique(segments.indices, return_index=True)[1]] = True
        yield segments.where(first)
        segments = segments.where(~first)

"""The packet engine: clients whose TCP is numpy, thousands of segments at a time, on a pair of AF_PACKET rings.

No kernel socket and no descriptor per connection: of TCP it does what a lab needs, a handshake, requests that fit one
segment, their responses, three ways to close. Sequence numbers are kept as how much is acknowledged in each direction.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

from traffic import frames as f
from traffic.dns import encode_query
from traffic.engines.burst import Burst
from traffic.engines.client import Client, connections_of
from traffic.engines.client_state import OPEN, State
from traffic.engines.orders import Orders
from traffic.engines.wire import Wire
from traffic.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traffic.engines.client_state import Connections, Indices
    from traffic.engines.medium import Hears
    from traffic.engines.wire import Datagrams, Segments
    from traffic.frames import Batch
    from traffic.result import RingCount
    from traffic.spec import BurstSpec

__all__ = ["Packets", "run"]

_RX_SLOTS = 8192
"""More than both windows together: answers never find the ring full."""

_NEXT_ISN = np.uint32(1_000_000)
"""A port's next connection begins so much further on, which a server in TIME_WAIT asks for (RFC 9293 section 3.6.1)."""

_LATE = (State.TIMED_OUT, State.REFUSED, State.RESET, State.CLOSED, State.ABANDONED)


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
        self.close_is_answered = not (self._udp or self._by_reset)
        numbers = np.arange(spec.connections) + spec.first_connection
        self._isn = numbers.astype(np.uint32) * f.ISN_FACTOR
        self._ours = np.zeros(spec.connections, np.uint32)
        """How much of what was sent the server has acknowledged; the SYN counts as a byte."""
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
        fresh = indices[self._known.tries[indices] == 1]
        self._isn[fresh] += _NEXT_ISN
        self._ours[fresh] = 0
        self._ring.send(self._wire.syns(indices, destination, self._isn[indices]))

    def request(self, indices: Indices) -> None:
        """HTTP requests, one segment each; or datagrams."""
        if self._udp:
            self._ring.send(self._wire.datagrams(indices, self._known.destination[indices]))
        else:
            self._send(indices, f.PSH | f.ACK)

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: with a last request, or RSTs; over UDP there is no goodbye."""
        if self._udp:
            return
        if self._by_reset:
            self._send(indices, f.RST | f.ACK)
        else:
            self._send(indices, f.FIN | f.ACK | (f.PSH if self._half_close else 0))

    def drop(self, indices: Indices) -> None:
        """RSTs; without an ACK where the server's number is unknown (RFC 9293 section 3.5.2)."""
        if self._udp:
            return
        states = self._known.state[indices]
        self._send(indices[np.isin(states, (State.SYN_SENT, State.HALF_OPEN))], f.RST, further=1)
        self._send(indices[np.isin(states, OPEN)], f.RST | f.ACK)
        self._send(indices[np.isin(states, (State.CLOSING, State.ABANDONED))], f.RST | f.ACK, further=self._goodbye)

    def forget(self, indices: Indices) -> None:
        """There is nothing to give back; a late answer gets a RST."""

    @property
    def _goodbye(self) -> int:
        """How much a close takes of the sequence space."""
        return 1 + (self._wire.request_bytes if self._half_close else 0)

    def _send(self, indices: Indices, flags: int, *, further: int = 0, received: int = 0) -> None:
        """A segment for each connection, `further` than what is acknowledged; `received` more than is expected."""
        if len(indices):
            sequence = self._isn[indices] + self._ours[indices] + np.uint32(further)
            acknowledgement = self._theirs[indices] + np.uint32(received)
            if not flags & f.ACK:
                acknowledgement[:] = 0
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
        flags = segments.flags & np.uint8(f.SYN | f.FIN | f.RST)
        syn, fin, rst = flags == f.SYN, flags == f.FIN, (flags & f.RST) != 0
        if syn.any():
            self._syn_acks(segments.where(syn), ears, now_s)
        data = (segments.payload > 0) & ~syn & ~rst
        if data.any():
            self._data(segments.where(data), ears, now_s)
        if fin.any():
            self._fins(segments.where(fin), ears, now_s)
        if rst.any():
            self._rsts(segments.where(rst), ears, now_s)

    def _acknowledged(self, segments: Segments) -> NDArray[np.uint32]:
        """How much more than before each segment acknowledges."""
        return segments.acknowledgement - self._isn[segments.indices] - self._ours[segments.indices]

    def _syn_acks(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """ACK for those that wait, and for repetitions; RST for those that have given up."""
        known, indices = self._known, segments.indices
        waiting = known.state[indices] == State.SYN_SENT
        good = segments.acknowledgement - self._isn[indices] == 1
        fresh = waiting & good
        self._theirs[indices[fresh]] = segments.sequence[fresh] + np.uint32(1)
        if not self._syn_only:
            self._ours[indices[fresh]] = 1
        ears.connected(indices[fresh], now_s)
        if not self._syn_only:
            self._send(indices[good & np.isin(known.state[indices], OPEN)], f.ACK)
            self._send(indices[good & np.isin(known.state[indices], _LATE)], f.RST, further=1)

    def _data(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """Take in what comes in order and acknowledge; a response ends with PSH (RFC 9293 section 3.9.1)."""
        known, indices = self._known, segments.indices
        states = known.state[indices]
        expected = (segments.sequence == self._theirs[indices]) & np.isin(states, (*OPEN, State.CLOSING))
        self._theirs[indices[expected]] += segments.payload[expected]
        whole = expected & ((segments.flags & f.PSH) != 0)
        answers = whole & (states == State.REQUESTING) & (self._acknowledged(segments) == self._wire.request_bytes)
        self._ours[indices[answers]] += np.uint32(self._wire.request_bytes)
        closing = states == State.CLOSING
        self._send(indices[np.isin(states, OPEN)], f.ACK)
        self._send(indices[closing], f.ACK, further=self._goodbye)
        ears.responded(indices[answers], now_s)

    def _fins(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """The answer to a FIN, or its repetition; a server that closes first ends the connection."""
        known, indices = self._known, segments.indices
        in_order = segments.sequence + segments.payload == self._theirs[indices]
        whole = in_order & (self._acknowledged(segments) == self._goodbye)
        ears.closed(indices[whole & (known.state[indices] == State.CLOSING)], now_s)
        self._send(indices[whole & (known.state[indices] == State.CLOSED)], f.ACK, further=self._goodbye, received=1)
        first = indices[in_order & np.isin(known.state[indices], OPEN)]
        self._send(first, f.RST | f.ACK, received=1)
        ears.reset(first, now_s)

    def _rsts(self, segments: Segments, ears: Hears, now_s: float) -> None:
        """Refused or reset; while a SYN waits, only a RST that acknowledges it counts (RFC 9293, SYN-SENT)."""
        waiting = self._known.state[segments.indices] == State.SYN_SENT
        ears.reset(segments.indices[~waiting | (self._acknowledged(segments) == 1)], now_s)

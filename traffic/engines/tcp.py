"""The small TCP of the packet and the scapy engine: clients without kernel sockets, whole batches at a time.

Of RFC 9293 it has what a client of the lab needs: the handshake, requests of one segment, responses of several, three
ways to close. The names of its sequence numbers are the RFC's (section 3.3.1). A codec builds and reads the frames.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from traffic import frames as f
from traffic.clients.state import IS_OPEN, OPEN, State, among
from traffic.engines.payloads import request_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.frame_codec import Datagrams, FrameCodec, Segments
    from traffic.result import RingCount
    from traffic.rings import Rings
    from traffic.spec import BurstSpec

__all__ = ["FrameTransport"]

_ISS_TICK_NS = 4000
_ISS_STEP = np.uint32(600_000)
"""A port's next connection begins so much further on, which a server in TIME_WAIT asks for (RFC 9293 section 3.6.1).

The next burst's begins by the clock, of 4 us as in section 3.4.1: a port rests for longer than 600,000 of them."""

_HALF_OPEN = among(State.SYN_SENT, State.HALF_OPEN)
_ACKNOWLEDGES = among(*OPEN, State.CLOSING)
_KNOWN_TO_SERVER = among(*OPEN, State.CLOSING, State.ABANDONED)
_IS_OVER = among(State.TIMED_OUT, State.REFUSED, State.RESET, State.CLOSED, State.CLOSED_BY_SERVER, State.ABANDONED)


class FrameTransport:
    """A `Transport` that sends and receives frames."""

    repeats = True

    def __init__(self, spec: BurstSpec, connections: Connections, codec: FrameCodec, rings: Rings) -> None:
        self._connections, self._codec, self._rings = connections, codec, rings
        self._udp = spec.protocol == "udp"
        self._half_close, self._by_reset = spec.close == "half-close", spec.close == "reset"
        self._syn_only = spec.destinations is not None
        self._sends_data = spec.requests != 0 or self._half_close
        self._request_bytes = np.uint32(len(request_text(spec.hostname)))
        self.close_is_answered = not (self._udp or self._by_reset)
        numbers = np.arange(spec.connections) + spec.fleets[0].first_connection
        clock = np.uint32(time.monotonic_ns() // _ISS_TICK_NS & 0xFFFFFFFF)
        self._iss = numbers.astype(np.uint32) * f.ISN_FACTOR + clock
        self._snd_nxt = self._iss.copy()
        self._rcv_nxt = np.zeros(spec.connections, np.uint32)
        self._unacknowledged = np.zeros(spec.connections, np.bool_)
        """Whether the last request may not have arrived: then it is sent again, also with a FIN."""
        self._without_port: list[Indices] = []
        """Connections for which there was no port left, until clients are told."""

    def descriptors(self) -> Iterable[int]:
        """The rings' descriptors and nothing else."""
        return self._rings.descriptors()

    def count(self) -> RingCount:
        """Frames received and lost, by the ring's own count."""
        return self._rings.count()

    # Sending

    def ask(self, indices: Indices) -> None:
        """Send each connection's DNS queries that have no answer yet."""
        self._rings.send(self._codec.queries(indices, self._connections.missing[indices]))

    def call(self, indices: Indices) -> None:
        """SYNs, a new initial sequence number at the first try and the same one in retransmissions; or datagrams."""
        portless = self._codec.without_port(indices)
        if portless.any():
            self._without_port.append(indices[portless])
            indices = indices[~portless]
            if not len(indices):
                return
        fresh = self._first_tries(indices)
        self._connections.choose(fresh, self._codec.turns(fresh))
        if self._udp:
            self._rings.send(self._codec.datagrams(indices, self._connections.destination[indices]), in_order=True)
            return
        iss = self._iss[fresh] + _ISS_STEP
        self._iss[fresh], self._snd_nxt[fresh] = iss, iss + np.uint32(1)
        self._unacknowledged[fresh] = False
        self._send(indices, f.SYN, self._iss[indices])

    def request(self, indices: Indices) -> None:
        """HTTP requests, one segment each, until they are acknowledged; or datagrams."""
        if self._udp:
            self._rings.send(self._codec.datagrams(indices, self._connections.destination[indices]))
            return
        fresh = self._first_tries(indices)
        self._snd_nxt[fresh] += self._request_bytes
        self._unacknowledged[fresh] = True
        unacknowledged = indices[self._unacknowledged[indices]]
        self._send(unacknowledged, f.PSH | f.ACK, self._snd_nxt[unacknowledged] - self._request_bytes)

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: with a last request, or RSTs; UDP has nothing to close with."""
        if self._udp:
            return
        if self._by_reset:
            self._send(indices, f.RST | f.ACK, self._snd_nxt[indices])
            return
        fresh = self._first_tries(indices)
        if self._half_close:
            self._snd_nxt[fresh[~self._unacknowledged[fresh]]] += self._request_bytes
            self._unacknowledged[fresh] = True
        self._snd_nxt[fresh] += np.uint32(1)
        self._send_fins(indices)

    def _send_fins(self, indices: Indices) -> None:
        """FINs that are counted in `snd_nxt`, each with the last request where that may not have arrived."""
        with_request = self._unacknowledged[indices]
        requesting, others = indices[with_request], indices[~with_request]
        one = np.uint32(1)
        self._send(requesting, f.FIN | f.PSH | f.ACK, self._snd_nxt[requesting] - self._request_bytes - one)
        self._send(others, f.FIN | f.ACK, self._snd_nxt[others] - one)

    def _first_tries(self, indices: Indices) -> Indices:
        """The connections whose request is not a repetition."""
        fresh: Indices = indices[self._connections.tries[indices] == 1]
        return fresh

    def drop(self, indices: Indices) -> None:
        """RSTs; without an ACK where the server's number is unknown (RFC 9293 section 3.5.2)."""
        if self._udp:
            return
        states = self._connections.state[indices]
        half_open, known = indices[_HALF_OPEN[states]], indices[_KNOWN_TO_SERVER[states]]
        self._send(half_open, f.RST, self._snd_nxt[half_open])
        self._send(known, f.RST | f.ACK, self._snd_nxt[known])

    def forget(self, indices: Indices) -> None:
        """Nothing is kept of a connection; a late SYN-ACK gets a RST."""

    def _send(self, indices: Indices, flags: int, sequence: NDArray[np.uint32]) -> None:
        if len(indices):
            acknowledgement = self._rcv_nxt[indices] if flags & f.ACK else None
            destination = self._connections.destination[indices]
            segments = self._codec.segments(indices, destination, flags, sequence, acknowledgement)
            self._rings.send(segments, in_order=flags == f.SYN)

    # Receiving

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in all frames that wait, before the clients send more: the windows count what came back."""
        received = bool(self._without_port)
        while self._without_port:
            callbacks.without_port(self._without_port.pop(), now_s)
        while len((batch := self._rings.receive())[0]):
            received = True
            answers, segments, datagrams = self._codec.read(*batch, self._connections.destination)
            if len(answers.good):
                callbacks.answered(answers.good, answers.addresses, now_s)
            if len(answers.no_data):
                callbacks.no_data(answers.no_data, now_s)
            if len(answers.bad):
                callbacks.unanswerable(answers.bad, now_s)
            if len(segments.indices):
                called = segments.source == self._connections.destination[segments.indices]
                self._segments(segments.where(called), callbacks, now_s)
            if len(datagrams.indices) and self._udp:
                self._datagrams(datagrams, callbacks, now_s)
        return received

    def _datagrams(self, datagrams: Datagrams, callbacks: Callbacks, now_s: float) -> None:
        indices = datagrams.indices[datagrams.source == self._connections.destination[datagrams.indices]]
        calling = self._connections.state[indices] == State.SYN_SENT
        callbacks.connected(indices[calling], now_s)
        callbacks.responded(indices[~calling], now_s)

    def _segments(self, segments: Segments, callbacks: Callbacks, now_s: float) -> None:
        if self._sends_data:
            self._unacknowledged[segments.indices[self._all_acknowledged(segments)]] = False
        flags = segments.flags & np.uint8(f.SYN | f.FIN | f.RST)
        syn, fin, rst = flags == f.SYN, flags == f.FIN, (flags & f.RST) != 0
        if syn.any():
            self._syn_acks(segments.where(syn), callbacks, now_s)
        data = (segments.payload > 0) & ~syn & ~rst
        if data.any():
            for of_distinct_connections in _one_after_another(segments.where(data)):
                self._data(of_distinct_connections, callbacks, now_s)
        if fin.any():
            self._fins(segments.where(fin), callbacks, now_s)
        if rst.any():
            self._rsts(segments.where(rst), callbacks, now_s)

    def _all_acknowledged(self, segments: Segments) -> NDArray[np.bool_]:
        """Which segments acknowledge all that their connections have sent."""
        acknowledged: NDArray[np.bool_] = segments.acknowledgement == self._snd_nxt[segments.indices]
        return acknowledged

    def _syn_acks(self, segments: Segments, callbacks: Callbacks, now_s: float) -> None:
        """ACK for connections in SYN_SENT, and for a repeated SYN-ACK; RST for connections that were given up."""
        indices = segments.indices
        acceptable = segments.acknowledgement - self._iss[indices] == 1
        fresh = acceptable & (self._connections.state[indices] == State.SYN_SENT)
        self._rcv_nxt[indices[fresh]] = segments.sequence[fresh] + np.uint32(1)
        callbacks.connected(indices[fresh], now_s)
        if self._syn_only:
            return
        states = self._connections.state[indices]
        established, late = indices[acceptable & _ACKNOWLEDGES[states]], indices[acceptable & _IS_OVER[states]]
        self._send(established, f.ACK, self._snd_nxt[established])
        self._send(late, f.RST, self._iss[late] + np.uint32(1))

    def _data(self, segments: Segments, callbacks: Callbacks, now_s: float) -> None:
        """Accept what is in order and acknowledge; a response ends with PSH (RFC 9293 section 3.9.1)."""
        indices = segments.indices
        states = self._connections.state[indices]
        acknowledges = _ACKNOWLEDGES[states]
        in_order = (segments.sequence == self._rcv_nxt[indices]) & acknowledges
        self._rcv_nxt[indices[in_order]] += segments.payload[in_order]
        whole = in_order & ((segments.flags & f.PSH) != 0)
        responses = whole & (states == State.REQUESTING) & self._all_acknowledged(segments)
        acknowledging = indices[acknowledges]
        self._send(acknowledging, f.ACK, self._snd_nxt[acknowledging])
        callbacks.responded(indices[responses], now_s)

    def _fins(self, segments: Segments, callbacks: Callbacks, now_s: float) -> None:
        """The answer to a FIN, or a server that closes first, whose FIN is answered with another; or repetitions."""
        indices = segments.indices
        states, after = self._connections.state[indices], segments.sequence + segments.payload
        in_order = after == self._rcv_nxt[indices]
        last = in_order & self._all_acknowledged(segments) & (states == State.CLOSING)
        repeated = after + np.uint32(1) == self._rcv_nxt[indices]
        first = in_order & IS_OPEN[states]
        self._rcv_nxt[indices[last | first]] = after[last | first] + np.uint32(1)
        acknowledging = indices[last | (repeated & (states == State.CLOSED))]
        self._send(acknowledging, f.ACK, self._snd_nxt[acknowledging])
        self._snd_nxt[indices[first]] += np.uint32(1)
        self._send_fins(indices[first | (repeated & (states == State.CLOSED_BY_SERVER))])
        callbacks.closed(indices[last], now_s)
        callbacks.closed_by_server(indices[first], now_s)

    def _rsts(self, segments: Segments, callbacks: Callbacks, now_s: float) -> None:
        """Refused, if the RST acknowledges the SYN; reset, if it is in the window (RFC 9293 section 3.5.3)."""
        indices = segments.indices
        waiting = self._connections.state[indices] == State.SYN_SENT
        in_window = segments.sequence - self._rcv_nxt[indices] < f.FULL_WINDOW
        callbacks.reset(indices[np.where(waiting, self._all_acknowledged(segments), in_window)], now_s)


def _one_after_another(segments: Segments) -> Iterator[Segments]:
    """The first segment of each connection, then their second ones …: each changes what the next one means."""
    while len(segments.indices):
        first = np.zeros(len(segments.indices), np.bool_)
        first[np.unique(segments.indices, return_index=True)[1]] = True  # noqa: TID251 -- without masked arrays
        yield segments.where(first)
        segments = segments.where(~first)

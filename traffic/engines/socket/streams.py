"""Connections over the kernel's own TCP: its SYNs and their retransmissions, its FINs and RSTs."""

from __future__ import annotations

from contextlib import suppress
import errno
import select
import socket
import struct
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.state import IS_OPEN, State, among
from traffic.engines.packet.wire import request_text
from traffic.engines.socket.replies import is_complete
from traffic.engines.socket.table import Table, dotted
from traffic.result import RingCount
from traffic.schedule import syn_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traffic.clients.medium import Hears
    from traffic.clients.state import Connections, Indices
    from traffic.engines.socket.questions import Asks
    from traffic.engines.socket.table import Seats
    from traffic.engines.socket.turnstile import Gate
    from traffic.spec import BurstSpec

__all__ = ["Streams"]

_FAILED = select.EPOLLERR | select.EPOLLHUP
_ENDED = select.EPOLLRDHUP | _FAILED
_HEARD = select.EPOLLIN | _ENDED

# Edge-triggered: one registration tells of the handshake, of data, and of the end.
_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

_READ_BYTES = 16 << 10
_ABORTIVE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends a RST (socket(7), tcp(7))."""

_TOTAL_RETRANSMISSIONS = struct.Struct("=100xI")
"""`tcpi_total_retrans` in `struct tcp_info` (include/uapi/linux/tcp.h): SYNs count, and are all there is by then."""

_REFUSED = (errno.ECONNREFUSED, errno.ECONNRESET)
_NEVER_OPEN = among(State.TIMED_OUT, State.REFUSED)


class Streams:
    """A `Medium` of TCP sockets."""

    repeats = False

    def __init__(self, spec: BurstSpec, connections: Connections, seats: Seats, *, questions: Asks, gate: Gate) -> None:
        self._known, self._seats, self._questions, self._gate = connections, seats, questions, gate
        # The kernel repeats no SYN after the deadline, even if this process is late to give up.
        syns = (socket.IPPROTO_TCP, socket.TCP_SYNCNT, syn_count(spec.syn_schedule, spec.connect_timeout_s))
        self._table = Table(seats, socket.SOCK_STREAM, _EVENTS, [syns])
        self._port = spec.port
        self._request = request_text(spec.hostname)
        self._half_close, self._by_reset = spec.close == "half-close", spec.close == "reset"
        self.close_is_answered = not self._by_reset
        self._partial: dict[int, bytes] = {}
        """Responses that are not complete yet."""

    def descriptors(self) -> Iterable[int]:
        """The sockets' epoll and the resolver's answers."""
        return (self._table.fileno(), self._questions.fileno())

    def count(self) -> RingCount:
        """No ring."""
        return RingCount(received=0, dropped=0)

    def leave(self) -> None:
        """A connection lives as long as its socket: this process stays."""

    # Sending

    def ask(self, indices: Indices) -> None:
        """DNS questions."""
        self._questions.ask(indices)

    def call(self, indices: Indices) -> None:
        """SYNs, in turn with all other processes of the burst."""
        servers = [dotted(each) for each in self._known.destination[indices].tolist()]
        counts, new = self._known.counts, self._seats.new(indices)
        with self._gate.turn(len(indices), new, leaving=counts.leaving, established=counts.open) as turn:
            self._known.number(indices, turn.attempted, turn.leaving, turn.established)
            made = self._table.open(indices, turn.numbered)
            for each, server in zip(made, servers, strict=True):
                _connect(each, server, self._port)
        self._table.watch(made)

    def request(self, indices: Indices) -> None:
        """HTTP requests; where the server has ended the connection, its event is on the way."""
        for index in indices.tolist():
            with suppress(ConnectionError):
                self._table[index].send(self._request)

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: after a last request, or RSTs; a socket is kept until the server's FIN."""
        if self._by_reset:
            self.drop(indices)
            return
        if self._half_close:
            self.request(indices)
        for index in indices.tolist():
            with suppress(OSError):  # ENOTCONN: the server has ended the connection, and its event is on the way
                self._table[index].shutdown(socket.SHUT_WR)

    def drop(self, indices: Indices) -> None:
        """RSTs; a SYN that was not answered is only not repeated any more."""
        for index in indices.tolist():
            self._table[index].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self._close(indices)

    def forget(self, indices: Indices) -> None:
        """Count the SYNs of those that were never established, and close."""
        never = _NEVER_OPEN[self._known.state[indices]]
        self._count_syns(indices[never])
        self._close(indices)
        self._questions.forget(indices)

    def _close(self, indices: Indices) -> None:
        self._table.close(indices)
        for index in indices.tolist():
            self._partial.pop(index, None)

    # Receiving

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in answers to questions, and what has happened to sockets."""
        heard = self._questions.receive(ears, now_s)
        indices, events = self._table.poll()
        if not len(indices):
            return heard
        calling = self._known.state[indices] == State.SYN_SENT
        self._outcomes(indices[calling], events[calling], ears, now_s)
        said = ~calling & ((events & _HEARD) != 0)
        if said.any():
            self._conversations(indices[said], (events[said] & _ENDED) != 0, ears, now_s)
        return True

    def _outcomes(self, indices: Indices, events: NDArray[np.uint32], ears: Hears, now_s: float) -> None:
        failed = (events & _FAILED) != 0
        connected = indices[~failed & ((events & select.EPOLLOUT) != 0)]
        if len(connected):
            self._count_syns(connected)
            ears.connected(connected, now_s)
        if failed.any():
            self._failures(indices[failed], ears, now_s)

    def _failures(self, indices: Indices, ears: Hears, now_s: float) -> None:
        """A RST is an answer; whatever else ended the attempt is none, and is left to the deadline."""
        reasons = [self._table[index].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for index in indices.tolist()]
        ears.reset(indices[np.isin(reasons, _REFUSED)], now_s)

    def _count_syns(self, indices: Indices) -> None:
        size, read = _TOTAL_RETRANSMISSIONS.size, _TOTAL_RETRANSMISSIONS.unpack
        infos = (self._table[each].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size) for each in indices.tolist())
        self._known.sent_again(indices, np.array([read(info)[0] for info in infos], np.int64))

    def _conversations(self, indices: Indices, over: NDArray[np.bool_], ears: Hears, now_s: float) -> None:
        """Read all there is: responses, the server's FINs, its RSTs."""
        heard = [self._hear(*each) for each in zip(indices.tolist(), over.tolist(), strict=True)]
        complete, ended, broken = (np.array(each, np.bool_) for each in zip(*heard, strict=True))
        states = self._known.state[indices]
        if complete.any():
            ears.responded(indices[complete], now_s)
        closing = states == State.CLOSING
        closed = indices[ended & closing]
        self._close(closed)
        ears.closed(closed, now_s)
        ears.reset(indices[broken | (ended & IS_OPEN[states])], now_s)

    def _hear(self, index: int, over: bool) -> tuple[bool, bool, bool]:  # noqa: FBT001 -- a row of a batch
        """Whether a response is complete, whether the server has closed, and whether it has reset the connection."""
        found, received, ended = self._table[index], self._partial.pop(index, b""), False
        try:
            while not ended:
                data = found.recv(_READ_BYTES)
                received += data
                ended = not data
                if not over and len(data) < _READ_BYTES:
                    break
        except BlockingIOError:
            pass
        except ConnectionError:
            return False, False, True
        waits = self._known.state[index] == State.REQUESTING
        complete = waits and is_complete(received)
        if waits and received and not complete:
            self._partial[index] = received
        return complete, ended, False


def _connect(made: socket.socket, server: str, port: int) -> None:
    """Send a SYN; OSError if the kernel does not, EADDRNOTAVAIL if the connection exists already."""
    problem = made.connect_ex((server, port))
    if problem not in (0, errno.EINPROGRESS):
        source = ":".join(map(str, made.getsockname()))
        raise OSError(problem, f"connect() from {source} to {server}:{port}: {errno.errorcode.get(problem)}")

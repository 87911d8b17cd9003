"""Transports of kernel sockets: TCP with the kernel's SYNs, retransmissions, FINs and RSTs; UDP that clients repeat."""

from __future__ import annotations

from contextlib import suppress
import errno
from itertools import compress
import select
import socket
import struct
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.state import IS_OPEN, State, among
from traffic.engines.payloads import DATAGRAM, is_complete, request_text
from traffic.engines.socket.sockets import SocketTable, TcpInfo, dotted, tcp_info
from traffic.result import RingCount
from traffic.schedule import syn_count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.socket.queries import Queries
    from traffic.engines.socket.sockets import Sources
    from traffic.engines.socket.turns import Turns
    from traffic.spec import BurstSpec

__all__ = ["TcpTransport", "UdpTransport"]

_FAILED = select.EPOLLERR | select.EPOLLHUP
_ENDED = select.EPOLLRDHUP | _FAILED
_READABLE = select.EPOLLIN | _ENDED

# Edge-triggered: one registration reports the handshake, data, and the end.
_TCP_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET

_READ_BYTES = 16 << 10
_LARGEST_DATAGRAM_BYTES = 1500
_ABORTIVE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: close() sends a RST (socket(7), tcp(7))."""
_CLOSE, _CLOSE_WAIT = 7, 8
"""States after a RST, and after the server's FIN (include/net/tcp_states.h)."""
_NEVER_OPEN = among(State.TIMED_OUT, State.REFUSED)


class _SocketTransport:
    """A socket for each connection, bound to its address and port."""

    def __init__(
        self, spec: BurstSpec, connections: Connections, table: SocketTable, queries: Queries, turns: Turns
    ) -> None:
        self._connections, self._table, self._queries, self._turns = connections, table, queries, turns
        self._port = spec.port
        self._without_port: list[Indices] = []
        """Connections for which the kernel had no port left, until clients are told."""

    def descriptors(self) -> Iterable[int]:
        """The sockets' epoll and the DNS answers."""
        return (self._table.fileno(), *self._queries.descriptors())

    def count(self) -> RingCount:
        """None received and none lost: there is no ring."""
        return RingCount(received=0, dropped=0)

    def ask(self, indices: Indices) -> None:
        """Send each connection's DNS queries that have no answer yet."""
        self._queries.ask(indices)

    def call(self, indices: Indices) -> None:
        """First packets, in turn with all other processes of the burst, and those that clients repeat."""
        fresh = indices[self._connections.tries[indices] == 1]
        counts, new = self._connections.counts, self._table.sources.unassigned(fresh)
        with self._turns.take(len(fresh), new, leaving=counts.leaving, established=counts.open) as turn:
            self._connections.number(fresh, turn.attempted, turn.leaving, turn.established)
            opened = self._table.open(fresh, turn.assigned)
            self._connections.choose(fresh, self._table.sources.turns(fresh))
            servers = map(dotted, self._connections.destination[fresh].tolist())
            taken = self._table.sources.taken_unseen(fresh).tolist()
            rows = zip(opened, servers, taken, strict=True)
            found = [not unseen and _connect(client, server, self._port) for client, server, unseen in rows]
            if not all(found):
                indices, opened = self._leave_out(indices, fresh[~np.array(found)]), list(compress(opened, found))
            self._called(indices)
        self._table.watch(opened)

    def _leave_out(self, indices: Indices, portless: Indices) -> Indices:
        """The others; of these the clients will be told."""
        self._table.close(portless)
        self._without_port.append(portless)
        others: Indices = indices[(indices[:, np.newaxis] != portless).all(axis=1)]
        return others

    def _called(self, indices: Indices) -> None:
        """Send what connect() does not send: the first datagram of UDP flows."""

    def forget(self, indices: Indices) -> None:
        """Close the sockets, and expect no DNS answers any more."""
        self._table.close(indices)
        self._queries.forget(indices)

    def receive(self, callbacks: Callbacks, now_s: float) -> bool:
        """Take in DNS answers, and what has happened to the sockets."""
        answered = self._queries.receive(callbacks, now_s) or bool(self._without_port)
        while self._without_port:
            callbacks.without_port(self._without_port.pop(), now_s)
        indices, events = self._table.poll()
        if not len(indices):
            return answered
        self._handle(indices, events, callbacks, now_s)
        return True

    def _handle(self, indices: Indices, events: NDArray[np.uint32], callbacks: Callbacks, now_s: float) -> None:
        raise NotImplementedError


class UdpTransport(_SocketTransport):
    """A `Transport` of connected UDP sockets, whose datagrams are echoed."""

    repeats = True
    close_is_answered = False

    def __init__(
        self, spec: BurstSpec, connections: Connections, sources: Sources, queries: Queries, turns: Turns
    ) -> None:
        table = SocketTable(sources, socket.SOCK_DGRAM, select.EPOLLIN)
        super().__init__(spec, connections, table, queries, turns)

    def _called(self, indices: Indices) -> None:
        self.request(indices)

    def request(self, indices: Indices) -> None:
        """Datagrams; one that cannot be sent is lost."""
        for index in indices.tolist():
            with suppress(BlockingIOError, ConnectionError):
                self._table[index].send(DATAGRAM)

    def close(self, indices: Indices) -> None:
        """Close the sockets: UDP sends nothing."""
        self._table.close(indices)

    drop = close

    def _handle(self, indices: Indices, _events: NDArray[np.uint32], callbacks: Callbacks, now_s: float) -> None:
        echoed = np.array([self._receive_echo(index) for index in indices.tolist()], np.bool_)
        calling = self._connections.state[indices] == State.SYN_SENT
        if (echoed & calling).any():
            callbacks.connected(indices[echoed & calling], now_s)
        if (echoed & ~calling).any():
            callbacks.responded(indices[echoed & ~calling], now_s)
        if not echoed.all():
            callbacks.reset(indices[~echoed], now_s)

    def _receive_echo(self, index: int) -> bool:
        """False if there is an ICMP message instead of a datagram: no program listens there."""
        try:
            self._table[index].recv(_LARGEST_DATAGRAM_BYTES)
        except ConnectionError:
            return False
        return True


class TcpTransport(_SocketTransport):
    """A `Transport` of TCP sockets."""

    repeats = False

    def __init__(
        self, spec: BurstSpec, connections: Connections, sources: Sources, queries: Queries, turns: Turns
    ) -> None:
        # The kernel repeats no SYN after the deadline, even if this process is late to give up.
        syns = (socket.IPPROTO_TCP, socket.TCP_SYNCNT, syn_count(spec.syn_schedule, spec.connect_timeout_s))
        table = SocketTable(sources, socket.SOCK_STREAM, _TCP_EVENTS, [syns])
        super().__init__(spec, connections, table, queries, turns)
        self._request = request_text(spec.hostname)
        self._half_close, self._by_reset = spec.close == "half-close", spec.close == "reset"
        self.close_is_answered = not self._by_reset
        self._partial: dict[int, bytes] = {}
        """Responses that are not complete yet."""

    # Sending

    def request(self, indices: Indices) -> None:
        """HTTP requests; if the server has closed the connection meanwhile, epoll reports that."""
        for index in indices.tolist():
            with suppress(ConnectionError):
                self._table[index].send(self._encoded(index, self._request))

    def _encoded(self, _index: int, request: bytes) -> bytes:
        """A request as it is sent."""
        return request

    def close(self, indices: Indices) -> None:
        """FINs, or as the burst says: after a last request, or RSTs; a socket is kept until the server's FIN."""
        if self._by_reset:
            self.drop(indices)
            return
        if self._half_close:
            self.request(indices)
        for index in indices.tolist():
            with suppress(OSError):  # ENOTCONN: the server has closed the connection, and epoll reports that
                self._table[index].shutdown(socket.SHUT_WR)

    def drop(self, indices: Indices) -> None:
        """RSTs; an unanswered SYN is only not repeated any more."""
        for index in indices.tolist():
            self._table[index].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORTIVE)
        self._close(indices)

    def forget(self, indices: Indices) -> None:
        """Count the SYNs of those that were never established, and close."""
        self._count_syns(indices[_NEVER_OPEN[self._connections.state[indices]]])
        self._close(indices)
        self._queries.forget(indices)

    def _close(self, indices: Indices) -> None:
        self._table.close(indices)
        for index in indices.tolist():
            self._partial.pop(index, None)

    # Receiving

    def _handle(self, indices: Indices, events: NDArray[np.uint32], callbacks: Callbacks, now_s: float) -> None:
        calling = self._connections.state[indices] == State.SYN_SENT
        self._handshakes(indices[calling], events[calling], callbacks, now_s)
        # What followed a handshake at once, the server's FIN among it, is in the same event, and in no later one.
        readable = (~calling | IS_OPEN[self._connections.state[indices]]) & ((events & _READABLE) != 0)
        if readable.any():
            self._read_all(indices[readable], (events[readable] & _ENDED) != 0, callbacks, now_s)

    def _handshakes(self, indices: Indices, events: NDArray[np.uint32], callbacks: Callbacks, now_s: float) -> None:
        failed = (events & _FAILED) != 0
        errors = np.zeros(len(indices), np.int64)
        if failed.any():
            table = self._table
            errors[failed] = [table[i].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for i in indices[failed].tolist()]
        # A RST after the handshake; one after the server's FIN (tcp_reset() in tcp_input.c).
        ended_since = (errors == errno.ECONNRESET) | (errors == errno.EPIPE)
        connected = indices[ended_since | (~failed & ((events & select.EPOLLOUT) != 0))]
        if len(connected):
            self._count_syns(connected)
            callbacks.connected(connected, now_s)
        # A RST is an answer; whatever else ended the attempt is none, and is left to the deadline.
        callbacks.reset(indices[(errors == errno.ECONNREFUSED) | (errors == errno.ECONNRESET)], now_s)
        callbacks.closed_by_server(indices[errors == errno.EPIPE], now_s)

    def _count_syns(self, indices: Indices) -> None:
        """By what the kernel knows before anything else is sent: only SYNs can have been repeated.

        What has come beside a SYN-ACK, a RST, data and a FIN are challenge ACKs: of an earlier connection between the
        same addresses and ports, which the server has in TIME_WAIT. The kernel answers each with a RST, and repeats
        the SYN (tcp_rcv_synsent_state_process, net/ipv4/tcp_input.c).
        """
        infos = np.array([tcp_info(self._table[index]) for index in indices.tolist()], np.int64)
        state, _, repeated, segments, with_data = infos.reshape(-1, len(TcpInfo._fields)).T
        states = self._connections.state[indices]
        ended = (state == _CLOSE_WAIT) | ((state == _CLOSE) & (states == State.SYN_SENT))  # by what followed a SYN-ACK
        answers = (states != State.TIMED_OUT).astype(np.int64) + ended
        challenges = np.clip(segments - with_data - answers, 0, repeated)
        self._connections.sent_again(indices, repeated, challenges)

    def _read_all(self, indices: Indices, to_the_end: NDArray[np.bool_], callbacks: Callbacks, now_s: float) -> None:
        """Read everything there is: responses, the server's FINs, its RSTs."""
        outcomes = [self._read(*row) for row in zip(indices.tolist(), to_the_end.tolist(), strict=True)]
        complete, ended, broken = np.array(outcomes, np.bool_).T
        states = self._connections.state[indices]
        if complete.any():
            callbacks.responded(indices[complete], now_s)
        closed = indices[ended & (states == State.CLOSING)]
        self._close(closed)
        callbacks.closed(closed, now_s)
        callbacks.closed_by_server(indices[ended & IS_OPEN[states]], now_s)
        callbacks.reset(indices[broken], now_s)

    def _read(self, index: int, to_the_end: bool) -> tuple[bool, bool, bool]:  # noqa: FBT001 -- a row of a batch
        """Whether a response is complete, whether the server has closed, and whether it has reset the connection."""
        data, ended, broken = self._receive(index, to_the_end=to_the_end)
        received = self._partial.pop(index, b"") + self._decoded(index, data)
        waits = self._connections.state[index] == State.REQUESTING
        complete = not broken and waits and is_complete(received)
        if waits and received and not complete:
            self._partial[index] = received
        return complete, ended, broken

    def _decoded(self, _index: int, data: bytes) -> bytes:
        """What was received, as it was meant."""
        return data

    def _receive(self, index: int, *, to_the_end: bool) -> tuple[bytes, bool, bool]:
        """All that has been received, whether the server has closed, and whether it has reset the connection."""
        client, received, ended = self._table[index], b"", False
        try:
            while not ended:
                data = client.recv(_READ_BYTES)
                received += data
                ended = not data
                if not to_the_end and len(data) < _READ_BYTES:
                    break
        except BlockingIOError:
            pass
        except ConnectionError:
            return received, False, True
        return received, ended, False


def _connect(client: socket.socket, server: str, port: int) -> bool:
    """Send a SYN; False if the kernel has no port left for it. OSError if it sends none for another reason.

    TCP's search ends with EADDRNOTAVAIL, as it does if a connection of the port that was asked for exists already;
    UDP's with EAGAIN (inet_autobind, net/ipv4/af_inet.c).
    """
    problem = client.connect_ex((server, port))
    if problem in (errno.EADDRNOTAVAIL, errno.EAGAIN) and client.getsockname()[1] == 0:
        return False
    if problem not in (0, errno.EINPROGRESS):
        source = ":".join(map(str, client.getsockname()))
        raise OSError(problem, f"connect() from {source} to {server}:{port}: {errno.errorcode.get(problem)}")
    return True

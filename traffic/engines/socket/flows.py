"""Flows over UDP, a connected socket each: datagrams that the clients repeat, and echoes."""

from __future__ import annotations

from contextlib import suppress
import select
import socket
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.state import State
from traffic.engines.packet.wire import DATAGRAM
from traffic.engines.socket.table import Table, dotted
from traffic.result import RingCount

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traffic.clients.medium import Hears
    from traffic.clients.state import Connections, Indices
    from traffic.engines.socket.questions import Asks
    from traffic.engines.socket.table import Seats
    from traffic.engines.socket.turnstile import Gate
    from traffic.spec import BurstSpec

__all__ = ["Flows"]

_LARGEST_BYTES = 1500


class Flows:
    """A `Medium` of UDP sockets."""

    repeats = True
    close_is_answered = False

    def __init__(self, spec: BurstSpec, connections: Connections, seats: Seats, *, questions: Asks, gate: Gate) -> None:
        self._known, self._seats, self._questions, self._gate = connections, seats, questions, gate
        self._table = Table(seats, socket.SOCK_DGRAM, select.EPOLLIN)
        self._port = spec.port

    def descriptors(self) -> Iterable[int]:
        """The sockets' epoll and the resolver's answers."""
        return (self._table.fileno(), self._questions.fileno())

    def count(self) -> RingCount:
        """No ring."""
        return RingCount(received=0, dropped=0)

    def leave(self) -> None:
        """Over UDP nothing is open but in the NATs; this process stays all the same, as it does with TCP."""

    def ask(self, indices: Indices) -> None:
        """DNS questions."""
        self._questions.ask(indices)

    def call(self, indices: Indices) -> None:
        """First datagrams, in turn with all other processes of the burst; and those that are repeated."""
        fresh = indices[self._known.tries[indices] == 1]
        counts, new = self._known.counts, self._seats.new(fresh)
        with self._gate.turn(len(fresh), new, leaving=counts.leaving, established=counts.open) as turn:
            self._known.number(fresh, turn.attempted, turn.leaving, turn.established)
            made = self._table.open(fresh, turn.numbered)
            for each, server in zip(made, self._known.destination[fresh].tolist(), strict=True):
                each.connect((dotted(server), self._port))
            self.request(indices)
        self._table.watch(made)

    def request(self, indices: Indices) -> None:
        """Datagrams; one that cannot be sent is lost."""
        for index in indices.tolist():
            with suppress(BlockingIOError, ConnectionError):
                self._table[index].send(DATAGRAM)

    def close(self, indices: Indices) -> None:
        """There is no goodbye."""
        self._table.close(indices)

    def drop(self, indices: Indices) -> None:
        """There is no RST."""
        self._table.close(indices)

    def forget(self, indices: Indices) -> None:
        """Give the sockets back."""
        self._table.close(indices)
        self._questions.forget(indices)

    def receive(self, ears: Hears, now_s: float) -> bool:
        """Take in answers to questions, and echoes."""
        heard = self._questions.receive(ears, now_s)
        indices, _ = self._table.poll()
        if not len(indices):
            return heard
        echoed = np.array([self._echo(index) for index in indices.tolist()], np.bool_)
        calling = self._known.state[indices] == State.SYN_SENT
        if (echoed & calling).any():
            ears.connected(indices[echoed & calling], now_s)
        if (echoed & ~calling).any():
            ears.responded(indices[echoed & ~calling], now_s)
        if not echoed.all():
            ears.reset(indices[~echoed], now_s)
        return True

    def _echo(self, index: int) -> bool:
        """Take in a datagram; False if there is an ICMP message instead: nobody is there."""
        try:
            self._table[index].recv(_LARGEST_BYTES)
        except ConnectionError:
            return False
        return True

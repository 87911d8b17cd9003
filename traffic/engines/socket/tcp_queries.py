"""DNS over TCP: what was answered with a truncated datagram is asked again on a connection to the name server.

A look-up has one connection for all its questions, each after its length in two bytes (RFC 7766), as glibc does
(send_vc in resolv/res_send.c). The kernel repeats its SYN; how often is read from TCP_INFO.
"""

from __future__ import annotations

from contextlib import suppress
import select
import socket
from typing import TYPE_CHECKING

from traffic.engines.socket.answers import Answer, Questions, read_answer, report
from traffic.engines.socket.sockets import SocketTable, tcp_info

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.socket.sockets import Sources

__all__ = ["TcpQueries"]

_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
_READ_BYTES = 4096
_LENGTH_BYTES = 2


class TcpQueries:
    """Connections to the name server, at most one for each connection of the burst."""

    def __init__(
        self, connections: Connections, sources: Sources, questions: Questions, resolver: tuple[str, int]
    ) -> None:
        self._connections, self._questions, self._resolver = connections, questions, resolver
        self._table = SocketTable(sources, socket.SOCK_STREAM, _EVENTS)
        self._received: dict[int, bytes] = {}
        """What has come on each connection that is established."""
        self._calling: set[int] = set()

    def descriptors(self) -> Iterable[int]:
        """Readable when there are answers."""
        return (self._table.fileno(),)

    def ask(self, indices: Indices) -> None:
        """SYNs, from each connection's own address and port."""
        opened = self._table.open(indices, next_number=0)  # their UDP sockets have given each its number
        for client in opened:
            with suppress(BlockingIOError):
                client.connect(self._resolver)
        self._calling.update(indices.tolist())
        self._table.watch(opened)

    def receive(self, callbacks: Callbacks, now_s: float) -> Indices:
        """Ask on connections that have been established, take in answers; whose sockets something happened to."""
        indices, events = self._table.poll()
        answers: list[tuple[int, Answer]] = []
        for index, happened in zip(indices.tolist(), events.tolist(), strict=True):
            if index in self._calling and happened & select.EPOLLOUT and not happened & select.EPOLLERR:
                self._established(index)
            if index in self._received and happened & select.EPOLLIN:
                answers += [(index, answer) for answer in self._read(index)]
        report(answers, callbacks, now_s)
        return indices

    def _established(self, index: int) -> None:
        self._count_syns(index)
        self._connections.counts.replies += 1
        self._received[index] = b""
        messages = self._questions.of(index, int(self._connections.missing[index]))
        with suppress(ConnectionError):  # the server has closed it meanwhile: no answer
            self._table[index].send(b"".join(len(each).to_bytes(_LENGTH_BYTES, "big") + each for each in messages))

    def _read(self, index: int) -> Iterator[Answer]:
        """The complete messages; what follows them is kept."""
        with suppress(BlockingIOError, ConnectionError):
            while data := self._table[index].recv(_READ_BYTES):
                self._received[index] += data
        rest = self._received[index]
        while len(rest) > _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(rest[:_LENGTH_BYTES], "big")
            if len(rest) < end:
                break
            if answer := read_answer(rest[_LENGTH_BYTES:end]):
                yield answer
            rest = rest[end:]
        self._received[index] = rest

    def forget(self, indices: Indices) -> None:
        """Close; SYNs without an answer count as questions without one."""
        for index in indices.tolist():
            if index in self._calling:
                self._count_syns(index)
            self._received.pop(index, None)
        self._table.close(indices)

    def _count_syns(self, index: int) -> None:
        """Each SYN is a packet of the look-up."""
        self._calling.remove(index)
        self._connections.asked_over_tcp(index, tcp_info(self._table[index]).retransmissions)

"""TLS on real connections: the handshake with the server's certificate verified, then requests in records."""

from __future__ import annotations

from contextlib import suppress
import socket
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.state import State
from traffic.engines.socket.sockets import tcp_info
from traffic.engines.socket.transports import TcpTransport
from traffic.result import HELLO_IGNORED, HELLO_LOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    import ssl

    from numpy.typing import NDArray

    from traffic.clients.state import Connections, Indices
    from traffic.clients.transport import Callbacks
    from traffic.engines.socket.queries import Queries
    from traffic.engines.socket.sockets import Sources
    from traffic.engines.socket.turns import Turns
    from traffic.spec import BurstSpec
    from traffic.tls import Session

__all__ = ["TlsTransport"]


class TlsTransport(TcpTransport):
    """A `Transport` of TCP sockets that speak TLS, and the `Handshakes` of its connections."""

    def __init__(
        self, spec: BurstSpec, connections: Connections, sources: Sources, queries: Queries, turns: Turns
    ) -> None:
        from traffic.tls import Session  # noqa: PLC0415  # a burst without TLS need not load OpenSSL

        super().__init__(spec, connections, sources, queries, turns)
        self._hostname, self._context, self._new = spec.hostname, _trusting(spec.authority), Session
        self._sessions: dict[int, Session] = {}
        """Connection → its TLS."""

    # Sending

    def begin(self, indices: Indices) -> None:
        """Send a ClientHello on each connection; if the server has ended one by now, epoll reports that."""
        for index in indices.tolist():
            # As TLS clients do: the first request follows on the handshake's end, which the server does not answer.
            self._table[index].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = self._sessions[index] = self._new(self._context, self._hostname)
            session.receive(b"")
            self._send_records(index, session)

    def _send_records(self, index: int, session: Session) -> None:
        if records := session.records():
            with suppress(OSError):
                self._table[index].send(records)

    def _encoded(self, index: int, request: bytes) -> bytes:
        session = self._sessions[index]
        session.send(request)
        return session.records()

    def close(self, indices: Indices) -> None:
        """FINs as without TLS, each after the notice that nothing follows."""
        for index in [] if self._by_reset or self._half_close else indices.tolist():
            if session := self._sessions.get(index):
                session.close()
                self._send_records(index, session)
        super().close(indices)

    def _close(self, indices: Indices) -> None:
        super()._close(indices)
        for index in indices.tolist():
            self._sessions.pop(index, None)

    # Receiving

    def _decoded(self, index: int, data: bytes) -> bytes:
        session = self._sessions.get(index)
        return session.receive(data) if session else b""

    def _read_all(self, indices: Indices, to_the_end: NDArray[np.bool_], callbacks: Callbacks, now_s: float) -> None:
        securing = self._connections.state[indices] == State.SECURING
        if securing.any():
            self._shake_hands(indices[securing], to_the_end[securing], callbacks, now_s)
        if not securing.all():
            super()._read_all(indices[~securing], to_the_end[~securing], callbacks, now_s)

    def _shake_hands(self, indices: Indices, to_the_end: NDArray[np.bool_], callbacks: Callbacks, now_s: float) -> None:
        """Go on with handshakes; connections that the server ended are reported after them."""
        secured, failed, closed, reset = list[int](), dict[str, list[int]](), list[int](), list[int]()
        for index, is_last in zip(indices.tolist(), to_the_end.tolist(), strict=True):
            data, ended, broken = self._receive(index, to_the_end=is_last)
            session = self._sessions[index]
            session.receive(data)
            self._send_records(index, session)
            if session.failure:
                failed.setdefault(session.failure, []).append(index)
            elif session.established:
                secured.append(index)
            if broken:
                reset.append(index)
            elif ended:
                closed.append(index)
        if secured:
            callbacks.secured(np.array(secured, np.int64), now_s)
        for reason, those in failed.items():
            callbacks.insecure(np.array(those, np.int64), reason)
        callbacks.closed_by_server(np.array(closed, np.int64), now_s)
        callbacks.reset(np.array(reset, np.int64), now_s)

    def why_unanswered(self, indices: Indices) -> Iterator[tuple[str, Indices]]:
        """Whether the servers' kernels have the ClientHellos: then it is their programs that do not answer."""
        arrived = np.array([tcp_info(self._table[index]).unacknowledged == 0 for index in indices.tolist()], np.bool_)
        for reason, those in ((HELLO_IGNORED, indices[arrived]), (HELLO_LOST, indices[~arrived])):
            if len(those):
                yield reason, those


def _trusting(authority: str | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415

    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols(["http/1.1"])
    return context

"""The remote server over TCP, for real clients: a small page over HTTP or HTTPS, and any number of idle connections.

A client's first bytes show whether it speaks TLS; a connection with neither TLS nor HTTP is closed at once. An idle
connection without TLS is a descriptor in an epoll and nothing else: no object, no buffer, no coroutine. A burst's tens
of thousands are accepted in batches.
"""

from __future__ import annotations

import os
import resource
import select
import socket
from typing import TYPE_CHECKING

from traffic.servers.tls import HELLO_BYTES, Certificate, begins_hello
from traffic.servers.web import Answered, answer, page

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.spec import ServerSpec
    from traffic.tls import Session

__all__ = ["Listener"]

_EVENTS, _ACCEPTS = 256, 256
"""How much is done at a time: some milliseconds' work."""
_READ_BYTES = 16 << 10
_RESERVED = 64
"""Descriptors that connections leave to everything else in the process."""


class Listener:
    """Accepts on `port` as long as there are descriptors: call `work` when `fileno` is readable.

    When there are none, it calls `full`, so that another process accepts on the same port.
    """

    def __init__(self, port: socket.socket, spec: ServerSpec, full: Callable[[], None]) -> None:
        self._port, self._spec, self._full = port, spec, full
        self._free = max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _RESERVED, 1)
        self._partial: dict[int, bytes] = {}
        """Descriptor → a request, or a ClientHello, that is not complete yet."""
        self._certificate = Certificate(spec.certificate)
        self._sessions: dict[int, Session] = {}
        """Descriptor → its TLS."""
        self._epoll = select.epoll()
        self._epoll.register(self._port, select.EPOLLIN)

    def fileno(self) -> int:
        """Readable while there is something to do."""
        return self._epoll.fileno()

    def work(self) -> None:
        """Serve some of the clients that wait; the others keep the descriptor readable."""
        port = self._port.fileno()
        for descriptor, _ in self._epoll.poll(0, _EVENTS):
            if descriptor == port:
                self._accept()
            else:
                self._read(descriptor)

    def _accept(self) -> None:
        # socket.accept() does the same, and makes an object that costs as much as all the rest.
        accept = self._port._accept  # type: ignore[attr-defined]  # noqa: SLF001
        register = self._epoll.register
        for _ in range(min(_ACCEPTS, self._free)):
            try:
                descriptor, _address = accept()
            except OSError:  # no client waits, or the waiting one has disconnected
                return
            register(descriptor, select.EPOLLIN)
            self._free -= 1
        if not self._free:
            self._epoll.unregister(self._port)
            self._full()

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _READ_BYTES)  # does not block: epoll has reported it, and no other process reads
        except OSError:  # a RST
            data = b""
        if not data or not self._take(descriptor, data):
            self._close(descriptor)

    def _take(self, descriptor: int, data: bytes) -> bool:
        """Whether the connection stays open."""
        session = self._sessions.get(descriptor)
        if session is None:
            start = self._partial.get(descriptor, b"") + data
            if begins_hello(start):
                self._partial[descriptor] = start
                return len(start) < HELLO_BYTES or self._begin_tls(descriptor)
            return self._answer(descriptor, data)
        plaintext = session.receive(data)
        return self._answer(descriptor, plaintext, session) and not session.ended and session.failure is None

    def _begin_tls(self, descriptor: int) -> bool:
        """What has come of the connection is the beginning of a ClientHello, and no request."""
        try:
            session = self._certificate.session()
        except OSError:  # the lab is being taken down
            session = None
        if session is None:
            return False
        self._sessions[descriptor] = session
        return self._take(descriptor, self._partial.pop(descriptor))

    def _answer(self, descriptor: int, data: bytes, session: Session | None = None) -> bool:
        """Whether the connection stays open."""
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)
        try:
            host, port = client.getpeername()
            body = page(self._spec.name, self._spec.hostname, f"{host}:{port}")
            answered = answer(self._partial.pop(descriptor, b"") + data, body)
            outgoing = answered.response if session is None else _records(session, answered)
            sent = client.send(outgoing, socket.MSG_DONTWAIT) if outgoing else 0
        except OSError:  # it has disconnected, or sends requests and reads no response
            return False
        finally:
            client.detach()
        if answered.rest:
            self._partial[descriptor] = answered.rest
        return sent == len(outgoing) and not answered.is_last

    def _close(self, descriptor: int) -> None:
        # First out of the epoll: close() alone does not do it while a process that is being started holds a copy.
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        self._partial.pop(descriptor, None)
        self._sessions.pop(descriptor, None)
        self._free += 1
        if self._free == 1:
            self._epoll.register(self._port, select.EPOLLIN)


def _records(session: Session, answered: Answered) -> bytes:
    """What a client is sent over TLS: its handshake, the response, and the end of what is sent."""
    if answered.response:
        session.send(answered.response)
    if answered.is_last or session.ended:
        session.close()
    return session.records()

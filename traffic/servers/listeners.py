"""The server's port, and the processes that share it: one process may hold only so many descriptors (RLIMIT_NOFILE).

    server ── full ──→ listener ── full ──→ listener ── …

Each starts the next one, which inherits the listening socket and the network namespace, and ends when the one that
started it ends. Connections that come before it is ready wait in the kernel, established. Whoever has room accepts.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from typing import TYPE_CHECKING

from traffic.servers.listener import Listener

if TYPE_CHECKING:
    from traffic.spec import ServerSpec

__all__ = ["listen", "run"]

_BACKLOG = 65_535  # as much as net.core.somaxconn allows
_SILENCE_MS = 10_000
"""A client that acknowledges nothing for so long is gone: half of a lab that is taken down would otherwise stay in the
kernel's memory for minutes, retransmitting FINs (tcp(7), TCP_USER_TIMEOUT; accepted sockets inherit it)."""
_PORT, _PARENT = 0, 3
"""Descriptors that a listener is started with: the listening socket, and the pidfd of the process that started it."""


def listen(spec: ServerSpec) -> Listener:
    """Listen on the server's port for as many connections as come."""
    port = socket.create_server((str(spec.address), spec.port), backlog=_BACKLOG)
    port.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENCE_MS)
    return _listener(port, spec)


def run(spec: ServerSpec) -> None:
    """Take what the parent leaves, until it ends."""
    listener = _listener(socket.socket(fileno=_PORT), spec)
    ready = select.poll()
    ready.register(listener, select.POLLIN)
    ready.register(_PARENT, select.POLLIN)
    while _PARENT not in dict(ready.poll()):
        listener.work()


def _listener(port: socket.socket, spec: ServerSpec) -> Listener:
    port.settimeout(0)
    return Listener(port, spec, _Overflow(port, spec).ensure)


class _Overflow:
    """The next process."""

    def __init__(self, port: socket.socket, spec: ServerSpec) -> None:
        self._port, self._spec = port, spec
        self._pid: int | None = None

    def ensure(self) -> None:
        """Start it unless it runs."""
        if self._pid is None or os.waitpid(self._pid, os.WNOHANG) != (0, 0):
            self._pid = _start(self._port, self._spec)


def _start(port: socket.socket, spec: ServerSpec) -> int:
    this = os.pidfd_open(os.getpid())
    try:
        return os.posix_spawn(
            sys.executable,
            _command(spec),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, port.fileno(), _PORT),
                (os.POSIX_SPAWN_DUP2, this, _PARENT),
                (os.POSIX_SPAWN_DUP2, 2, 1),  # what it says belongs in the log
            ],
        )
    finally:
        os.close(this)


def _command(spec: ServerSpec) -> list[str]:
    """A command line that finds modules where the one of this process found them."""
    safe = ["-P"] if sys.flags.safe_path else []
    return [sys.executable, *safe, "-m", "traffic", "listener", spec.to_json()]

"""The server's port, and the processes that share it: one process may hold only so many descriptors (RLIMIT_NOFILE).

    server ── full ──→ listener ── full ──→ listener ── …

Each starts the next one, which inherits the listening socket and the network namespace, and ends when the one that
started it ends. Connections that come before it is ready wait in the kernel, established. Every process accepts as
long as it has descriptors.
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
_USER_TIMEOUT_MS = 10_000
"""A client that acknowledges nothing for so long is gone: connections of a lab that was taken down would otherwise stay
in the kernel's memory for minutes, retransmitting FINs (tcp(7), TCP_USER_TIMEOUT; accepted sockets inherit it)."""
_PORT, _PARENT = 0, 3
"""Descriptors that a listener is started with: the listening socket, and the pidfd of the process that started it."""


def listen(spec: ServerSpec) -> Listener:
    """Listen on the server's port for as many connections as come."""
    # At several addresses by one socket, beside those that turn clients away.
    address = str(spec.addresses[0]) if len(spec.addresses) == 1 else ""
    port = socket.create_server((address, spec.port), backlog=_BACKLOG, reuse_port=not address)
    port.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    return _listener(port, spec)


def run(spec: ServerSpec) -> None:
    """Accept what the parent has no descriptors for, until it ends."""
    listener = _listener(socket.socket(fileno=_PORT), spec)
    ready = select.poll()
    ready.register(listener, select.POLLIN)
    ready.register(_PARENT, select.POLLIN)
    while _PARENT not in dict(ready.poll()):
        listener.work()


def _listener(port: socket.socket, spec: ServerSpec) -> Listener:
    next_pid: int | None = None

    def start_next() -> None:
        """Start the next process, unless it runs already."""
        nonlocal next_pid
        if next_pid is None or os.waitpid(next_pid, os.WNOHANG) != (0, 0):
            next_pid = _start(port, spec)

    port.settimeout(0)
    return Listener(port, spec, start_next)


def _start(port: socket.socket, spec: ServerSpec) -> int:
    # The same interpreter and module search path as this process has.
    safe = ["-P"] if sys.flags.safe_path else []
    this = os.pidfd_open(os.getpid())
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *safe, "-m", "traffic", "listener", spec.to_json()],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, port.fileno(), _PORT),
                (os.POSIX_SPAWN_DUP2, this, _PARENT),
                (os.POSIX_SPAWN_DUP2, 2, 1),  # its output belongs in the log
            ],
        )
    finally:
        os.close(this)

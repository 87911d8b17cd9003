"""The server's port, and the processes that share it: one process may hold only so many descriptors (RLIMIT_NOFILE).

    server ── full ──→ listener ── full ──→ listener ── …

Each forks the next one, which inherits the listening socket and the network namespace, and ends when the one that
forked it ends. No program is started: where Python is in somebody's home directory, only root may. Connections that
come before the next one accepts wait in the kernel, established. Every process accepts as long as it has descriptors.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import traceback
from typing import TYPE_CHECKING, NoReturn

from traffic.servers.listener import Listener

if TYPE_CHECKING:
    from traffic.spec import ServerSpec

__all__ = ["listen"]

_BACKLOG = 65_535  # as much as net.core.somaxconn allows
_USER_TIMEOUT_MS = 10_000
"""A client that acknowledges nothing for so long is gone: connections of a lab that was taken down would otherwise stay
in the kernel's memory for minutes, retransmitting FINs (tcp(7), TCP_USER_TIMEOUT; accepted sockets inherit it)."""
_OUTPUT, _LOG = 1, 2


def listen(spec: ServerSpec) -> Listener:
    """Listen on the server's port for as many connections as come."""
    # At several addresses by one socket, beside those that turn clients away.
    address = str(spec.addresses[0]) if len(spec.addresses) == 1 else ""
    port = socket.create_server((address, spec.port), backlog=_BACKLOG, reuse_port=not address)
    port.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)
    return _listener(port, spec)


def _listener(port: socket.socket, spec: ServerSpec) -> Listener:
    next_pid: int | None = None

    def start_next() -> None:
        """Fork the next process, unless it runs already."""
        nonlocal next_pid
        if next_pid is None or os.waitpid(next_pid, os.WNOHANG) != (0, 0):
            next_pid = _fork(port, spec)

    port.settimeout(0)
    return Listener(port, spec, start_next)


def _fork(port: socket.socket, spec: ServerSpec) -> int:
    this = os.pidfd_open(os.getpid())
    try:
        pid = os.fork()
        if not pid:
            _be_next(port, this, spec)
    finally:
        os.close(this)
    return pid


def _be_next(port: socket.socket, parent: int, spec: ServerSpec) -> NoReturn:
    """All that the new process does: it never returns to what its parent was at."""
    try:
        gc.freeze()  # the parent's objects are not freed here: they would close descriptors of this process
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _close_all_but(port.fileno(), parent)
        os.dup2(_LOG, _OUTPUT)
        _accept_until_end_of(parent, _listener(port, spec))
    except BaseException:  # noqa: BLE001 -- whatever it is, the log is to have it
        traceback.print_exc()
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    first = _LOG + 1
    for descriptor in (*sorted(kept), resource.getrlimit(resource.RLIMIT_NOFILE)[0]):
        os.closerange(first, descriptor)
        first = descriptor + 1


def _accept_until_end_of(parent: int, listener: Listener) -> None:
    """Accept what the parent has no descriptors for."""
    ready = select.poll()
    ready.register(listener, select.POLLIN)
    ready.register(parent, select.POLLIN)
    while parent not in dict(ready.poll()):
        listener.work()

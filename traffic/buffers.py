"""Room for what waits in a socket, as much as the kernel gives this process."""

from __future__ import annotations

import socket

__all__ = ["make_room"]

_FORCED = {socket.SO_RCVBUF: 33, socket.SO_SNDBUF: 32}
"""Option → its like that goes beyond net.core.rmem_max and wmem_max (asm-generic/socket.h); Python has no names."""


def make_room(opened: socket.socket, option: int, size: int) -> int:
    """Ask for this many bytes; how many there are, as the kernel counts them: twice of what was given (socket(7)).

    `option` is SO_RCVBUF or SO_SNDBUF. Without root on this machine it is net.core.rmem_max or wmem_max at most.
    """
    try:
        opened.setsockopt(socket.SOL_SOCKET, _FORCED[option], size)
    except PermissionError:
        opened.setsockopt(socket.SOL_SOCKET, option, size)
    return opened.getsockopt(socket.SOL_SOCKET, option)

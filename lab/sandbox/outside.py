"""Listening sockets in the user's own network, for a command inside of the sandbox, which has another.

A process that has stayed outside opens them and hands them in (unix(7), SCM_RIGHTS).
"""

from __future__ import annotations

import os
import socket
import struct

from lab.interrupts import ignore

__all__ = ["fork_answering", "listen"]

_REQUEST, _REPLY = struct.Struct("!4sH"), struct.Struct("!i")
_to_outside: list[socket.socket] = []
"""Inside of a sandbox: the socket whose other end the process outside has."""


def fork_answering() -> None:
    """Have a process stay outside that opens what `listen` asks for, until this one and its children have ended."""
    outside, inside = socket.socketpair()
    if os.fork():
        outside.close()
        _to_outside[:] = [inside]
        return
    try:
        inside.close()
        ignore()
        _answer(outside)
    finally:
        os._exit(0)


def _answer(channel: socket.socket) -> None:
    while request := channel.recv(_REQUEST.size):
        packed, port = _REQUEST.unpack(request)
        try:
            with _listening(socket.inet_ntoa(packed), port) as listener:
                socket.send_fds(channel, [_REPLY.pack(0)], [listener.fileno()])
        except OSError as refused:
            channel.sendall(_REPLY.pack(refused.errno))


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there in the user's network, in a sandbox or not; OSError, as of bind(2), if none can."""
    if not _to_outside:
        return _listening(address, port)
    (channel,) = _to_outside
    channel.sendall(_REQUEST.pack(socket.inet_aton(address), port))
    reply, descriptors, _, _ = socket.recv_fds(channel, _REPLY.size, 1)
    (refused,) = _REPLY.unpack(reply)
    if refused:
        raise OSError(refused, os.strerror(refused))
    return socket.socket(fileno=descriptors[0])


def _listening(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener

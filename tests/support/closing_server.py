"""A small server that ends connections in one way, for a server's node with `embedded: false`.

    python closing_server.py ADDRESS PORT WAY [KEEP]

`answer-fin`: it answers one request, then closes, as HTTP/1.0 does. `answer-rst`: it answers one, then resets.
`fin`, `rst`: it closes, or resets, what it has accepted, but for the first KEEP. `idle-fin`, `idle-rst`: it answers,
and closes, or resets, a connection that has been idle for 0.3 s. `slow-fin`: it thinks for 2 s before it answers.
`mute-fin`: it reads, answers nothing, and closes once its client has.
"""

from __future__ import annotations

from contextlib import suppress
import os
import socket
import struct
import sys
import threading
import time

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s
_IDLE_S, _THINKS_S = 0.3, 2.0
_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def main() -> None:
    """Go to the background once clients can connect, and serve until killed."""
    address, port, way, *keep = sys.argv[1:]
    left = int(keep[0]) if keep else 0
    kept: list[socket.socket] = []
    with socket.create_server((address, int(port)), backlog=1024) as listening:
        if os.fork():
            return
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):  # whoever started it reads them to their end
            os.dup2(null, descriptor)
        while True:
            client, _ = listening.accept()
            if way in {"fin", "rst"}:
                if left:
                    left -= 1
                    kept.append(client)
                else:
                    _end(client, way)
            else:
                threading.Thread(target=_serve, args=(client, way), daemon=True).start()


def _serve(client: socket.socket, way: str) -> None:
    when, _, how = way.partition("-")
    client.settimeout(_IDLE_S if when == "idle" else None)
    with suppress(TimeoutError, ConnectionResetError):
        while client.recv(4096):
            if when == "mute":
                continue
            time.sleep(_THINKS_S if when == "slow" else 0)
            client.sendall(_ANSWER)
            if when == "answer":
                break
    _end(client, how)


def _end(client: socket.socket, how: str) -> None:
    if how == "rst":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    client.close()


if __name__ == "__main__":
    main()

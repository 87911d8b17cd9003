"""The remote server's HTTP/1.1, as bytes: no socket, no clock."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple

__all__ = ["Turn", "head", "page", "take_turn"]

_END_OF_HEADERS = b"\r\n\r\n"
_LONGEST_REQUEST_BYTES = 16 << 10


def page(name: str, hostname: str, client: str) -> bytes:
    """What a client reads: whom it reached, and as whom."""
    return f"server: {name}\nhostname: {hostname}\nclient: {client}\n".encode()


def head(status: HTTPStatus, length: int, *, last: bool) -> bytes:
    """A response up to its body of `length` bytes; `last` announces the end of the connection."""
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {length}",
        f"Connection: {'close' if last else 'keep-alive'}",
    )
    return "\r\n".join(lines).encode() + _END_OF_HEADERS


class Turn(NamedTuple):
    """What the server makes of what it has received on one connection."""

    answer: bytes
    rest: bytes
    """A request that is not complete yet."""
    over: bool
    """Whether the connection ends here."""


def take_turn(received: bytes, body: bytes) -> Turn:
    """Answer each request that is complete, up to the one that is the client's last."""
    *requests, rest = received.split(_END_OF_HEADERS)
    answer = b""
    for request in requests:
        last = b"connection: close" in request.lower() or b"HTTP/1.1" not in request
        answer += _response(request, body, last=last)
        if last:
            return Turn(answer, b"", over=True)
    return Turn(answer, rest, over=len(rest) > _LONGEST_REQUEST_BYTES)


def _response(request: bytes, body: bytes, *, last: bool) -> bytes:
    if request.startswith(b"GET "):
        return head(HTTPStatus.OK, len(body), last=last) + body
    if request.startswith(b"HEAD "):
        return head(HTTPStatus.OK, len(body), last=last)
    return head(HTTPStatus.METHOD_NOT_ALLOWED, 0, last=last)

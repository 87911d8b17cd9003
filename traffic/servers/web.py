"""The remote server's HTTP/1.1: bytes in, bytes out.

Not h11: a request costs it 38 µs, this 3, and it keeps an object for each of tens of thousands of connections.
"""

from __future__ import annotations

from http import HTTPStatus
import re
from typing import NamedTuple

__all__ = ["Answered", "answer", "head", "page"]

_END_OF_HEADERS = b"\r\n\r\n"
_LONGEST_REQUEST_BYTES = 16 << 10
_BEGINS = re.compile(rb"[A-Z]{1,16}(?: |\Z)")
"""A method, or the beginning of one (RFC 9110 section 9.1: all that are registered have capital letters)."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})", re.IGNORECASE)
"""Of more digits the first ones: that many bytes never come either, and Python refuses to read 5,000 digits."""


def page(name: str, hostname: str, client: str) -> bytes:
    """The page: which server was reached under which name, and the client's address as the server sees it."""
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


class Answered(NamedTuple):
    """What follows from the bytes that were received on a connection."""

    response: bytes
    rest: bytes
    """A request that is not complete yet."""
    is_last: bool
    """Whether the connection is to be closed."""


def answer(received: bytes, body: bytes) -> Answered:
    """Respond to each complete request, up to the one that the client says is its last.

    What cannot be the beginning of a request is no HTTP, and ends the connection.
    """
    response, rest = b"", received.lstrip(b"\r\n")  # an empty line is not meant (RFC 9112 section 2.2)
    while _BEGINS.match(rest):
        request, complete, after = rest.partition(_END_OF_HEADERS)
        content = _content_length(request)
        if not complete or len(after) < content:
            return Answered(response, rest, is_last=len(rest) > _LONGEST_REQUEST_BYTES)
        last = _is_last(request)
        response, rest = response + _response(request, body, last=last), after[content:]
        if last:
            return Answered(response, b"", is_last=True)
    return Answered(response, b"", is_last=bool(rest))


def _content_length(request: bytes) -> int:
    length = _LENGTH.search(request)
    return int(length[1]) if length else 0


def _is_last(request: bytes) -> bool:
    """Also where the end of a request cannot be told, because its body comes in chunks."""
    headers = request.lower()
    return b"connection: close" in headers or b"HTTP/1.1" not in request or b"\r\ntransfer-encoding:" in headers


def _response(request: bytes, body: bytes, *, last: bool) -> bytes:
    if request.startswith(b"GET "):
        return head(HTTPStatus.OK, len(body), last=last) + body
    if request.startswith(b"HEAD "):
        return head(HTTPStatus.OK, len(body), last=last)
    return head(HTTPStatus.METHOD_NOT_ALLOWED, 0, last=last)

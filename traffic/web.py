"""The remote server's HTTP/1.1, as bytes: no socket, no clock."""

from __future__ import annotations

from http import HTTPStatus

__all__ = ["END_OF_HEADERS", "head"]

END_OF_HEADERS = b"\r\n\r\n"


def head(status: HTTPStatus, length: int, *, last: bool) -> bytes:
    """A response up to its body of `length` bytes; `last` announces the end of the connection."""
    lines = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {length}",
        f"Connection: {'close' if last else 'keep-alive'}",
    )
    return "\r\n".join(lines).encode() + END_OF_HEADERS

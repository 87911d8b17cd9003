"""What clients send to a server and when they take its answer for complete, the same with every engine."""

from __future__ import annotations

import re

__all__ = ["DATAGRAM", "is_complete", "request_text"]

DATAGRAM = b"is anybody there?\n"
"""Payload of a UDP flow; the server echoes it."""

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


def request_text(hostname: str) -> bytes:
    """A real HTTP request, so that captures can be read."""
    return f"GET / HTTP/1.1\r\nHost: {hostname}\r\n\r\n".encode()


def is_complete(received: bytes) -> bool:
    """Whether this is a whole response; without a content length it ends with its head (RFC 9112 section 6)."""
    head, end_of_head, body = received.partition(_END_OF_HEAD)
    if not end_of_head:
        return False
    length = _LENGTH.search(head)
    return length is None or len(body) >= int(length[1])

"""When an HTTP response is complete, told from its bytes: no socket, no clock."""

from __future__ import annotations

import re

__all__ = ["is_complete"]

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)


def is_complete(received: bytes) -> bool:
    """Whether this is a whole response; one that does not tell its length ends with its head (RFC 9112 section 6)."""
    head, end_of_head, body = received.partition(_END_OF_HEAD)
    if not end_of_head:
        return False
    length = _LENGTH.search(head)
    return length is None or len(body) >= int(length[1])

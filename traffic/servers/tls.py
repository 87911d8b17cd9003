"""The server's side of TLS: how a ClientHello differs from HTTP, and the certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from traffic.tls import Session

__all__ = ["HELLO_BYTES", "Certificate", "begins_hello"]

_CLIENT_HELLO = ((0x16, 0x16), (3, 3), (0, 4), (0, 0x40), (0, 0xFF), (1, 1))
"""The least and the most that each of the first bytes may be: a record of the type handshake, of SSL 3.0 to TLS 1.3,
of up to 2^14 bytes, and in it a ClientHello (RFC 8446 sections 5.1 and 4)."""
HELLO_BYTES = len(_CLIENT_HELLO)
"""Bytes after which it is certain whether it is a ClientHello."""


def begins_hello(start: bytes) -> bool:
    """Whether the first bytes of a connection can be those of a ClientHello; none are not."""
    return bool(start) and all(low <= byte <= high for byte, (low, high) in zip(start, _CLIENT_HELLO, strict=False))


class Certificate:
    """The server's certificate with its key, in a file; read when the first client speaks TLS, and when it has changed.

    Without a file the server has no TLS, and does not load OpenSSL.
    """

    def __init__(self, path: str | None) -> None:
        if path is not None:
            import traffic.tls  # noqa: F401, PLC0415  # now: once root is given up it may be out of reach
        self._path = path
        self._version: tuple[int, int] | None = None
        self._context: ssl.SSLContext | None = None

    def session(self) -> Session | None:
        """A session for a connection that has begun with a ClientHello; None where there is no certificate."""
        from traffic.tls import Session  # noqa: PLC0415

        context = self._current()
        return None if context is None else Session(context)

    def _current(self) -> ssl.SSLContext | None:
        if self._path is None:
            return None
        status = Path(self._path).stat()
        version = status.st_ino, status.st_mtime_ns
        if self._context is None or version != self._version:
            self._context, self._version = _context(self._path), version
        return self._context


def _context(path: str) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.set_alpn_protocols(["http/1.1"])
    context.num_tickets = 0  # no client resumes a session: 0.5 KB less for each, and no state
    return context

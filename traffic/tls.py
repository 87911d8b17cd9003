"""TLS of one connection, without its socket: records that were received in, records to send out.

The server and the clients of the socket engine keep their sockets as they are without TLS, and a session beside each.
"""

from __future__ import annotations

from contextlib import suppress
import ssl

from traffic.result import NOT_TLS

__all__ = ["Session"]

_READ_BYTES = 16 << 10  # a record has no more (RFC 8446 section 5.1)
_NO_RECORDS = ("WRONG_VERSION_NUMBER", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
"""OpenSSL's reasons where the bytes are no TLS records; text has other bytes where a record has its version."""


class Session:
    """One end of a TLS connection: the server's, or that of a client which expects the certificate of a hostname."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "ended", "established", "failure")

    def __init__(self, context: ssl.SSLContext, hostname: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, hostname is None, hostname)
        self.established = False
        """Whether the handshake is complete, the other end's certificate verified."""
        self.ended = False
        """Whether the other end has sent its last record (close_notify)."""
        self.failure: str | None = None
        """Why it cannot go on; `records` then returns the alert for the other end."""

    def receive(self, records: bytes) -> bytes:
        """Take in what was received, and go on with the handshake; the plaintext that has become complete."""
        self._incoming.write(records)
        plaintext = b""
        try:
            if not self.established:
                self._tls.do_handshake()
                self.established = True
            while data := self._tls.read(_READ_BYTES):
                plaintext += data
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.failure = _words(error)
        return plaintext

    def send(self, plaintext: bytes) -> None:
        """Encrypt; `records` has the result."""
        self._tls.write(plaintext)

    def close(self) -> None:
        """Write a close_notify, without waiting for the other end's."""
        with suppress(ssl.SSLError):  # there is no close_notify of the other end yet, or the handshake is not complete
            self._tls.unwrap()

    def records(self) -> bytes:
        """What is to be sent to the other end."""
        return self._outgoing.read()


def _words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message.rstrip('.')}"
    if error.reason in _NO_RECORDS:
        return NOT_TLS
    return (error.reason or type(error).__name__).lower().replace("_", " ")

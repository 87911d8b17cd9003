"""TLS handshakes that failed, in words. Pure.

A handshake follows on an established connection, so what fails it is not what limits connections.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.result import BurstResult
from lab.nodes.diagnosis import SEE_FAULTS
from traffic.result import CONNECTION_ENDED, HELLO_IGNORED, HELLO_LOST, NOT_TLS, TlsCount

__all__ = ["explanation", "failed", "headline", "remedies", "summary"]

_MECHANISMS = {
    HELLO_IGNORED: "The server's kernel acknowledged the ClientHello, so nothing on the way dropped it: its program is "
    "silent, as one that waits for another protocol is, or it is overloaded.",
    HELLO_LOST: "The ClientHello was retransmitted until the clients gave up: it, or its acknowledgement, is dropped "
    "on the way, after the connection was established.",
    NOT_TLS: "The server answered the ClientHello in another protocol, as a plain HTTP server does.",
    CONNECTION_ENDED: "A FIN or RST came in place of an answer, as from a server that expects another protocol or "
    "turns clients away.",
}
_REMEDIES = {
    HELLO_IGNORED: "See what the server speaks on its port: lab exec FUNCTION -- curl -v https://HOSTNAME:PORT/; "
    "without TLS there, leave --tls out.",
    HELLO_LOST: SEE_FAULTS,
    NOT_TLS: "Have the server speak TLS on its port, or leave --tls out.",
    CONNECTION_ENDED: "See in the server's log why it ends connections, and whether it speaks TLS on its port.",
}


def failed(result: BurstResult | None) -> int:
    """How many handshakes failed."""
    return result.tls.failed if result and result.tls else 0


def summary(result: BurstResult) -> Iterator[str]:
    """How many handshakes failed, and why, each reason in a sentence; nothing where none did."""
    if result.tls is None or not result.tls.failed:
        return
    yield f"{headline(result)}."
    yield from _reasons(result.tls)


def headline(result: BurstResult) -> str:
    """How many handshakes failed, and the most frequent reason."""
    tls = result.tls
    if tls is None or not tls.failures:
        raise ValueError("no TLS handshake failed")
    handshakes = "TLS handshake" if tls.attempted == 1 else "TLS handshakes"
    return f"{tls.failed:,} of {tls.attempted:,} {handshakes} failed: {next(iter(tls.failures))}"


def explanation(result: BurstResult) -> Iterator[str]:
    """Why it is no limit, and what is known of each reason."""
    if result.tls is None:
        return
    yield from _reasons(result.tls)
    yield "Their connections were established: limits drop SYNs, and have no part in this."
    yield from (_MECHANISMS[reason] for reason in result.tls.failures if reason in _MECHANISMS)


def _reasons(tls: TlsCount) -> Iterator[str]:
    """Each reason with its number, where there are several."""
    if len(tls.failures) > 1:
        yield from (f"{number:,} of them: {reason}." for reason, number in tls.failures.items())


def remedies(result: BurstResult) -> Iterator[str]:
    """What helps against each reason; those that OpenSSL gives are about the server's certificate or its settings."""
    reasons = result.tls.failures if result.tls else {}
    yield from (_REMEDIES[reason] for reason in reasons if reason in _REMEDIES)
    if reasons.keys() - _REMEDIES.keys():
        yield (
            "Clients trust the lab's own authority only. It has made a certificate for each server, which a real "
            f"program can serve, with its key in the same file: /run/lab/{result.lab}/tls/SERVER.pem."
        )

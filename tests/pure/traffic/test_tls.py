"""Both ends of TLS, without sockets."""

from __future__ import annotations

import ssl

import pytest
import trustme

from traffic.result import NOT_TLS
from traffic.tls import Session

NAME = "cache.example.com"
AUTHORITY = trustme.CA()


def _client(authority: trustme.CA = AUTHORITY) -> Session:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return Session(context, NAME)


def _server(*names: str) -> Session:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert(*names or (NAME,)).configure_cert(context)
    return Session(context)


def _talk(client: Session, server: Session, piece: int = 1 << 14) -> None:
    """Carry records both ways, in pieces of so many bytes, until neither has more to say."""
    client.receive(b"")
    while records := [(server, client.records()), (client, server.records())]:
        if not any(sent for _, sent in records):
            return
        for receiver, sent in records:
            for start in range(0, len(sent), piece):
                receiver.receive(sent[start : start + piece])


@pytest.mark.parametrize("piece", [1, 7, 1 << 14])
def test_a_conversation(piece: int) -> None:
    """After the handshake, in whatever pieces it comes, each end reads what the other has written."""
    client, server = _client(), _server()
    _talk(client, server, piece)
    assert client.established
    assert server.established
    client.send(b"GET")
    assert server.receive(client.records()) == b"GET"
    server.send(b"page" * 10_000)
    assert client.receive(server.records()) == b"page" * 10_000


def test_the_end() -> None:
    """An end that says that it sends no more has ended for the other one, after what came before."""
    client, server = _client(), _server()
    _talk(client, server)
    client.send(b"GET")
    client.close()
    assert server.receive(client.records()) == b"GET"
    assert server.ended
    assert server.failure is None


@pytest.mark.parametrize(
    ("client", "server", "reason"),
    [
        (_client(trustme.CA()), _server(), "unable to get local issuer certificate"),
        (
            _client(),
            _server("store.example.com"),
            "Hostname mismatch, certificate is not valid for 'cache.example.com'",
        ),
    ],
    ids=["another authority's", "another name's"],
)
def test_a_certificate_that_is_not_accepted(client: Session, server: Session, reason: str) -> None:
    """The client says why, and tells the server, which cannot go on either."""
    _talk(client, server)
    assert client.failure == f"the certificate is not accepted: {reason}"
    assert server.failure is not None
    assert not client.established


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR unknown command\r\n"])
def test_an_answer_that_is_not_tls(answer: bytes) -> None:
    """A server that answers in another protocol is told from one whose TLS fails."""
    client = _client()
    client.receive(b"")
    client.receive(answer)
    assert client.failure == NOT_TLS

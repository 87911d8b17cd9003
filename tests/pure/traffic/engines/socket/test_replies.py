"""What a socket engine reads: HTTP responses and DNS answers."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from traffic.dns import Zone, encode_query
from traffic.engines.payloads import is_complete
from traffic.engines.socket.answers import read_answer
from traffic.servers.web import head

RESPONSE = head(HTTPStatus.OK, 5, last=False) + b"hello"
ZONE = Zone({"cache.example.com": ["203.0.113.10"]}, 60)


@pytest.mark.parametrize("length", range(len(RESPONSE)))
def test_incomplete(length: int) -> None:
    """Nothing short of the whole response is one."""
    assert not is_complete(RESPONSE[:length])


@pytest.mark.parametrize(
    "received", [RESPONSE, RESPONSE.upper(), b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nhello"]
)
def test_complete(received: bytes) -> None:
    """A response is complete with its body, or with its head if that tells no length."""
    assert is_complete(received)


def _answer(hostname: str) -> bytes:
    answer = ZONE.reply(encode_query(hostname))
    assert answer is not None
    return answer


def test_address() -> None:
    """The name server's answer has the address."""
    answer = read_answer(_answer("cache.example.com"))
    assert answer is not None
    assert answer.addresses == (0xCB00710A,)


@pytest.mark.parametrize("answer", [_answer("nobody.example.com"), b"", bytes(12), b"\xff" * 40])
def test_no_address(answer: bytes) -> None:
    """NXDOMAIN, an empty message and nonsense have none."""
    read = read_answer(answer)
    assert read is None or not read.addresses

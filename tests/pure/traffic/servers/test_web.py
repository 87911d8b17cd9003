"""The remote server's HTTP, byte by byte."""

from __future__ import annotations

import pytest

from traffic.servers.web import Answered, answer, page

BODY = page("cache", "cache.example.com", "198.51.100.1:40000")
GET, HEAD, LAST = (b"GET / HTTP/1.1\r\nHost: c\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n")


def _answer(received: bytes) -> tuple[str, list[str], str]:
    """Status line, headers and body of the one answer to what has been received."""
    header, body = answer(received, BODY).response.decode().split("\r\n\r\n")
    status, *headers = header.split("\r\n")
    return status, headers, body


def test_the_page() -> None:
    """A GET is answered by a page that says whom the client reached, and as whom."""
    status, headers, body = _answer(GET)
    assert status == "HTTP/1.1 200 OK"
    assert body == "server: cache\nhostname: cache.example.com\nclient: 198.51.100.1:40000\n"
    assert f"Content-Length: {len(body)}" in headers
    assert "Content-Type: text/plain; charset=utf-8" in headers


def test_head() -> None:
    """A HEAD gets the header of the page alone."""
    assert _answer(HEAD) == (*_answer(GET)[:2], "")


def test_other_methods() -> None:
    """Any other method is refused, and the connection goes on."""
    status, headers, body = _answer(b"POST / HTTP/1.1\r\n\r\n")
    assert (status, body) == ("HTTP/1.1 405 Method Not Allowed", "")
    assert "Connection: keep-alive" in headers


@pytest.mark.parametrize(
    ("request_", "over"),
    [(GET, False), (LAST, True), (b"GET / HTTP/1.1\r\nCONNECTION: Close\r\n\r\n", True)],
    ids=["HTTP/1.1", "HTTP/1.0", "Connection: close"],
)
def test_keep_alive(request_: bytes, *, over: bool) -> None:
    """HTTP/1.1 goes on unless the client says that it is over; the header says the same."""
    assert answer(request_, BODY).is_last is over
    assert f"Connection: {'close' if over else 'keep-alive'}" in _answer(request_)[1]


def test_requests_in_a_row() -> None:
    """Requests that come together are answered together; the beginning of the next one is kept."""
    one = answer(GET, BODY).response
    assert answer(GET + GET + GET[:10], BODY) == Answered(one + one, GET[:10], is_last=False)


def test_nothing_follows_the_last_request() -> None:
    """What comes after a client's last request is not answered."""
    assert answer(LAST + GET, BODY) == answer(LAST, BODY)


@pytest.mark.parametrize("end", range(len(GET)))
def test_half_a_request(end: int) -> None:
    """A request gets no answer before its last byte."""
    assert answer(GET[:end], BODY) == Answered(b"", GET[:end], is_last=False)


def test_a_request_without_an_end() -> None:
    """More than 16 KB without the end of a request end the connection."""
    assert not answer(b"x" * (16 << 10), BODY).is_last
    assert answer(b"x" * (16 << 10) + b"x", BODY).is_last

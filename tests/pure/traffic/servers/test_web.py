"""The remote server's HTTP, byte by byte."""

from __future__ import annotations

import pytest

from traffic.servers.web import Answered, answer, page

BODY = page("cache", "cache.example.com", "198.51.100.1:40000")
GET, HEAD, LAST = (b"GET / HTTP/1.1\r\nHost: c\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n")

POST = b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nGET "


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


@pytest.mark.parametrize("request_", [b"POST / HTTP/1.1\r\n\r\n", POST], ids=["empty", "with a body"])
def test_other_methods(request_: bytes) -> None:
    """Any other method is refused, and the connection goes on."""
    status, headers, body = _answer(request_)
    assert (status, body) == ("HTTP/1.1 405 Method Not Allowed", "")
    assert "Connection: keep-alive" in headers


def test_a_body_is_no_request() -> None:
    """A request is not complete before its body, which is not taken for the next request."""
    refused, page_ = answer(POST, BODY).response, answer(GET, BODY).response
    assert answer(POST[:-1], BODY) == Answered(b"", POST[:-1], is_last=False)
    assert answer(POST + GET, BODY) == Answered(refused + page_, b"", is_last=False)


def test_a_body_in_chunks() -> None:
    """Where a body ends that comes in chunks is not looked for: its request is the last."""
    assert answer(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello", BODY).is_last


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
    begun = b"GET /".ljust(16 << 10, b"x")
    assert not answer(begun, BODY).is_last
    assert answer(begun + b"x", BODY).is_last


@pytest.mark.parametrize(
    "said",
    [b"*1\r\n$4\r\nPING\r\n", b"PING\r\n", b"SSH-2.0-x\r\n", b"\x00\x00\x00\x08", b"get / HTTP/1.1\r\n", b"A" * 17],
)
def test_what_is_no_http(said: bytes) -> None:
    """Bytes that cannot be the beginning of a request end the connection, without an answer and without waiting."""
    assert answer(said, BODY) == Answered(b"", b"", is_last=True)


def test_an_empty_line_before_a_request() -> None:
    """It is not meant for anybody."""
    assert answer(b"\r\n" + GET, BODY) == answer(GET, BODY)
    assert answer(b"\r\n", BODY) == Answered(b"", b"", is_last=False)


def test_a_length_beyond_all_numbers() -> None:
    """A body that is announced with more digits than Python reads is waited for as any other that is too long."""
    begun = b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n"
    assert answer(begun, BODY) == Answered(b"", begun, is_last=False)

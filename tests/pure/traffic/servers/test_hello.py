"""What tells a ClientHello from everything else by its first bytes."""

from __future__ import annotations

import ssl

import pytest

from traffic.servers.tls import HELLO_BYTES, begins_hello
from traffic.tls import Session


def _hello() -> bytes:
    client = Session(ssl.create_default_context(), "cache.example.com")
    client.receive(b"")
    return client.records()


@pytest.mark.parametrize("length", range(1, HELLO_BYTES + 1))
def test_a_hello_in_pieces(length: int) -> None:
    """However few bytes have come, OpenSSL's ClientHello can be one."""
    assert begins_hello(_hello()[:length])


@pytest.mark.parametrize("place", range(HELLO_BYTES))
@pytest.mark.parametrize("start", [b"\x16\x03\x01\x02\x00\x01"])
def test_not_a_hello(start: bytes, place: int) -> None:
    """One byte that a ClientHello cannot have there is enough; the second byte of a length can be anything."""
    garbled = bytearray(start)
    garbled[place] = 0xFF
    assert begins_hello(bytes(garbled)) is (place == 4)


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\n\r\n", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_others(start: bytes) -> None:
    """Nothing, HTTP, and a record of another type are none."""
    assert not begins_hello(start)

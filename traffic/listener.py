"""The remote server for real clients: a small page that says whom they reached and as whom, and UDP echo."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast

from traffic.web import END_OF_HEADERS, head

__all__ = ["UdpEcho", "WebPage", "page"]

_LONGEST_REQUEST_BYTES = 16 << 10


def page(name: str, hostname: str, client: str) -> str:
    """What a client reads."""
    return f"server: {name}\nhostname: {hostname}\nclient: {client}\n"


class WebPage(asyncio.Protocol):
    """One client's connection, held as long as the client likes: burst clients connect and say nothing."""

    def __init__(self, name: str, hostname: str) -> None:
        self._name, self._hostname = name, hostname
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note who came."""
        self._transport = cast("asyncio.Transport", transport)
        host, port = transport.get_extra_info("peername")
        self._client = f"{host}:{port}"

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._received += data
        while (end := self._received.find(END_OF_HEADERS)) >= 0:
            request = bytes(self._received[:end])
            del self._received[: end + len(END_OF_HEADERS)]
            self._answer(request)
        if len(self._received) > _LONGEST_REQUEST_BYTES:
            self._transport.close()

    def _answer(self, request: bytes) -> None:
        last = b"connection: close" in request.lower() or b"HTTP/1.1" not in request
        good = request.startswith((b"GET ", b"HEAD "))
        status = HTTPStatus.OK if good else HTTPStatus.METHOD_NOT_ALLOWED
        body = page(self._name, self._hostname, self._client).encode() if good else b""
        header = head(status, len(body), last=last)
        self._transport.write(header if request.startswith(b"HEAD ") else header + body)
        if last:
            self._transport.close()


class UdpEcho(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket to answer on."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send it back."""
        self._transport.sendto(data, addr)

"""A remote server: replies to the engines' frames, and real sockets for real clients."""

from __future__ import annotations

import asyncio
from functools import partial
import resource
from typing import TYPE_CHECKING, cast

from traffic.servers import listeners, responder
from traffic.servers.service import BACKLOG, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.spec import ServerSpec

__all__ = ["run"]


def run(spec: ServerSpec) -> None:
    """Answer as a remote server until SIGTERM."""
    reply = responder.response(spec.name)
    respond = partial(
        responder.respond,
        addresses=[int(address) for address in spec.addresses],
        port=spec.port,
        reply=reply,
        turned_away=[int(address) for address in spec.turned_away or ()],
    )
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(serve(spec, spec.addresses, respond, UdpEcho, partial(_serve_pages, spec)))


async def _serve_pages(spec: ServerSpec) -> Callable[[], object]:
    listener, loop = listeners.listen(spec), asyncio.get_running_loop()
    loop.add_reader(listener.fileno(), listener.work)
    for address in spec.turned_away or ():
        # Beside the server's own socket, which is bound to no address where there are several.
        await loop.create_server(TurnedAway, str(address), spec.port, backlog=BACKLOG, reuse_port=True)
    return lambda: loop.remove_reader(listener.fileno())


class UdpEcho(asyncio.DatagramProtocol):
    """The server over UDP, for real clients: sends each datagram back."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket to answer on."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Send one datagram back to its source."""
        self._transport.sendto(data, addr)


class TurnedAway(asyncio.Protocol):
    """A connection too many, of a real client: gets a FIN at once, and is closed when the client closes it.

    Until then what it sends is read and forgotten: a socket that is closed with data unread sends a RST instead (RFC
    2525 section 2.17), and which of the two would depend on who was faster.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the FIN."""
        cast("asyncio.Transport", transport).write_eof()

"""The long-running processes, resolver and server: one asyncio loop each, over a ring and real sockets."""

from __future__ import annotations

import asyncio
import errno
from functools import partial
import logging
import resource
import signal
import socket
from typing import TYPE_CHECKING, cast

from traffic import dns
from traffic.dns import Answers, Zone
from traffic.events import emit
from traffic.ring import Ring
from traffic.servers import listeners, responder

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from ipaddress import IPv4Address

    import numpy as np
    from numpy.typing import NDArray

    from traffic.frames import Batch
    from traffic.servers.responder import Replies
    from traffic.spec import ResolverSpec, ServerSpec

    Responder = Callable[[Batch, NDArray[np.uint32]], Iterable[Replies]]
    UdpService = Callable[[], asyncio.DatagramProtocol]
    TcpService = Callable[[], Awaitable[Callable[[], object]]]
    """Begins to listen, and returns what ends it."""

__all__ = ["run_resolver", "run_server"]

_log = logging.getLogger(__name__)

_BACKLOG = 65_535  # as much as net.core.somaxconn allows: whole bursts of real clients come at once
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_WAITING_BYTES = 64 << 20
"""Room for 60,000 small datagrams at once. The usual 208 KB (net.core.rmem_default) hold 277; the rest is dropped."""
_BATCHES = 8
"""How much of the ring is answered at a time: some milliseconds' work, then real sockets have their turn."""


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


def run_resolver(spec: ResolverSpec) -> None:
    """Serve DNS until SIGTERM."""
    zone = Zone(spec.records, spec.ttl_s, truncates=spec.truncate)
    answers = Answers(zone, spec.records, int(spec.address), spec.port)
    udp, tcp = partial(dns.UdpService, zone), partial(_serve_names, spec, zone)
    asyncio.run(_serve(spec, (spec.address,), answers.respond, udp, tcp))


def run_server(spec: ServerSpec) -> None:
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
    asyncio.run(_serve(spec, spec.addresses, respond, UdpEcho, partial(_serve_pages, spec)))


async def _serve_names(spec: ResolverSpec, zone: Zone) -> Callable[[], object]:
    server = await asyncio.start_server(partial(dns.serve_tcp, zone), str(spec.address), spec.port, backlog=_BACKLOG)
    return server.close


async def _serve_pages(spec: ServerSpec) -> Callable[[], object]:
    listener, loop = listeners.listen(spec), asyncio.get_running_loop()
    loop.add_reader(listener.fileno(), listener.work)
    for address in spec.turned_away or ():
        # Beside the server's own socket, which is bound to no address where there are several.
        await loop.create_server(TurnedAway, str(address), spec.port, backlog=_BACKLOG, reuse_port=True)
    return lambda: loop.remove_reader(listener.fileno())


async def _serve(
    spec: ResolverSpec | ServerSpec,
    addresses: Iterable[IPv4Address],
    respond: Responder,
    udp: UdpService,
    tcp: TcpService,
) -> None:
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    transports = []
    for address in addresses:
        transport, _ = await loop.create_datagram_endpoint(udp, local_addr=(str(address), spec.port))
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _WAITING_BYTES)
        transports.append(transport)
    end_tcp = await tcp()
    with Ring(spec.interface) as ring:
        loop.add_reader(ring.fileno(), _drain, ring, respond, terminated)
        emit("ready")
        await terminated.wait()
        loop.remove_reader(ring.fileno())
        count, is_orphaned = ring.count(), not ring.has_interface
    end_tcp()
    for transport in transports:
        transport.close()
    if is_orphaned:
        raise OSError(errno.ENODEV, f"the interface {spec.interface} is gone")
    if count.dropped:
        _log.warning("the ring on %s had no room for %d frames", spec.interface, count.dropped)


def _drain(ring: Ring, respond: Responder, terminated: asyncio.Event) -> None:
    """Answer frames that wait; whatever is left keeps the ring readable.

    While the link is down nothing comes and nothing goes; the kernel attaches the socket again when it is up.
    """
    for _ in range(_BATCHES):
        batch, lengths = ring.receive()
        if not len(batch):
            if ring.take_error() and not ring.has_interface:
                terminated.set()
            return
        for replies in respond(batch, lengths):
            try:
                ring.send(replies.frames, replies.lengths)
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise

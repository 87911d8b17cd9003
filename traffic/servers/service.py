"""A long-running process, resolver or server: one asyncio loop over a ring and real sockets."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from typing import TYPE_CHECKING

from traffic.buffers import make_room
from traffic.events import emit
from traffic.privileges import give_up
from traffic.ring import Ring

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

__all__ = ["BACKLOG", "serve"]

_log = logging.getLogger(__name__)

BACKLOG = 65_535  # as much as net.core.somaxconn allows: whole bursts of real clients come at once
_WAITING_BYTES = 64 << 20
"""Room for 60,000 small datagrams at once. The usual 208 KB (net.core.rmem_default) hold 277; the rest is dropped."""
_BATCHES = 8
"""How much of the ring is answered at a time: some milliseconds' work, then real sockets have their turn."""


async def serve(
    spec: ResolverSpec | ServerSpec,
    addresses: Iterable[IPv4Address],
    respond: Responder,
    udp: UdpService,
    tcp: TcpService,
) -> None:
    """Answer frames of the ring by `respond`, real clients by `udp` and `tcp`, until SIGTERM; OSError without link."""
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    transports = []
    for address in addresses:
        transport, _ = await loop.create_datagram_endpoint(udp, local_addr=(str(address), spec.port))
        make_room(transport.get_extra_info("socket"), socket.SO_RCVBUF, _WAITING_BYTES)
        transports.append(transport)
    end_tcp = await tcp()
    with Ring(spec.interface) as ring:
        loop.add_reader(ring.fileno(), _drain, ring, respond, terminated)
        give_up()
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

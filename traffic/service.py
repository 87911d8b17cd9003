"""The long-running processes, resolver and server: each one asyncio loop over a ring and real sockets."""

from __future__ import annotations

import asyncio
from functools import partial
import logging
import resource
import signal
from typing import TYPE_CHECKING

from traffic import responder
from traffic.dns import Answers, TcpService, UdpService, Zone
from traffic.events import emit
from traffic.listener import UdpEcho, WebPage
from traffic.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    from numpy.typing import NDArray

    from traffic.frames import Batch
    from traffic.responder import Replies
    from traffic.spec import ResolverSpec, ServerSpec

    Responder = Callable[[Batch, NDArray[np.uint32]], Iterable[Replies]]
    Protocols = tuple[Callable[[], asyncio.DatagramProtocol], Callable[[], asyncio.Protocol]]

__all__ = ["run_resolver", "run_server"]

_log = logging.getLogger(__name__)

_BACKLOG = 65_535  # as much as net.core.somaxconn allows: whole bursts of real clients come at once


def run_resolver(spec: ResolverSpec) -> None:
    """Serve DNS until SIGTERM."""
    zone = Zone(spec.records, spec.ttl_s)
    answers = Answers(zone, spec.records, int(spec.address), spec.port)
    protocols = partial(UdpService, zone), partial(TcpService, zone)
    asyncio.run(_serve(spec, answers.respond, protocols))


def run_server(spec: ServerSpec) -> None:
    """Answer as a remote server until SIGTERM."""
    reply = responder.response(spec.name)
    respond = partial(responder.respond, address=int(spec.address), port=spec.port, reply=reply)
    protocols = UdpEcho, partial(WebPage, spec.name, spec.hostname)
    _raise_descriptor_limit()
    asyncio.run(_serve(spec, respond, protocols))


async def _serve(spec: ResolverSpec | ServerSpec, respond: Responder, protocols: Protocols) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    here = str(spec.address), spec.port
    datagram, stream = protocols
    transport, _ = await loop.create_datagram_endpoint(datagram, local_addr=here)
    server = await loop.create_server(stream, *here, backlog=_BACKLOG)
    with Ring(spec.interface) as ring:
        loop.add_reader(ring.fileno(), _drain, ring, respond)
        emit("ready")
        await over.wait()
        loop.remove_reader(ring.fileno())
        count = ring.count()
    server.close()
    transport.close()
    if count.dropped:
        _log.warning("the ring on %s had no room for %d frames", spec.interface, count.dropped)


def _drain(ring: Ring, respond: Responder) -> None:
    """Answer every frame that waits."""
    while True:
        batch, lengths = ring.receive()
        if not len(batch):
            return
        for replies in respond(batch, lengths):
            ring.send(replies.frames, replies.lengths)


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

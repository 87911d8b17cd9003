"""The name server of the service VPC: dnspython's answers, to the engines' frames and to real clients."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from traffic import dns
from traffic.servers.service import BACKLOG, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.spec import ResolverSpec

__all__ = ["run"]


def run(spec: ResolverSpec) -> None:
    """Serve DNS until SIGTERM."""
    zone = dns.Zone(spec.records, spec.ttl_s, truncates=spec.truncate)
    answers = dns.Answers(zone, spec.records, int(spec.address), spec.port)
    udp, tcp = partial(dns.UdpService, zone), partial(_serve_tcp, spec, zone)
    asyncio.run(serve(spec, (spec.address,), answers.respond, udp, tcp))


async def _serve_tcp(spec: ResolverSpec, zone: dns.Zone) -> Callable[[], object]:
    server = await asyncio.start_server(partial(dns.serve_tcp, zone), str(spec.address), spec.port, backlog=BACKLOG)
    return server.close

"""A remote server: one public address that two owners share.

Frames with the packet engine's DSCP belong to the stateless responder on the ring; everything else belongs to the
kernel and whatever listens there, the lab's small web page or a real program.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.plan.addressing import INTERNET_ROUTER
from lab.plan.layout import Layout, ServerLayout
from lab.plan.nodes import parts
from lab.plan.objects import NodePlan, Process, ServerPlan, Sysctl
from traffic.spec import ServerSpec

__all__ = ["plan"]

_WAITING = 65_535
"""Connections that may wait to be accepted: a fleet connects faster than a program accepts, and beyond this number
the kernel drops SYNs in silence (tcp_conn_request), as a limit would. A namespace begins with 4,096 (ip-sysctl.rst)."""


def plan(layout: Layout) -> Iterator[parts.Part]:
    """All remote servers."""
    for each in layout.servers:
        server = each.server
        yield from parts.namespace(each.namespace)
        yield parts.veth(each.internet)
        yield parts.own_address(each.internet.near, server.address)
        yield from parts.through(each.internet, parts.ANYWHERE, INTERNET_ROUTER)
        yield parts.ring_owns_marked(each.namespace)
        yield Sysctl(each.namespace, "net.core.somaxconn", str(_WAITING))
        yield Process(each.namespace, "server", _spec(each).to_json())
        yield NodePlan(each.node, "server", each.namespace, (str(server.address),), alias=server.name)
        yield ServerPlan(server.name, server.hostname, server.address, server.port)


def _spec(each: ServerLayout) -> ServerSpec:
    return ServerSpec(
        interface=each.internet.near.interface,
        address=each.server.address,
        port=each.server.port,
        name=each.server.name,
        hostname=each.server.hostname,
    )

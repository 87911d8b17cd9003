"""A server: addresses, public or in a VPC's subnet, and on its port at each of them the lab's own or a real program.

The lab's own shares the address: frames with the packet engine's DSCP belong to the stateless responder on the ring,
all others to the kernel and the lab's small web page. With `embedded: false` all belong to the kernel and to whatever
listens there, nginx for one.

A server with `max_connections` has a front (`lab.nodes.server_front`), which counts them.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan.layout import Layout
from lab.plan.names import authority_file, certificate_file
from lab.plan.objects import Certificate, NodePlan, Process, ServerPlan, Sysctl
from traffic.spec import ServerSpec

__all__ = ["plan"]

_WAITING = 65_535
"""Connections that may wait to be accepted: a fleet connects faster than a program accepts, and beyond this number
the kernel drops SYNs in silence (tcp_conn_request), as a limit would. A namespace begins with 4,096 (ip-sysctl.rst)."""


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all remote servers."""
    for laid_out in layout.servers:
        server, known_as = laid_out.server, layout.addresses_of(laid_out.server)
        certificate = certificate_file(layout.lab, server.name)
        yield from parts.namespace(laid_out.namespace)
        yield parts.veth(laid_out.port)
        yield from (parts.own_address(laid_out.port.near, address) for address in laid_out.addresses)
        yield from parts.through(laid_out.port, parts.ANYWHERE, laid_out.next_hop)
        yield Sysctl(laid_out.namespace, "net.core.somaxconn", str(_WAITING))
        # A real program may use the certificate, too.
        addresses = tuple(dict.fromkeys((*laid_out.own_addresses, *known_as)))
        yield Certificate(certificate, authority_file(layout.lab), server.hostname, addresses)
        if server.embedded:
            yield parts.ring_owns_marked(laid_out.namespace)
            spec = ServerSpec(
                interface=laid_out.port.near.interface,
                addresses=laid_out.own_addresses,
                port=server.port,
                name=server.name,
                hostname=server.hostname,
                turned_away=laid_out.turned_away or None,
                certificate=certificate,
            )
            yield Process(laid_out.namespace, "server", spec.to_json())
        else:
            # What answers a SYN bears its DSCP, or the packet engine's rings would not see it (ip-sysctl.rst, since
            # Linux 5.10; a RST does so anyway, tcp_ipv4.c).
            yield Sysctl(laid_out.namespace, "net.ipv4.tcp_reflect_tos", "1")
        addresses_shown = tuple(map(str, laid_out.own_addresses))
        yield NodePlan(laid_out.node, "server", laid_out.namespace, addresses_shown, alias=server.name)
        yield ServerPlan(server.name, server.hostname, known_as, server.port)

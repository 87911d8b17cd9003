"""The service VPC: a bridge that joins fleets, the resolver if it is here, and the Hyperplane ENIs' inner ports.

Where clients that are no functions ask the resolver, their VPC's router has a port here, for that alone.

The bridge is told the MAC address behind each port. One that still has to learn sends frames to every port:
thousands of a burst's first questions would be copied to every ENI, and captures there would show what is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan.layout import Layout
from lab.plan.objects import Bridge, BridgePort, NodePlan, Sysctl
from lab.schema.names import SERVICE_VPC

__all__ = ["plan"]

_BRIDGE = "segment"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """One bridge; its ports are the far ends of everyone's links."""
    links = (
        *(fleet.service for fleet in layout.fleets),
        *((layout.resolver.link,) if layout.resolver.subnet is None else ()),
        *(egress.service for egress in layout.egress),
        *(eni.service for eni in layout.enis),
        *(vpc.service for vpc in layout.vpcs if vpc.service),
    )
    yield from parts.namespace(layout.service)
    # With br_netfilter loaded (Docker does) bridged frames would visit the IP hooks as well.
    yield Sysctl(layout.service, "net.bridge.bridge-nf-call-iptables", "0", optional=True)
    yield Bridge(layout.service, _BRIDGE)
    yield from (BridgePort(layout.service, _BRIDGE, link.far.interface, link.near.mac) for link in links)
    yield NodePlan(SERVICE_VPC, "service_vpc", layout.service, (str(layout.topology.service_vpc.cidr),))

"""A Hyperplane ENI: NAT from the service VPC into a customer subnet, with a limit that no metric shows.

The limit is total (all destinations, TCP and UDP together), as the article observed it. New connections are admitted
from the service VPC only ("VPC-to-VPC NAT", AWS Lambda Developer Guide, "Lambda networking"), TCP and UDP only.
65,000 connections behind one address leave the kernel no slack to search for ports, so every execution environment
brings a block of source ports of its own (RFC 7422) and the kernel keeps the port that is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.plan import addressing
from lab.plan.layout import EniLayout, Layout
from lab.plan.nodes import parts, slots
from lab.plan.objects import Neighbour, NodePlan, Route, Ruleset

__all__ = ["TABLE", "plan"]

TABLE = "hyperplane_eni"
_SET = "connections"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """All ENIs."""
    for eni in layout.enis:
        yield from _ports(layout, eni)
        yield from _limiter(layout, eni)


def _ports(layout: Layout, eni: EniLayout) -> Iterator[parts.Part]:
    inner = eni.service.near
    yield from parts.router(eni.namespace)
    yield parts.veth(eni.service)
    yield parts.veth(eni.vpc)
    yield parts.own_address(inner, eni.service_address, addressing.segment(layout.topology.service_vpc.cidr).prefixlen)
    yield parts.own_address(eni.vpc.near, eni.address)
    yield from parts.through(eni.vpc, parts.ANYWHERE, addressing.subnet_router(eni.eni.subnet.cidr))
    for pair in eni.pairs:
        fleet = layout.fleet(pair.function)
        yield Neighbour(inner.namespace, inner.interface, fleet.address, fleet.service.near.mac)
        yield Route(inner.namespace, pair.network, inner.interface, fleet.address)
    yield NodePlan(eni.node, "hyperplane_eni", eni.namespace, (str(eni.address),))


def _limiter(layout: Layout, eni: EniLayout) -> Iterator[parts.Part]:
    settings = layout.topology.hyperplane_eni
    slot_set = slots.SlotSet(
        name=_SET,
        key=slots.WHOLE_TUPLE,
        protocols=("tcp", "udp"),
        mark=1,
        size=settings.connection_limit,
        idle_s=settings.idle_timeout_s,
        half_open_s=settings.half_open_timeout_s,
        port_hold_s=settings.port_hold_s,
    )
    yield from slots.conntrack_sysctls(eni.namespace, slot_set)
    yield Ruleset(eni.namespace, _ruleset(eni, slot_set))
    yield slots.limiter(slot_set, node=eni.node, kind="hyperplane_eni", namespace=eni.namespace, table=TABLE)


def _ruleset(eni: EniLayout, slot_set: slots.SlotSet) -> str:
    inner, outer = eni.service.near.interface, eni.vpc.near.interface
    return slots.table(
        TABLE,
        *slots.definitions((slot_set,)),
        *slots.track_chains(slot_set),
        slots.refusal_chain(slot_set.name),
        slots.chain("admit", *slot_set.admit(), f"goto refuse_{slot_set.name}"),
        *slots.forward_chains((slot_set,), inner),
        slots.chain(
            "translate",
            "type nat hook postrouting priority srcnat; policy accept;",
            f'oifname "{outer}" snat to {eni.address}',
        ),
    )

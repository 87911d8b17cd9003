"""A Hyperplane ENI: NAT from the service VPC into a customer subnet, with a limit that no metric shows.

The limit is total (all destinations, TCP and UDP together), as the article observed it. New connections are admitted
from the service VPC only ("VPC-to-VPC NAT", AWS Lambda Developer Guide, "Lambda networking"), TCP and UDP only.
65,000 connections behind one address leave the kernel no slack to search for ports, so every execution environment
brings a block of source ports of its own (RFC 7422) and the kernel keeps the port that is there.

Two knobs for what AWS does not publish:

`eni_scaling` lets further ENIs appear. All of them are made at `up`, in the first one's namespace: each has a slot set,
a mark and a private address. One that has not appeared is passed by: the first connection that ENI k refuses puts the
inner interface into the sets `growing_k+1`, with the lag as timeout, and `asked_k+1`, without one. An ENI that was
asked for and is not growing any more is there. So the kernel keeps the time, and no process has to.

`per_destination` gives each unique destination a slot set of its own, as in a NAT gateway.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.nodes import firewalls, parts
from lab.plan import addressing
from lab.plan.layout import Destination, EniLayout, Layout
from lab.plan.objects import NatNode, Neighbour, NodePlan, Route, Ruleset
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.slots.limiter import OTHER_DESTINATIONS, Limiter
from lab.topology import HyperplaneEniSettings

__all__ = ["TABLE", "most_connections", "plan"]

TABLE = "hyperplane_eni"
_PROTOCOLS: tuple[slots.Protocol, ...] = ("tcp", "udp")
_OTHERS_MARK = 0xE000
"""The connection mark of destinations that the topology does not name; those that it names have smaller ones."""


@dataclass(frozen=True, slots=True)
class _Destination:
    """A server at one of its addresses over one protocol, and the slot set of the connections to it.

    Addresses are as the resolver has them: clients that know others go to destinations that the topology does not name.
    """

    at: Destination
    protocol: slots.Protocol
    slot_set: slots.SlotSet

    @property
    def match(self) -> str:
        return f"{self.at.address} . {self.at.server.port} . {self.protocol}"


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all Hyperplane ENIs."""
    limiters = _of_each_destination if layout.topology.hyperplane_eni.per_destination else _in_total
    for eni in layout.enis:
        yield from _ports(layout, eni)
        yield from limiters(layout, eni)
        yield from (gate.counter for gate in _gates(layout, eni))


def most_connections(layout: Layout) -> int:
    """How many connections one ENI and those beside it can hold, to all destinations together."""
    settings = layout.topology.hyperplane_eni
    named = len(_PROTOCOLS) * sum(1 for _ in layout.destinations(answered=True))
    return settings.connection_limit * settings.most_enis * (named + 1 if settings.per_destination else 1)


def _ports(layout: Layout, eni: EniLayout) -> Iterator[parts.Part]:
    inner = eni.service.near
    yield from parts.router(eni.namespace)
    yield parts.veth(eni.service)
    yield parts.veth(eni.vpc)
    yield parts.own_address(inner, eni.service_address, addressing.segment(layout.topology.service_vpc.cidr).prefixlen)
    for address in eni.addresses:
        yield parts.own_address(eni.vpc.near, address)
    yield from parts.through(eni.vpc, parts.ANYWHERE, addressing.subnet_router(eni.eni.subnet.cidr))
    for pair in eni.pairs:
        fleet = layout.fleet(pair.function)
        yield Neighbour(inner.namespace, inner.interface, fleet.address, fleet.service.near.mac)
        yield Route(inner.namespace, pair.network, inner.interface, fleet.address)
    # One node, however many ENIs it may come to: a node is a namespace, where commands run and faults are set.
    yield NodePlan(eni.node, "hyperplane_eni", eni.namespace, tuple(str(address) for address in eni.addresses))
    idle_timeout_s = layout.topology.hyperplane_eni.idle_timeout_s
    outer = eni.vpc.near.interface
    yield NatNode(eni.node, "hyperplane_eni", eni.namespace, TABLE, inner.interface, outer, idle_timeout_s)


# ── A limit in total ────────────────────────────────────────────────────────────────────────────────────────


def _in_total(layout: Layout, eni: EniLayout) -> Iterator[parts.Part]:
    settings = layout.topology.hyperplane_eni
    sets = tuple(
        _slot_set(settings, _numbered("connections", number), number) for number in range(1, len(eni.addresses) + 1)
    )
    chains = (part for number in range(1, len(sets) + 1) for part in _admission(settings, sets, number))
    yield from parts.conntrack_sysctls(eni.namespace, sets[0])
    yield Ruleset(eni.namespace, _ruleset(layout, eni, sets, *chains))
    yield _limiter(eni, sets[0])
    for number, (slot_set, further) in enumerate(zip(sets[1:], eni.further, strict=True), 2):
        yield slots.limiter(
            slot_set,
            node=further.name,
            kind="hyperplane_eni",
            namespace=eni.namespace,
            table=TABLE,
            of=eni.node,
            asked=f"asked_{number}",
            growing=f"growing_{number}",
        )


def _numbered(name: str, number: int) -> str:
    """The first one's name is plain."""
    return name if number == 1 else f"{name}_{number}"


def _admission(settings: HyperplaneEniSettings, sets: Sequence[slots.SlotSet], number: int) -> Iterator[nft.Part]:
    """The chain that admits to ENI `number`, and what leads from there to the next one."""
    slot_set, following = sets[number - 1], number + 1
    admit = _numbered("admit", number)
    if settings.eni_scaling is None or following > len(sets):
        yield nft.chain(admit, *slot_set.admit(), f"goto refuse_{slot_set.name}")
        return
    asked, growing = f"asked_{following}", f"growing_{following}"
    yield nft.Set(asked, "iface_index", 1)
    yield nft.Set(growing, "iface_index", 1, timeout=f"{settings.eni_scaling.after_s}s")
    yield nft.chain(
        admit,
        *slot_set.admit(),
        f"iif @{asked} iif != @{growing} goto admit_{following}",
        # In this order: another processor that finds it asked for must find it growing, too. `add` leaves the timeout
        # of an element that is there as it is (nft_dynset.c), so the lag runs from the first refusal.
        f"iif != @{asked} add @{growing} {{ iif }} add @{asked} {{ iif }}",
        f"goto refuse_{slot_set.name}",
    )


# ── A limit for each destination ────────────────────────────────────────────────────────────────────────────


def _of_each_destination(layout: Layout, eni: EniLayout) -> Iterator[parts.Part]:
    settings = layout.topology.hyperplane_eni
    destinations = tuple(_destinations(layout))
    others = _slot_set(settings, "to_others", _OTHERS_MARK)
    sets = (*(destination.slot_set for destination in destinations), others)
    yield from parts.conntrack_sysctls(eni.namespace, others)
    yield Ruleset(eni.namespace, _ruleset(layout, eni, sets, *_choice(destinations, others)))
    for destination in destinations:
        yield _limiter(eni, destination.slot_set, destination.at.server.name, destination.at.label)
    yield _limiter(eni, others, OTHER_DESTINATIONS)


def _destinations(layout: Layout) -> Iterator[_Destination]:
    for destination in layout.destinations(answered=True):
        for mark, protocol in enumerate(_PROTOCOLS, destination.index * len(_PROTOCOLS) + 1):
            name = f"to_{slots.identifier(destination.name)}_{protocol}"
            slot_set = _slot_set(layout.topology.hyperplane_eni, name, mark, protocol)
            yield _Destination(destination, protocol, slot_set)


def _choice(destinations: Sequence[_Destination], others: slots.SlotSet) -> Iterator[nft.Part]:
    """What a new connection's destination has room for."""
    for destination in destinations:
        name = destination.slot_set.name
        yield nft.chain(f"admit_{name}", *destination.slot_set.admit(), f"goto refuse_{name}")
    targets = ", ".join(f"{destination.match} : goto admit_{destination.slot_set.name}" for destination in destinations)
    yield nft.chain(
        "admit",
        f"ip daddr . th dport . meta l4proto vmap {{ {targets} }}",
        *others.admit(),
        f"goto refuse_{others.name}",
    )


# ── Either ──────────────────────────────────────────────────────────────────────────────────────────────────


def _slot_set(
    settings: HyperplaneEniSettings, name: str, mark: int, protocol: slots.Protocol | None = None
) -> slots.SlotSet:
    """A set for one protocol to one destination, or for both protocols to any."""
    return slots.SlotSet(
        name=name,
        key=slots.SOURCE_ONLY if protocol else slots.WHOLE_TUPLE,
        protocols=(protocol,) if protocol else _PROTOCOLS,
        mark=mark,
        size=settings.connection_limit,
        idle_s=settings.idle_timeout_s,
        half_open_s=settings.half_open_timeout_s,
        port_hold_s=settings.port_hold_s,
    )


def _limiter(
    eni: EniLayout, slot_set: slots.SlotSet, destination: str | None = None, address: str | None = None
) -> Limiter:
    return slots.limiter(
        slot_set,
        node=eni.node,
        kind="hyperplane_eni",
        namespace=eni.namespace,
        table=TABLE,
        destination=destination,
        address=address,
    )


def _gates(layout: Layout, eni: EniLayout) -> tuple[firewalls.Gate, ...]:
    """The gate of its security groups; none where they allow everything."""
    inner = eni.service.near.interface
    return tuple(
        firewalls.security_groups(layout.topology.vpc_of(eni.eni.subnet.name), eni.eni, eni.namespace, TABLE, inner)
    )


def _ruleset(layout: Layout, eni: EniLayout, sets: Sequence[slots.SlotSet], *admission: nft.Part) -> nft.Table:
    gates = _gates(layout, eni)
    return nft.table(
        TABLE,
        *slots.definitions(sets),
        *(chain for slot_set in sets for chain in slots.track_chains(slot_set)),
        *(slots.refusal_chain(slot_set.name) for slot_set in sets),
        *admission,
        *(part for gate in gates for part in gate.definitions),
        *slots.forward_chains(sets, eni.service.near.interface, *(rule for gate in gates for rule in gate.rules)),
        nft.chain(
            "translate",
            *_translations(eni, sets),
            hook="type nat hook postrouting priority srcnat; policy accept;",
        ),
    )


def _translations(eni: EniLayout, sets: Sequence[slots.SlotSet]) -> Iterator[str]:
    """What an ENI admitted leaves from its private address; the first one's rule is for whatever is left."""
    outer = eni.vpc.near.interface
    for slot_set, further in zip(sets[1:], eni.further, strict=False):
        yield f'oifname "{outer}" ct mark {slot_set.mark:#x} snat to {further.address}'
    yield f'oifname "{outer}" snat to {eni.address}'

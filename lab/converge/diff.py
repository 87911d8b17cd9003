"""The difference between the plan of a lab that is up and the plan that is wanted: pure, in the order of doing.

An object is known by what the kernel tells it from others by (a route by its table and destination); one that is
otherwise different is changed in place. What lives in a namespace that goes, or on a link that goes, goes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Any, NamedTuple, TypeVar, get_args

from lab.plan.addressing import elastic_ip
from lab.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    Certificate,
    ConntrackMax,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    Plan,
    Port,
    Process,
    Route,
    Ruleset,
    Standing,
    Sysctl,
    VethPair,
)
from lab.slots.limiter import Limiter
from lab.topology import Topology

__all__ = ["Change", "Difference", "difference", "drained_by", "elastic_ips", "kept_port", "removal", "union"]


class Change(NamedTuple):
    """An object that stays what it is and becomes different."""

    old: KernelObject
    new: KernelObject


@dataclass(frozen=True, slots=True)
class Difference:
    """What leads from one plan to another."""

    added: tuple[KernelObject, ...] = ()
    """Objects to make, in the order of making."""
    changed: tuple[Change, ...] = ()
    """Objects to change in place, in the order of making."""
    removed: tuple[KernelObject, ...] = ()
    """Objects to remove, in the reverse order of making; without what goes with a namespace or a link."""

    @property
    def namespaces_gone(self) -> frozenset[str]:
        """Names of the namespaces that go."""
        return frozenset(item.name for item in self.removed if isinstance(item, Namespace))

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


_IDENTITY: dict[type, Callable[[Any], Hashable]] = {
    ConntrackMax: lambda _: "the one",
    Sysctl: lambda item: (item.namespace, item.key),
    Neighbour: lambda item: (item.namespace, item.interface, item.address),
    Route: lambda item: (item.namespace, item.table, item.destination),
    Ruleset: lambda item: (item.namespace, item.table.family, item.table.name),
    File: lambda item: item.path,
    Certificate: lambda item: item.path,
    Process: lambda item: (item.namespace, item.verb),
}
"""What can change in place, and what it is known by; everything else is what it is."""


def _identity(item: KernelObject) -> Hashable:
    known_by = _IDENTITY.get(type(item))
    return type(item), known_by(item) if known_by else item


def difference(old: Plan, new: Plan) -> Difference:
    """What to add, to change and to remove so that the objects of the old plan become those of the new one."""
    before = {_identity(item): item for item in old.objects}
    after = {_identity(item): item for item in new.objects}
    gone = tuple(item for identity, item in before.items() if identity not in after)
    return Difference(
        added=tuple(item for identity, item in after.items() if identity not in before),
        changed=tuple(
            Change(before[identity], item)
            for identity, item in after.items()
            if identity in before and before[identity] != item
        ),
        removed=removal(gone),
    )


def removal(gone: tuple[KernelObject, ...]) -> tuple[KernelObject, ...]:
    """What must be removed one by one, in the reverse order of making; a link out of a namespace that goes is too.

    The kernel ends a namespace some time after its name is gone (net_namespace.c, cleanup_net), and until then its
    links' other ends would stand in the way of new ones.
    """
    namespaces = {item.name for item in gone if isinstance(item, Namespace)}
    pairs = [item for item in gone if isinstance(item, VethPair)]
    ports = {(port.namespace, port.interface) for pair in pairs for port in (pair.a, pair.b)}
    bridges = {(item.namespace, item.interface) for item in gone if isinstance(item, Bridge)}
    return tuple(item for item in reversed(gone) if not _goes_by_itself(item, namespaces, ports | bridges))


def _goes_by_itself(item: KernelObject, namespaces: set[str], interfaces: set[tuple[str, str]]) -> bool:
    match item:
        case VethPair():
            return kept_port(item, namespaces) is None
        case Namespace() | File() | Certificate() | ConntrackMax():
            return False
        case Address() | Neighbour() | Route() | BridgePort() if (item.namespace, item.interface or "") in interfaces:
            return True
        case _:
            return item.namespace in namespaces


def kept_port(pair: VethPair, gone: Iterable[str]) -> Port | None:
    """An end of a link in a namespace that stays."""
    namespaces = frozenset(gone)
    return next((port for port in (pair.a, pair.b) if port.namespace not in namespaces), None)


def union(old: Plan, new: Plan) -> Plan:
    """A plan by which `down` removes both, whatever of them is there."""
    known = {_identity(item) for item in new.objects}
    both = (*new.objects, *(item for item in old.objects if _identity(item) not in known))
    stages = {kind: stage for stage, kind in enumerate(get_args(KernelObject))}
    return replace(
        new,
        objects=tuple(sorted(both, key=lambda item: stages[type(item)])),
        nodes=_merged(old.nodes, new.nodes),
        limiters=_merged(old.limiters, new.limiters),
        nat_nodes=_merged(old.nat_nodes, new.nat_nodes),
        fleets=_merged(old.fleets, new.fleets),
        servers=_merged(old.servers, new.servers),
    )


T = TypeVar("T")


def _merged(old: tuple[T, ...], new: tuple[T, ...]) -> tuple[T, ...]:
    return (*new, *(item for item in old if item not in new))


# ── Elastic IPs that are taken away ─────────────────────────────────────────────────────────────────────────


def elastic_ips(plan: Plan) -> dict[IPv4Address, tuple[str, int]]:
    """Elastic IP → its NAT gateway and its number there."""
    leased = plan.standing.leases.get("elastic_ips", {})
    owners = {elastic_ip(index): owner.rpartition(" ") for owner, index in leased.items()}
    return {address: (gateway, int(number)) for address, (gateway, _, number) in owners.items()}


def drained_by(old: Plan, wanted: Topology, held: Callable[[Limiter], int], now_s: float) -> Standing:
    """What stays of a lab that becomes `wanted`: its numbers, and removed Elastic IPs that still hold connections.

    Those drain for their gateway's drain timeout; one that drains already keeps its end, and is let go after it.
    """
    numbers = elastic_ips(old)
    gateways = {gateway.name: gateway for gateway in wanted.nat_gateways}
    draining: dict[str, dict[int, int]] = {}
    for limiter in old.limiters:
        gateway, number = numbers.get(IPv4Address(limiter.eip), ("", 0)) if limiter.eip else ("", 0)
        if gateway not in gateways or number <= gateways[gateway].elastic_ips or not held(limiter):
            continue
        begun = old.standing.draining.get(gateway, {}).get(number)
        ends = int(now_s) + gateways[gateway].drain_timeout_s if begun is None else begun
        if now_s < ends:
            draining.setdefault(gateway, {})[number] = ends
    for name, ends_s in old.standing.draining.items():
        # Its clients have an Elastic IP that stays meanwhile, so no limit of its own tells what it holds.
        if name in gateways and (gateway_now := gateways[name]).ports_per_client:
            still = {number: ends for number, ends in ends_s.items() if number > gateway_now.elastic_ips}
            draining.setdefault(name, {}).update({number: ends for number, ends in still.items() if now_s < ends})
    return Standing(old.standing.leases, draining)

"""What holds the slots of limiters: established, half-open or closing connections, by the entries that conntrack keeps.

A slot lives as long as its connection's conntrack entry (`lab.slots.ruleset`), whose TCP state says what the slot is
for; of the set's element the kernel reports only when it expires. Most entries are those of active connections,
which the kernel leaves out of the list, so a reading takes long (some 15 us an entry) only where there is a pile-up.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv4Address
import struct

from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netfilter.conntrack import Waiting
from lab.kernel.netns import Namespaces
from lab.observe.limiters import held_sources, read
from lab.observe.readings import Reading
from lab.plan.objects import FleetPlan, Plan
from lab.slots.counters import ACTIVE, SLOT_MASK
from lab.slots.fill import Fill, HalfOpen, Holder, most_first
from lab.slots.limiter import OTHER_DESTINATIONS, Limiter

__all__ = ["Tuple", "fill_of", "half_open_tuples", "read_with_fills"]

_HALF_OPEN = ("SYN_SENT", "SYN_RECV", "SYN_SENT2")
_CLOSED = ("LAST_ACK", "TIME_WAIT", "CLOSE")
_ROUNDED_S = 1
"""The kernel reports whole seconds that are left, without the fraction."""
_REFUSED_KEY = struct.Struct("!4s4x4sH2xB3x")
"""Source, destination, port and protocol in the key of a set of whole tuples; each field is padded to four bytes."""
_PROTOCOLS = {"tcp": 6, "udp": 17}

Tuple = tuple[str, tuple[bytes, int], tuple[bytes, int]]
"""A connection at a node: the node, source and destination, each an address and a port."""
_Names = Mapping[tuple[bytes, int], str]
"""Address and port → server."""


@dataclass(frozen=True, slots=True)
class _Inside:
    """What is read inside one node."""

    waiting: Sequence[Waiting]
    """Entries whose connections are not active: half-open, closed, or flows over UDP."""
    active: Mapping[int, int]
    """Slot mark → active connections, where some are closed; elsewhere what is not half-open is established."""
    refused: Sequence[bytes]
    """Keys of the connections that the node remembers to have refused."""


def read_with_fills(
    namespaces: Namespaces,
    limiters: Iterable[Limiter],
    plan: Plan,
    earlier: Collection[Tuple] = (),
) -> tuple[Reading, ...]:
    """Readings of these limiters with their fills, which count half-open connections that were there `earlier`.

    FileNotFoundError when a node is gone.
    """
    wanted = tuple(limiters)
    names = {(address.packed, server.port): server.name for server in plan.servers for address in server.addresses}
    places: dict[tuple[str, str], list[Limiter]] = {}
    for limiter in wanted:
        places.setdefault((limiter.namespace, limiter.table), []).append(limiter)
    inside = {place: namespaces.call(place[0], partial(_look, limiters)) for place, limiters in places.items()}
    filled = (
        _with_fill(reading, inside[reading.limiter.namespace, reading.limiter.table], names, earlier)
        for reading in read(namespaces, wanted)
    )
    return tuple(_with_holders(namespaces, reading, plan.fleets) for reading in filled)


def _with_holders(namespaces: Namespaces, reading: Reading, fleets: Iterable[FleetPlan]) -> Reading:
    """Whose the slots are of an ENI that has refused, where functions share it."""
    limiter, fill = reading.limiter, reading.fill
    behind = [(fleet.source, path) for fleet in fleets for path in fleet.paths if path.eni == limiter.place]
    if fill is None or not reading.refused_packets or len(behind) <= 1:
        return reading
    slots = Counter[str]()
    for address, _ in held_sources(namespaces, [limiter]):
        slots.update(source for source, path in behind if path.has(address))
    return replace(reading, fill=replace(fill, holders=tuple(Holder(*held) for held in slots.most_common())))


def half_open_tuples(namespaces: Namespaces, limiters: Iterable[Limiter]) -> frozenset[Tuple]:
    """The half-open connections of these limiters' nodes."""
    places = {(limiter.place, limiter.namespace) for limiter in limiters}
    return frozenset(
        (node, entry.source, entry.destination)
        for node, namespace in places
        for entry in namespaces.call(namespace, _waiting)
        if entry.state in _HALF_OPEN
    )


def _waiting() -> list[Waiting]:
    return list(conntrack.without(ACTIVE))


def _look(limiters: Sequence[Limiter]) -> _Inside:
    """Runs inside the node's namespace."""
    waiting = _waiting()
    closed = {entry.mark & SLOT_MASK for entry in waiting if entry.state in _CLOSED}
    active = {mark: conntrack.marked(mark | ACTIVE, SLOT_MASK | ACTIVE) for mark in closed}
    refused = nftables.elements(limiters[0].table, limiters[0].refused)
    return _Inside(waiting, active, [element.key for element in refused])


def _with_fill(reading: Reading, inside: _Inside, names: _Names, earlier: Collection[Tuple]) -> Reading:
    limiter = reading.limiter
    if not reading.appeared:
        return reading
    refused = sum(_is_for(limiter, key, names) for key in inside.refused)
    fill = fill_of(reading, inside.waiting, inside.active, names, earlier)
    return replace(reading, fill=fill, refused_lately=refused)


def fill_of(
    reading: Reading,
    waiting: Iterable[Waiting],
    active: Mapping[int, int],
    names: _Names,
    earlier: Collection[Tuple] = (),
) -> Fill:
    """The fill of a limiter that holds so many slots, by its node's entries of connections that are not active.

    `active` is by slot mark; a mark that it has not has no closed connections. What is closed may have given its slot
    back already: without a port hold conntrack keeps its entry for longer.
    """
    limiter = reading.limiter
    mine = [entry for entry in waiting if entry.mark & SLOT_MASK == limiter.mark]
    by_destination: dict[str, list[Waiting]] = defaultdict(list)
    for entry in mine:
        if entry.state in _HALF_OPEN:
            by_destination[_destination(limiter, entry.destination, names)].append(entry)
    half_open = most_first(_half_open(limiter, to, entries, earlier) for to, entries in by_destination.items())
    half_open_slots = sum(destination.slots for destination in half_open)
    established = reading.in_use - half_open_slots
    if limiter.mark in active:
        flows = sum(entry.state is None for entry in mine)
        established = min(established, active[limiter.mark] + flows)
    closed_s = [entry.timeout_s for entry in mine if entry.state in _CLOSED]
    established = max(0, established)
    closing = max(0, reading.in_use - half_open_slots - established)
    free_s = max(closed_s, default=0) if limiter.port_hold_s else 0
    return Fill(established, half_open, closing, free_s + _ROUNDED_S if closing else 0)


def _half_open(limiter: Limiter, to: str, entries: Sequence[Waiting], earlier: Collection[Tuple]) -> HalfOpen:
    left_s = [entry.timeout_s for entry in entries]
    return HalfOpen(
        to=to,
        slots=len(entries),
        oldest_s=max(0, limiter.half_open_s - _ROUNDED_S - min(left_s)),
        free_s=max(left_s) + _ROUNDED_S,
        timeout_s=limiter.half_open_s,
        earlier=sum((limiter.place, entry.source, entry.destination) in earlier for entry in entries),
    )


def _destination(limiter: Limiter, at: tuple[bytes, int], names: _Names) -> str:
    """The server's name; where several have one address and port, that of the limit."""
    if limiter.destination not in (None, OTHER_DESTINATIONS):
        return str(limiter.destination)
    return names.get(at) or f"{IPv4Address(at[0])}:{at[1]}"


def _is_for(limiter: Limiter, key: bytes, names: _Names) -> bool:
    """Whether a connection with this key is one that the limiter counts."""
    source, address, port, protocol = _REFUSED_KEY.unpack(key)
    if limiter.sources and str(IPv4Address(source)) not in limiter.sources:
        return False
    to_it = limiter.destination in (None, names.get((address, port), OTHER_DESTINATIONS))
    to_it &= limiter.address is None or IPv4Address(limiter.address).packed == address
    return to_it and _PROTOCOLS.get(limiter.protocol, protocol) == protocol

"""Takes readings of limiters from the kernel's sets and counters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from itertools import groupby
from struct import Struct

from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from lab.observe.readings import FirstRefusal, Reading
from lab.slots.limiter import Limiter
from lab.slots.ruleset import FIRST_REFUSED_TIMEOUT_S

__all__ = ["held_destinations", "held_sources", "read"]

_MS_PER_S = 1000
_SOURCE = Struct("!4sH")
"""The head of a set's key: source address and source port."""
_DESTINATION = Struct("!8x4s")
"""What follows in the key of a set for all destinations; each field is padded to four bytes."""


def read(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[Reading, ...]:
    """Read limiters, those of a namespace together."""
    return tuple(
        reading
        for name, group in groupby(limiters, key=lambda each: each.namespace)
        for reading in namespaces[name].run(_read_here, tuple(group))
    )


def _read_here(limiters: Sequence[Limiter]) -> list[Reading]:
    """Runs inside the namespace of these limiters."""
    table = limiters[0].table
    counters = nftables.counters(table)
    first = _first_refusal(limiters[0])
    return [
        Reading(
            limiter,
            nftables.set_size(table, limiter.slots),
            counters[limiter.refused_packets].packets,
            counters[limiter.refused_connections].packets,
            first,
            appeared=_has_appeared(limiter),
        )
        if limiter.refused_packets in counters
        else Reading(limiter, 0, 0, 0, None)  # an Elastic IP that `lab up` has taken away meanwhile
        for limiter in limiters
    ]


def _has_appeared(limiter: Limiter) -> bool:
    """An ENI that was asked for is there when the kernel has let its lag expire."""
    if limiter.asked is None or limiter.growing is None:
        return True
    return _holds_any(limiter.table, limiter.asked) and not _holds_any(limiter.table, limiter.growing)


def _holds_any(table: str, name: str) -> bool:
    """Of what has expired the kernel says nothing, collected or not (nf_tables_api.c, nf_tables_dump_setelem)."""
    return any(True for _ in nftables.elements(table, name))


def _first_refusal(limiter: Limiter) -> FirstRefusal | None:
    for element in nftables.elements(limiter.table, limiter.first_refused):
        age_s = FIRST_REFUSED_TIMEOUT_S - element.expires_ms / _MS_PER_S
        source, port = _SOURCE.unpack_from(element.key)
        return FirstRefusal(age_s, IPv4Address(source), port)
    return None


def held_sources(namespaces: Namespaces, limiters: Iterable[Limiter]) -> frozenset[tuple[IPv4Address, int]]:
    """Source address and port of every connection that holds a slot of these limiters."""
    return frozenset(held for limiter in limiters for held in namespaces[limiter.namespace].run(_sources, limiter))


def _sources(limiter: Limiter) -> list[tuple[IPv4Address, int]]:
    """Runs inside the limiter's namespace."""
    keys = (each.key for each in nftables.elements(limiter.table, limiter.slots))
    return [(IPv4Address(source), port) for source, port in map(_SOURCE.unpack_from, keys)]


def held_destinations(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[IPv4Address, ...]:
    """The destination of each connection that holds a slot of these limiters, of which each is for all of them."""
    return tuple(held for limiter in limiters for held in namespaces[limiter.namespace].run(_destinations, limiter))


def _destinations(limiter: Limiter) -> list[IPv4Address]:
    """Runs inside the limiter's namespace."""
    keys = (each.key for each in nftables.elements(limiter.table, limiter.slots))
    return [IPv4Address(address) for (address,) in map(_DESTINATION.unpack_from, keys)]

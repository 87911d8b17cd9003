"""Limiters read from the kernel: how much each holds, and which connections hold its slots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address
from struct import Struct

from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from lab.observe.readings import Reading
from lab.observe.sampling import sample_slots
from lab.slots.limiter import Limiter

__all__ = ["held_destinations", "held_sources", "read", "refused_by_both"]

_SOURCE = Struct("!4sH")
"""The head of a set's key: source address and source port."""
_DESTINATION = Struct("!8x4s")
"""What follows in the key of a set for all destinations; each field is padded to four bytes."""


def read(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[Reading, ...]:
    """Readings of these limiters, from one sample of their nodes; FileNotFoundError when one of those is gone."""
    wanted = tuple(limiters)
    return sample_slots(namespaces, wanted).readings(wanted)


def held_sources(namespaces: Namespaces, limiters: Iterable[Limiter]) -> frozenset[tuple[IPv4Address, int]]:
    """Source address and port of every connection that holds a slot of these limiters."""
    return frozenset(
        held
        for limiter in limiters
        for held in namespaces[limiter.namespace].run(_sources, limiter.table, limiter.slots)
    )


def _sources(table: str, tuples: str) -> list[tuple[IPv4Address, int]]:
    """Runs inside the limiter's namespace."""
    keys = (element.key for element in nftables.elements(table, tuples))
    return [(IPv4Address(source), port) for source, port in map(_SOURCE.unpack_from, keys)]


def held_destinations(namespaces: Namespaces, limiters: Iterable[Limiter]) -> tuple[IPv4Address, ...]:
    """The destination of each connection that holds a slot of these limiters, of which each is for all of them."""
    return tuple(held for limiter in limiters for held in namespaces[limiter.namespace].run(_destinations, limiter))


def _destinations(limiter: Limiter) -> list[IPv4Address]:
    """Runs inside the limiter's namespace."""
    keys = (element.key for element in nftables.elements(limiter.table, limiter.slots))
    return [IPv4Address(address) for (address,) in map(_DESTINATION.unpack_from, keys)]


def refused_by_both(namespaces: Namespaces, eni: Limiter, behind: Limiter, addresses: Collection[IPv4Address]) -> int:
    """Connections to one server that an ENI's node refused, let in later, and a node behind it refused then.

    Behind it they have one of these `addresses`, and the source port that they had before.
    """
    at_eni = Counter(port for _, port in namespaces[eni.namespace].run(_sources, eni.table, eni.refused))
    refused_behind = namespaces[behind.namespace].run(_sources, behind.table, behind.refused)
    return (at_eni & Counter(port for address, port in refused_behind if address in addresses)).total()

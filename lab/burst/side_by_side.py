"""What of the limits' refusals is one burst's own, where another was under way beside it. Pure.

Limits count all that they refuse. They also remember which connections those were, and bursts that are under way at the
same time have environments and ports of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

from lab.burst.ports import numbers_of
from lab.nodes.registry import kind_of
from lab.observe.readings import Reading
from lab.slots.limiter import Limiter, WhenFull
from traffic.result import EngineResult
from traffic.spec import BurstSpec

__all__ = ["own_refusals"]

Refused = Callable[[Limiter], Collection[tuple[IPv4Address, int]]]
"""Source address and port of each connection that a limiter remembers to have refused."""


def own_refusals(
    readings: Sequence[Reading],
    clients: EngineResult,
    spec: BurstSpec,
    eni_addresses: Mapping[str, Collection[IPv4Address]],
    refused: Refused,
) -> tuple[list[Reading], Reading | None]:
    """Readings with the refusals of this burst's connections alone, and which limiter was the first to refuse one.

    A server sees Elastic IPs, which tell of no connection: what it answered is as its clients saw it.
    """
    own: list[Reading] = []
    first: dict[int, Reading] = {}
    for reading in readings:
        if kind_of(reading.limiter.kind).answers:
            own.append(_seen_by_clients(reading, clients))
            continue
        numbers = numbers_of(refused(reading.limiter), spec, eni_addresses) if reading.refused_packets else []
        packets = round(reading.refused_packets * len(numbers) / max(reading.refused_connections, len(numbers), 1))
        own.append(replace(reading, refused_connections=len(numbers), refused_packets=packets))
        if numbers:
            first.setdefault(min(numbers), own[-1])
    return own, first[min(first)] if first else next((each for each in own if each.refused_packets), None)


def _seen_by_clients(reading: Reading, clients: EngineResult) -> Reading:
    tcp = clients.tcp
    by_answer: dict[WhenFull, int] = {"close": tcp.closed_by_server, "reset": tcp.refused}
    seen = by_answer.get(reading.limiter.when_full)
    if seen is None:
        return reading
    mine = min(seen, reading.refused_packets)
    return replace(reading, refused_packets=mine, refused_connections=min(mine, reading.refused_connections))

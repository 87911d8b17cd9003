"""Which connection was the first that a limiter refused, told from the tuple that the kernel kept. Pure.

The kernel's clock ticks every few milliseconds, in which hundreds of connections are made; when two limiters refuse
within one tick, the number of the refused connection tells which was first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import numpy as np

from lab.observe.readings import FirstRefusal, Reading
from traffic.fleet import Fleet
from traffic.spec import BurstSpec

__all__ = ["first_to_refuse"]

_SAME_MOMENT_S = 0.02
"""More than a tick of the slowest kernel clock (100 Hz) and the time between two readings."""


def first_to_refuse(
    readings: Iterable[Reading], spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]
) -> Reading | None:
    """The limiter that refused first, if any did; `eni_addresses` are those that NAT gateways see, by ENI."""
    refused = [(each.first_refusal, each) for each in readings if each.refused_packets and each.first_refusal]
    if not refused:
        return None
    oldest_s = max(first.age_s for first, _ in refused)
    rivals = [pair for pair in refused if oldest_s - pair[0].age_s <= _SAME_MOMENT_S]
    return min(rivals, key=lambda pair: _number(pair[0], spec, eni_addresses))[1]


def _number(first: FirstRefusal, spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]) -> int:
    """The number of the connection in its burst; past its end for one that is none of the burst's."""
    sources = _environments(first.source, first.port, spec, eni_addresses) or [int(first.source)]
    indices = Fleet(spec).indices(np.array(sources, np.int64), np.full(len(sources), first.port, np.int64))
    return min((int(index) for index in indices if index >= 0), default=spec.connections)


def _environments(
    source: IPv4Address, port: int, spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]
) -> Sequence[int]:
    """Behind an ENI's address: the execution environments that own this source port."""
    blocks = spec.blocks
    return [
        int(path.first_address) + turn // blocks.per_environment
        for path in spec.sources
        if source in eni_addresses[path.eni]
        for turn in range(blocks.turn(port, 0), path.environments * blocks.per_environment, blocks.ports)
    ]

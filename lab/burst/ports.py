"""Which source ports a burst's connections have, and which of them a refused packet belongs to. Pure.

A slot may be held by a connection left open, one that is half open, one in its port hold, or a real program's. 65,000
connections behind one address leave the ENI's kernel no port to search for, so a burst that is to fill an ENI exactly
must begin where the longest run of free ports begins. And it must come from other execution environments than what is
held: the same address and port again would be the same connection, and take no slot of its own.

Limiters keep the tuple that they refused first. The kernel's clock ticks every few milliseconds, in which hundreds of
connections are made; when two limiters refuse within one tick, the number of the refused connection tells which was
first.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from ipaddress import IPv4Address

import numpy as np

from lab.nodes.registry import kind_of
from lab.observe.readings import FirstRefusal, Reading
from lab.slots.limiter import Limiter
from traffic.fleet import Fleet
from traffic.spec import BurstSpec, EniPath, PortBlocks

__all__ = ["after_longest_gap", "first_to_refuse", "first_turn", "numbers_of"]

Source = tuple[IPv4Address, int]

_SAME_MOMENT_S = 0.02
"""Two ticks of the slowest kernel clock (100 Hz), of which each age may be one off."""


# ── Where a burst's ports begin ─────────────────────────────────────────────────────────────────────────────


def first_turn(
    blocks: PortBlocks,
    paths: Collection[EniPath],
    held: Collection[Source],
    *,
    turns: int = 1,
    most_turns: int | None = None,
    held_elsewhere: Collection[Source] = (),
) -> int | None:
    """The turn (`PortBlocks`) from which on most ports are free, in environments that hold nothing; None if all do.

    The burst takes `turns` turns, all of them below `most_turns`. Sources `held_elsewhere`, behind ENIs that take none
    of the burst, leave their ports free, but not their environments.
    """
    in_range = {port for _, port in held if port in range(blocks.first_port, blocks.first_port + blocks.ports)}
    start = after_longest_gap(blocks.ports, sorted(blocks.turn(port, 0) for port in in_range))
    taken = _environments(paths, {address for address, _ in (*held, *held_elsewhere)})
    # The same ports again, in further environments.
    candidates = range(start, start + blocks.ports + (max(taken, default=0) + 1) * blocks.per_environment, blocks.ports)
    for first in candidates:
        if (most_turns is None or first + turns <= most_turns) and _are_free(taken, blocks, first, turns):
            return first
    # With few ports in each environment there may be none so far on: the next ones, if their ports are free.
    first = (max(taken, default=-1) + 1) * blocks.per_environment
    last_fits = most_turns is None or first + turns <= most_turns
    clash = turns > blocks.ports or not in_range.isdisjoint(map(blocks.port, range(first, first + turns)))
    return first if last_fits and not clash else None


def after_longest_gap(ports: int, held_turns: Sequence[int]) -> int:
    """The beginning of the longest run of free turns, of which there are as many as `ports`, in a circle."""
    if not held_turns:
        return 0
    following = (*held_turns[1:], held_turns[0] + ports)
    _, last_held = max((after - turn, -turn) for turn, after in zip(held_turns, following, strict=True))
    return (1 - last_held) % ports


def _environments(paths: Collection[EniPath], addresses: Collection[IPv4Address]) -> list[int]:
    """The environments, behind whichever ENI, that these addresses are."""
    numbers = (int(address) - int(path.first_address) for path in paths for address in addresses)
    most = max((path.environments for path in paths), default=0)
    return sorted({number for number in numbers if 0 <= number < most})


def _are_free(taken: list[int], blocks: PortBlocks, first: int, turns: int) -> bool:
    """Whether the environments whose turns these are hold nothing."""
    begin, end = first // blocks.per_environment, (first + turns - 1) // blocks.per_environment
    return bisect_left(taken, begin) == bisect_right(taken, end)


# ── Whose connection was refused first ──────────────────────────────────────────────────────────────────────


def first_to_refuse(
    readings: Iterable[Reading],
    spec: BurstSpec,
    eni_addresses: Mapping[str, Collection[IPv4Address]],
    before: Iterable[Reading] = (),
) -> Reading | None:
    """The limiter that refused first, if any did; `eni_addresses` are those that NAT gateways see, by ENI.

    A server sees Elastic IPs, which tell of no connection. The first that it refuses is the one after those for which
    it had room, unless others were lost on their way to it, and then it was not the first.
    """
    room = Counter[tuple[str, str | None]]()
    for reading in before:
        room[reading.limiter.place, reading.limiter.destination] += reading.limiter.limit - reading.in_use
    by_room = spec.fleets[0].host is not None and spec.engine == "socket"  # the kernel has chosen the ports

    def number(first: FirstRefusal, limiter: Limiter) -> int:
        if by_room or kind_of(limiter.kind).answers:
            return room[limiter.place, limiter.destination]
        return _number(first, spec, eni_addresses)

    refused = [
        (reading.first_refusal, reading) for reading in readings if reading.refused_packets and reading.first_refusal
    ]
    if not refused:
        return None
    oldest_s = max(first.age_s for first, _ in refused)
    same_moment = [pair for pair in refused if oldest_s - pair[0].age_s <= _SAME_MOMENT_S]
    return min(same_moment, key=lambda pair: number(pair[0], pair[1].limiter))[1]


def numbers_of(
    refused: Iterable[Source], spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]
) -> list[int]:
    """The numbers, in their burst, of those of these connections that are its own."""
    fleet = Fleet(spec)
    rows = [(_addresses_behind(*source, spec, eni_addresses) or [int(source[0])], source[1]) for source in refused]
    addresses = np.array([address for behind, _ in rows for address in behind], np.int64)
    ports = np.array([port for behind, port in rows for _ in behind], np.int64)
    if not len(addresses):
        return []
    indices = fleet.indices(addresses, ports)
    return sorted({int(index) for index in indices if index >= 0})


def _number(first: FirstRefusal, spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]) -> int:
    """The number of the connection in its burst; past its end for one that is none of the burst's."""
    sources = _addresses_behind(first.source, first.port, spec, eni_addresses) or [int(first.source)]
    indices = Fleet(spec).indices(np.array(sources, np.int64), np.full(len(sources), first.port, np.int64))
    return min((int(index) for index in indices if index >= 0), default=spec.connections)


def _addresses_behind(
    source: IPv4Address, port: int, spec: BurstSpec, eni_addresses: Mapping[str, Collection[IPv4Address]]
) -> Sequence[int]:
    """Behind an ENI's address: the execution environments that own this source port."""
    blocks = spec.blocks
    return [
        int(path.first_address) + turn // blocks.per_environment
        for path in spec.sources
        if source in eni_addresses.get(path.eni, ())
        for turn in range(blocks.turn(port, 0), path.environments * blocks.per_environment, blocks.ports)
    ]

"""Where a burst's connections begin, so that they meet neither ports nor clients that still hold a slot. Pure.

A slot may be held by a connection left open, one that is half open, one in its port hold, or a real program's. 65,000
connections behind one address leave the ENI's kernel no port to search for, so a burst that is to fill an ENI exactly
must begin where the longest run of free ports begins. And it must come from other execution environments than what is
held: the same address and port again would be the same connection, and take no slot of its own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from ipaddress import IPv4Address

from traffic.spec import EniPath, PortBlocks

__all__ = ["first_turn"]

Source = tuple[IPv4Address, int]


def first_turn(
    blocks: PortBlocks,
    paths: Collection[EniPath],
    held: Collection[Source],
    *,
    turns: int = 1,
    room: int | None = None,
    elsewhere: Collection[Source] = (),
) -> int | None:
    """The turn (`PortBlocks`) from which on most ports are free, in environments that hold nothing; None if all do.

    The burst takes `turns` turns, all of them below `room`. Sources held `elsewhere`, behind ENIs that take none of
    the burst, leave their ports free, but not their environments.
    """
    around, ports = blocks.ports, range(blocks.first_port, blocks.first_port + blocks.ports)
    turn = _after_held(around, sorted(blocks.turn(port, 0) for port in {port for _, port in held} if port in ports))
    taken = _environments(paths, {address for address, _ in (*held, *elsewhere)})
    rounds = range(turn, turn + around + (max(taken, default=0) + 1) * blocks.per_environment, around)
    within = (first for first in rounds if room is None or first + turns <= room)
    return next((first for first in within if _are_free(taken, blocks, first, turns)), None)


def _after_held(around: int, turns: list[int]) -> int:
    """The beginning of the longest run of free turns."""
    if not turns:
        return 0
    following = (*turns[1:], turns[0] + around)
    _, last_held = max((after - turn, -turn) for turn, after in zip(turns, following, strict=True))
    return (1 - last_held) % around


def _environments(paths: Collection[EniPath], addresses: Collection[IPv4Address]) -> list[int]:
    """The environments, behind whichever ENI, that these addresses are."""
    places = (int(address) - int(path.first_address) for path in paths for address in addresses)
    most = max((path.environments for path in paths), default=0)
    return sorted({place for place in places if 0 <= place < most})


def _are_free(taken: list[int], blocks: PortBlocks, first: int, turns: int) -> bool:
    """Whether the environments whose turns these are hold nothing."""
    begin, end = first // blocks.per_environment, (first + turns - 1) // blocks.per_environment
    return bisect_left(taken, begin) == bisect_right(taken, end)

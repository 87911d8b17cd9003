"""Where a burst's connections begin, so that they meet neither ports nor clients that still hold a slot. Pure.

A slot may be held by a connection left open, one that is half open, one in its port hold, or a real program's. 65,000
connections behind one address leave the ENI's kernel no port to search for, so a burst that is to fill an ENI exactly
must begin where the longest run of free ports begins. And it must come from other execution environments than what is
held: the same address and port again would be the same connection, and take no slot of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address

from traffic.spec import EniPath, PortBlocks

__all__ = ["first_turn"]

Source = tuple[IPv4Address, int]


def first_turn(blocks: PortBlocks, paths: Iterable[EniPath], held: Collection[Source]) -> int:
    """The turn (`BurstSpec`: environment times ports per environment, plus offset) from which on most is free."""
    around, range_ = blocks.ports, range(blocks.first_port, blocks.first_port + blocks.ports)
    turn = _after_held(around, sorted(blocks.turn(port, 0) for port in {port for _, port in held} if port in range_))
    rounds = [_round(blocks, path, address) for path in paths for address, _ in held if _owns(path, address)]
    return turn + around * (max(rounds) + 1 if rounds else 0)


def _after_held(around: int, turns: list[int]) -> int:
    """The beginning of the longest run of free turns."""
    if not turns:
        return 0
    following = (*turns[1:], turns[0] + around)
    _, last_held = max((after - turn, -turn) for turn, after in zip(turns, following, strict=True))
    return (1 - last_held) % around


def _owns(path: EniPath, address: IPv4Address) -> bool:
    return 0 <= int(address) - int(path.first_address) < path.environments


def _round(blocks: PortBlocks, path: EniPath, address: IPv4Address) -> int:
    """How often the ports had been gone through when this environment had its last turn."""
    environment = int(address) - int(path.first_address)
    return ((environment + 1) * blocks.per_environment - 1) // blocks.ports

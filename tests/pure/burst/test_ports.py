"""Where a burst's source ports begin."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from lab.burst.ports import first_turn
from traffic.spec import EniPath, PortBlocks

ELSEWHERE = IPv4Address("192.0.2.1")
PATH = EniPath("eni-a", "02:00:00:00:00:01", IPv4Address("100.65.0.0"), 64)
BLOCKS = PortBlocks(first_port=1000, ports=60, per_environment=6)


def _port(turn: int, blocks: PortBlocks = BLOCKS) -> int:
    return blocks.port(turn)


def _first(ports: Iterable[int]) -> int:
    """Where a burst begins when clients of another function hold these ports."""
    turn = first_turn(BLOCKS, [PATH], [(ELSEWHERE, port) for port in ports])
    assert turn is not None
    return turn


def test_nothing_held() -> None:
    """With all ports free a burst begins at the first."""
    assert _first([]) == 0


def test_after_what_is_held() -> None:
    """A burst begins after the held ports, and what is held at the end is met last."""
    assert _first(map(_port, range(20))) == 20
    assert _first(map(_port, range(50, 60))) == 0
    assert _first(map(_port, [*range(40, 45), *range(45, 50)])) == 50


def test_strangers() -> None:
    """Ports of real programs that are in no block do not matter."""
    assert _first([80, 999, 1060, 65_535]) == 0


@given(st.sets(st.integers(0, 59), min_size=1, max_size=59))
def test_the_longest_run(held: set[int]) -> None:
    """No other beginning has more free ports before the first that is held."""

    def run(start: int) -> int:
        return next(length for length in range(61) if (start + length) % 60 in held)

    chosen = _first(map(_port, held))
    assert run(chosen) == max(run(start) for start in range(60))


def test_held_elsewhere() -> None:
    """Behind an ENI that is full, ports are no hindrance to those who use the next one; clients are."""
    full = [(PATH.first_address, _port(turn)) for turn in range(6)]
    assert first_turn(BLOCKS, [PATH], [], held_elsewhere=full) == 60
    assert first_turn(BLOCKS, [PATH], [(ELSEWHERE, _port(0))], held_elsewhere=full) == 61


def test_other_environments() -> None:
    """Environments of this function that hold something are left alone, whatever their ports."""
    twenty_third = PATH.first_address + 23
    held = [(twenty_third, _port(18)), (PATH.first_address, _port(0))]
    assert first_turn(BLOCKS, [PATH], held) == 19
    assert first_turn(BLOCKS, [PATH], [*held, (PATH.first_address + 3, _port(0))]) == 60 + 19
    assert first_turn(BLOCKS, [PATH], held, turns=6 * 20) == 60 + 60 + 19 + 60
    assert first_turn(BLOCKS, [PATH], held, turns=6 * 20, most_turns=6 * 40) is None
    assert first_turn(BLOCKS, [], held) == 19


def test_the_next_environments() -> None:
    """Where so many environments are not there, the next ones serve, as long as their ports are free."""
    held = [(PATH.first_address, _port(turn)) for turn in range(3)]
    assert first_turn(BLOCKS, [PATH], held, turns=10, most_turns=60) == BLOCKS.per_environment
    assert first_turn(BLOCKS, [PATH], held, turns=60 - BLOCKS.per_environment + 1, most_turns=61) is None

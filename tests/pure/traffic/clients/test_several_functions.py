"""Clients of several functions: whose turn it is, who is throttled, whose connection is used again."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from random import Random
from typing import Any

from tests.support.network import SPEC, Network, spec
from traffic.clients.state import State
from traffic.spec import Arrivals, EniPath, FleetSpec, Growth, PortBlocks

OWN = SPEC.fleets[0]
OTHER = FleetSpec(
    "eth0", "02:00:00:00:00:11", (EniPath("eni-c", "02:00:00:00:00:05", IPv4Address("100.67.0.0"), 1000),)
)


def both(connections: int, reserved: int | None = None, **changes: Any) -> Network:
    """Two functions, of which the second may have so many invocations at a time."""
    return Network(spec(connections, fleets=(OWN, replace(OTHER, reserved_concurrency=reserved)), **changes))


def _is_others(address: int) -> bool:
    return address >= int(OTHER.paths[0].first_address)


def test_syns_go_in_turn_whatever_the_order_of_answers() -> None:
    """The name server's answers come as they like; SYN number i is one of function i % 2."""
    network, chance = both(300), Random(1)
    network.delay_s = lambda: chance.random() * 0.02
    network.run(0.5, step_s=0.001)
    assert [_is_others(address) for address, _ in network.syns()] == [False, True] * 150


def test_counts_of_each_function() -> None:
    """Each function's counts are its connections', and add up to those of the burst."""
    network = both(10)
    network.ignores = lambda segment: _is_others(segment.source[0])
    network.run(31.0)
    own, other = network.result().fleets
    assert (own.offered, own.served, own.established, own.timed_out) == (5, 5, 5, 0)
    assert (other.offered, other.served, other.established, other.timed_out) == (5, 0, 0, 5)
    assert own.asked == other.asked == own.answered == other.answered == 5


def test_of_those_that_come_at_once_only_so_many_are_let_in() -> None:
    """What is beyond the reserved concurrency sends no packet, also when others have failed meanwhile."""
    network = both(20, reserved=3)
    network.ignores = lambda segment: _is_others(segment.source[0])
    network.run(31.0)
    result = network.result()
    _, other = result.fleets
    assert (other.offered, other.throttled, other.attempted, other.timed_out) == (10, 7, 3, 3)
    assert (result.invocations.throttled, result.invocations.failed) == (7, 3)
    assert len(network.questions) == 13
    assert network.client.unfinished == 0


def test_none_is_let_in() -> None:
    """A reserved concurrency of 0 turns a function off."""
    network = both(9, reserved=0)
    network.run(1.0)
    assert [fleet.established for fleet in network.result().fleets] == [5, 0]
    assert not any(_is_others(address) for address, _ in network.syns())


def test_over_time_those_that_have_ended_make_room() -> None:
    """Of 10 invocations a second that take 0.5 s each, a function with 3 at a time throttles about 4."""
    network = both(80, reserved=3, arrivals=Arrivals(20.0), hold_s=0.5, rest_s=0.1)
    most = 0
    while network.now_s < 5.0:
        network.run(network.now_s)
        states = network.connections.state[1::2]
        most = max(most, int((states != State.FREE).sum() - (states == State.CLOSED).sum()))
    own, other = network.result().fleets
    assert (own.throttled, own.established, most) == (0, 40, 3)
    assert other.established + other.throttled == 40
    assert other.throttled > 0


def test_functions_scale_each_by_itself() -> None:
    """Each has its own environments at first, and gets as many more each second."""
    growth, blocks = Growth(2, 2.0), PortBlocks(per_environment=1)
    network = both(40, arrivals=Arrivals(1000.0), growth=growth, blocks=blocks)
    network.run(1.0)
    assert [fleet.established for fleet in network.result().fleets] == [4, 4]


def test_connections_are_used_again_by_their_own_function() -> None:
    """An idle connection is the environment's, and that belongs to one function."""
    network = both(8, arrivals=Arrivals(4.0), reuse=True, requests=None)
    network.run(3.0)
    result = network.result()
    assert [fleet.attempted for fleet in result.fleets] == [1, 1]
    assert [fleet.served for fleet in result.fleets] == [4, 4]

"""Descriptors of execution environments: who gets one, who fails for want of one, and when they are given back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from tests.support.network import SERVER, Network, spec
from traffic.clients.descriptors import Account
from traffic.clients.state import State
from traffic.spec import Arrivals, PortBlocks

if TYPE_CHECKING:
    from traffic.result import EngineResult
    from traffic.spec import BurstSpec

LEAKING = spec(300, blocks=PortBlocks(per_environment=100), descriptors=60)
"""150 connections on each of two paths: an environment of 100 and one of 50 on each, which have 60 descriptors."""


def ran(spec: BurstSpec, until_s: float = 1.0, limit: int = 1_000_000) -> tuple[Network, EngineResult]:
    """A burst over a network that lets so many connections through."""
    network = Network(spec, limit)
    network.run(until_s)
    return network, network.result()


def test_a_full_environment_sends_nothing() -> None:
    """Each environment has as many connections as descriptors; the others fail at the look-up, without a packet."""
    network, result = ran(LEAKING)
    assert (result.dns.asked, result.dns.answered, result.dns.failed, result.dns.emfile) == (300, 220, 0, 80)
    assert (result.tcp.attempted, result.tcp.established, result.tcp.emfile) == (220, 220, 0)
    assert (result.invocations.served, result.invocations.failed) == (220, 80)
    assert (len(network.questions), result.unanswered.questions, result.drop_threshold) == (220, 0, None)
    assert network.in_state(State.NO_DESCRIPTOR) == 80


def test_a_look_up_needs_one_descriptor() -> None:
    """A and AAAA share a socket, and the connection's is opened when it is closed: the last descriptor is enough."""
    _, result = ran(replace(LEAKING, resolver_schedule="glibc"))
    assert (result.tcp.established, result.dns.emfile, result.questions) == (220, 80, 440)


def test_without_a_look_up_the_connection_fails() -> None:
    """SYNs alone need no name: then it is the connection's own socket that is not opened."""
    _, result = ran(replace(LEAKING, destinations=(SERVER,)))
    assert (result.dns.asked, result.dns.emfile, result.tcp.emfile) == (0, 0, 80)
    assert (result.tcp.attempted, result.tcp.half_open, result.tcp.unanswered_syns) == (300, 220, 0)


def test_a_network_limit_beside() -> None:
    """What a limit drops had a descriptor and a SYN; the drop threshold counts those alone."""
    _, result = ran(replace(LEAKING, connect_timeout_s=3.0), 4.0, limit=70)
    assert (result.tcp.established, result.tcp.timed_out, result.dns.emfile) == (70, 150, 80)
    assert result.drop_threshold == 70


def test_a_closed_connection_gives_its_descriptor_back() -> None:
    """Connections that are closed after each invocation leave room for the next one in their environment."""
    closing = replace(LEAKING, connections=40, invocations=100, arrivals=Arrivals(20.0), descriptors=1, rest_s=0.0)
    _, result = ran(replace(closing, hold_s=0.0), 6.0)
    assert (result.dns.emfile, result.invocations.served) == (0, 100)
    _, result = ran(replace(closing, hold_s=60.0), 6.0)
    assert (result.dns.emfile, result.invocations.served) == (98, 2)


@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 19), unique=True))), st.integers(0, 4))
def test_the_account(steps: list[tuple[bool, list[int]]], each: int) -> None:
    """No environment ever holds more than it may, none is refused one that is free, and a close counts once."""
    environments = np.arange(20) // 7
    account, held = Account(environments, np.full(3, each)), set[int]()
    for opens, numbers in steps:
        indices = np.array(numbers, np.int64)
        if not opens:
            account.give_back(indices)
            held -= set(numbers)
            continue
        fresh = np.array([number for number in numbers if number not in held], np.int64)
        for index, succeeds in zip(fresh.tolist(), account.take(fresh).tolist(), strict=True):
            assert succeeds == (sum(environments[other] == environments[index] for other in held) < each)
            held |= {index} if succeeds else set()

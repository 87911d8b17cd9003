"""Look-ups as resolver libraries make them: what is asked when, and what becomes of half an answer."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.network import Network, spec
from traffic.clients.state import State

if TYPE_CHECKING:
    from traffic.spec import ResolverSchedule


def asked(network: Network) -> dict[float, int]:
    """Questions by the second in which they were sent."""
    return dict(Counter(round(moment_s, 3) for moment_s, _ in network.questions))


@pytest.mark.parametrize("schedule", ["glibc", "musl", "lambda-python", "node"])
def test_two_packets_for_each_look_up(schedule: ResolverSchedule) -> None:
    """A and AAAA are asked from the connection's own port; it is established when both are answered."""
    network = Network(spec(1000, resolver_schedule=schedule))
    network.run(1.0)
    result = network.result()
    assert (result.dns.asked, result.dns.answered, result.questions) == (1000, 1000, 2000)
    assert set(Counter(key for _, key in network.questions).values()) == {2}
    assert (result.tcp.established, result.unanswered.questions) == (1000, 0)


@pytest.mark.parametrize(
    ("schedule", "times_s", "end_s"),
    [
        ("glibc", (0.0, 5.0), 10.0),
        ("musl", (0.0, 2.5), 5.0),
        ("lambda-python", (0.0, 2.0, 4.0, 6.0, 8.0), 10.0),
    ],
)
def test_a_silent_resolver(schedule: ResolverSchedule, times_s: tuple[float, ...], end_s: float) -> None:
    """Both questions are repeated at the library's times, and it gives up long before the client would."""
    network = Network(spec(5, resolver_schedule=schedule))
    network.mute = True
    network.run(end_s - 0.1)
    assert network.in_state(State.DNS_FAILED) == 0
    network.run(end_s + 0.1)
    assert network.in_state(State.DNS_FAILED) == 5
    assert asked(network) == dict.fromkeys(times_s, 10)
    unanswered = network.result().unanswered
    assert (unanswered.questions, unanswered.invocations) == (10 * len(times_s), 5)


def test_glibc_takes_half_an_answer_at_last() -> None:
    """Without an answer for AAAA glibc asks for both three times, and then connects to the address that it has."""
    network = Network(spec(5, resolver_schedule="glibc"))
    network.hears_no_aaaa = True
    network.run(14.9)
    assert network.counts.attempted == 0
    network.run(15.2)
    assert network.in_state(State.ESTABLISHED) == 5
    assert asked(network) == dict.fromkeys((0.0, 5.0, 10.0), 10)
    assert network.result().unanswered.questions == 15


def test_musl_asks_again_for_what_is_missing() -> None:
    """Without an answer for AAAA musl asks for that alone, and then fails although it has an address."""
    network = Network(spec(5, resolver_schedule="musl"))
    network.hears_no_aaaa = True
    network.run(5.1)
    assert network.in_state(State.DNS_FAILED) == 5
    assert asked(network) == {0.0: 10, 2.5: 5}
    assert network.result().unanswered.questions == 10


def test_impatience_comes_first() -> None:
    """A client that gives up before its library does has no connection, whatever was answered."""
    network = Network(spec(5, resolver_schedule="glibc", connect_timeout_s=2.0))
    network.hears_no_aaaa = True
    network.run(2.1)
    assert network.in_state(State.DNS_FAILED) == 5
    assert network.counts.attempted == 0

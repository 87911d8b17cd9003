"""A load over time: arrivals, holds, rests, reuse, and environments that grow; time is passed in."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.support.network import Network, spec
from tests.support.tcp import Key
from traffic import frames as f
from traffic.arrivals import arrived, environments
from traffic.clients.client import BATCH
from traffic.clients.state import State
from traffic.spec import Arrivals, Growth, PortBlocks

_STEP_S = 0.025


def _moments(network: Network, flags: int) -> dict[Key, list[float]]:
    """When each client sent segments with just these flags."""
    times_s: dict[Key, list[float]] = {}
    for moment_s, segment in network.segments:
        if segment.flags == flags:
            times_s.setdefault(segment.source, []).append(moment_s)
    return times_s


# ── When ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arrivals", [Arrivals(100.0), Arrivals(0.0, 200.0, 2.0), Arrivals(200.0, 20.0, 2.0), Arrivals(300.0, 0.0, 3.0)]
)
def test_invocations_come_when_they_are_to(arrivals: Arrivals) -> None:
    """At each moment as many invocations have begun as the rate has brought by then."""
    network = Network(spec(400, arrivals=arrivals))
    while network.now_s < 4.0:
        network.run(network.now_s)
        assert network.counts.begun == min(arrived(arrivals, network.now_s - _STEP_S), 400)


def test_the_next_arrival_wakes() -> None:
    """Between arrivals there is nothing to do until the next one's time, and after the last one never."""
    network = Network(spec(3, arrivals=Arrivals(2.0)))
    network.run(0.0)
    assert network.client.next_wake_s() == pytest.approx(0.5)
    network.run(0.6)
    assert network.client.next_wake_s() == pytest.approx(1.0)
    network.run(1.0)
    assert network.client.next_wake_s() == float("inf")


@pytest.mark.parametrize(("at_a_time", "most"), [(1, 1), (3, 3), (None, 40)])
def test_so_many_at_a_time(at_a_time: int | None, most: int) -> None:
    """No more invocations are under way than are allowed, and all come to their turn."""
    network = Network(spec(40, requests=1, at_a_time=at_a_time))
    network.delay_s = lambda: 0.05
    seen = []
    while network.client.unfinished:
        network.run(network.now_s)
        seen.append(network.counts.begun - network.counts.settled)
    assert max(seen) == most
    assert network.counts.served == 40


# ── How long ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hold_s", [0.0, 0.5, 2.0])
def test_a_connection_is_held_for_its_time(hold_s: float) -> None:
    """Each connection closes `hold_s` after it was established, whenever that was."""
    network = Network(spec(50, arrivals=Arrivals(20.0), hold_s=hold_s))
    network.run(6.0)
    called, closed = _moments(network, f.SYN), _moments(network, f.FIN | f.ACK)
    assert len(called) == 50
    for key, (moment_s,) in called.items():
        assert closed[key][0] - moment_s == pytest.approx(hold_s, abs=_STEP_S + 1e-6)
    assert network.in_state(State.CLOSED) == 50
    assert network.tcp.unfinished() == []


def test_a_connection_is_held_from_its_last_answer() -> None:
    """Requests come before the hold, not in it."""
    network = Network(spec(1, arrivals=Arrivals(1.0), hold_s=1.0, requests=2))
    network.delay_s = lambda: 0.1
    network.run(3.0)
    assert network.when(f.FIN | f.ACK)[0] == pytest.approx(1.4, abs=0.1)


@pytest.mark.parametrize("rest_s", [0.5, 2.5])
def test_a_port_rests_before_it_is_used_again(rest_s: float) -> None:
    """More invocations than ports: each port's next SYN goes out its rest after its goodbye, further on."""
    network = Network(spec(4, invocations=20, arrivals=Arrivals(100.0), hold_s=0.1, rest_s=rest_s))
    network.run(20.0)
    assert network.counts.served == 20
    called, closed = _moments(network, f.SYN), _moments(network, f.FIN | f.ACK)
    assert len(called) == 4
    for key, moments_s in called.items():
        assert len(moments_s) == 5
        for goodbye_s, next_s in zip(closed[key], moments_s[1:], strict=False):
            assert goodbye_s + rest_s <= next_s <= goodbye_s + rest_s + 3 * _STEP_S
    isns = [segment.sequence for _, segment in network.segments if segment.flags == f.SYN][::4]
    assert {(after - before) % 2**32 for before, after in pairwise(isns)} == {600_000}
    assert network.counts.waiting > 0


# ── Reuse ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_connection_is_enough_for_one_at_a_time() -> None:
    """Invocations that come one after another all use the first one's connection."""
    network = Network(spec(10, invocations=30, reuse=True, requests=None, at_a_time=1))
    network.run(1.0)
    result = network.result()
    assert (result.tcp.attempted, result.dns.asked, result.tcp.open) == (1, 1, 1)
    assert (result.invocations.served, result.invocations.reused) == (30, 29)
    assert result.requests.answered == 30


def test_a_busy_connection_is_not_used_again() -> None:
    """With a duration, as many connections are made as invocations overlap: 20 a second for half a second each."""
    network = Network(spec(100, reuse=True, requests=None, arrivals=Arrivals(20.0), duration_s=0.49, hold_s=60.0))
    network.run(6.0)
    result = network.result()
    assert result.invocations.served == 100
    assert result.tcp.attempted in (10, 11)
    assert result.invocations.reused == 100 - result.tcp.attempted


def test_idle_connections_are_closed_after_their_hold() -> None:
    """A connection that nobody has used for `hold_s` is closed, and the next invocation makes another."""
    network = Network(spec(4, invocations=3, reuse=True, requests=None, arrivals=Arrivals(1.0), hold_s=0.5))
    network.run(3.0)
    assert [round(moment_s, 1) for moment_s in network.when(f.FIN | f.ACK)] == [0.5, 1.5, 2.5]
    assert (network.counts.reused, network.counts.attempted) == (0, 3)


def test_an_idle_connection_that_is_used_in_time_stays() -> None:
    """Each invocation's end begins the hold anew."""
    network = Network(spec(4, invocations=5, reuse=True, requests=None, arrivals=Arrivals(2.0), hold_s=0.7))
    network.run(4.0)
    assert (network.counts.reused, network.counts.attempted) == (4, 1)
    assert network.when(f.FIN | f.ACK) == [pytest.approx(2.7, abs=_STEP_S)]


def test_a_spent_connection_is_replaced() -> None:
    """A connection that has had all its requests is closed, and the next invocation makes another."""
    network = Network(spec(4, invocations=6, reuse=True, requests=2, arrivals=Arrivals(10.0), rest_s=0.1))
    network.run(2.0)
    assert (network.counts.attempted, network.counts.reused, network.counts.closed) == (3, 3, 3)
    assert network.counts.served == 6


@pytest.mark.parametrize("hold_s", [0.6, 0.65, 0.7, 0.75])
def test_what_has_been_idle_for_too_long_is_nobody_s(hold_s: float) -> None:
    """Of connections whose hold ends at once, more than go into a batch, none is taken while it waits to be closed."""
    come = BATCH + BATCH // 2
    arrivals = Arrivals(100.0 * come, 1.0, 0.02)  # nearly all in a moment, then one a second: in the midst of closing
    network = Network(
        spec(
            come + 10, invocations=come + 3, reuse=True, arrivals=arrivals, requests=None, duration_s=0.3, hold_s=hold_s
        )
    )
    network.run(6.0, step_s=0.05)
    assert network.counts.settled == network.counts.served == come + 3
    assert network.counts.open == 0


def test_a_server_that_ends_an_idle_connection_costs_nothing() -> None:
    """The next invocation makes a connection of its own."""
    network = Network(spec(4, invocations=2, reuse=True, requests=None, arrivals=Arrivals(1.0)))
    network.run(0.5)
    network.say(network.syns()[0], f.RST)
    network.run(2.0)
    result = network.result()
    assert (result.tcp.attempted, result.tcp.reset, result.invocations.served) == (2, 1, 2)


# ── Environments ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("per_environment", [1, 7])
@pytest.mark.parametrize("options", [{"hold_s": 0.5}, {"reuse": True, "requests": 1, "duration_s": 0.5}])
def test_there_are_never_more_than_environments_allow(per_environment: int, options: dict[str, Any]) -> None:
    """Lambda's scaling bounds the connections that are live at any moment, and all of its room is used."""
    growth, blocks = Growth(4, 8.0), PortBlocks(per_environment=per_environment)
    network = Network(spec(600, growth=growth, blocks=blocks, rest_s=0.1, **options))
    used = []
    while network.client.unfinished and network.now_s < 60:
        network.run(network.now_s)
        room = int(environments(growth, network.now_s - _STEP_S) * per_environment)
        used.append(room - network.counts.live)
    assert min(used) == 0
    assert used.count(0) > len(used) / 2
    assert network.counts.served == 600


# ── The threshold ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 5, 9])
@pytest.mark.parametrize("arrivals", [Arrivals(10.0), Arrivals(1.0, 20.0, 10.0)])
def test_the_threshold_over_time(arrivals: Arrivals, limit: int) -> None:
    """It is how many connections were open when the first was attempted that never got an answer."""
    network = Network(spec(90, arrivals=arrivals, hold_s=1.0, connect_timeout_s=0.7), limit=limit)
    network.run(20.0)
    result = network.result()
    assert result.tcp.timed_out > 0
    assert result.drop_threshold == limit
    assert result.tcp.established + result.tcp.timed_out == 90


def test_no_threshold_while_retries_succeed() -> None:
    """A SYN that is dropped and gets through when others have closed is a late success, not a loss."""
    network = Network(spec(30, arrivals=Arrivals(10.0), hold_s=0.5), limit=4)
    network.run(15.0)
    result = network.result()
    assert (result.tcp.established, result.tcp.timed_out, result.drop_threshold) == (30, 0, None)
    assert result.tcp.syn_retransmissions > 0
    assert sum(result.tcp.established_at_syn[1:]) == result.tcp.ever_unanswered
    assert result.tcp.unanswered_syns == result.tcp.syn_retransmissions


# ── The end ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_closing_begins_nothing_new() -> None:
    """When closing begins, those who have not come do not come any more."""
    network = Network(spec(100, arrivals=Arrivals(10.0)))
    network.run(2.0)
    network.client.begin_closing()
    begun = network.counts.begun
    network.run(5.0)
    assert network.counts.begun == begun == network.counts.closed
    assert network.tcp.unfinished() == []


@pytest.mark.parametrize("options", [{"hold_s": 1.0}, {"reuse": True, "requests": None, "hold_s": 1.0}])
def test_a_hold_that_ends_when_closing_begins(options: dict[str, Any]) -> None:
    """A connection says goodbye once, also when its own time is over in the moment in which all are closed."""
    network = Network(spec(10, arrivals=Arrivals(1000.0), **options))
    network.run(0.99)
    assert network.when(f.FIN | f.ACK) == []
    network.client.begin_closing()  # and the next tick is at 1.0 s
    network.run(2.0)
    assert (
        len(network.when(f.FIN | f.ACK)) == network.counts.leaving == network.counts.closed == network.counts.attempted
    )

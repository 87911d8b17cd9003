"""Whatever the network does, each invocation has one outcome, nothing is held twice, and TCP stays TCP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import os
from random import Random
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import numpy as np

from tests.support.examples import examples
from tests.support.network import Network, spec
from tests.support.server import Server
from traffic import frames as f
from traffic.clients.state import OPEN, Connections, State
from traffic.clients.transport import Transport
from traffic.engines.scapy.capture import CaptureSockets
from traffic.engines.scapy.engine import ExplainedTransport
from traffic.engines.scapy.tracker import Tracker
from traffic.rings import Rings
from traffic.spec import Arrivals, BurstSpec, Growth, PortBlocks

_EXAMPLES = int(os.environ.get("LAB_CHAOS_EXAMPLES", "150"))
_PATIENCE_S = 1.5
_LONGEST_S = 600.0
_SECONDS = st.sampled_from((0.0, 0.05, 0.3, 1.0))


@st.composite
def _bursts(draw: st.DrawFn) -> BurstSpec:
    connections = draw(st.integers(2, 12))  # each of the two paths has one, or its turn would never come
    reuse = draw(st.booleans())
    udp = draw(st.booleans())
    held = reuse or draw(st.booleans())
    options: dict[str, Any] = {
        "invocations": draw(st.integers(1, 40)) if held else connections,
        "protocol": "udp" if udp else "tcp",
        "close": "fin" if udp else draw(st.sampled_from(("fin", "half-close", "reset"))),
        "connect_timeout_s": _PATIENCE_S,
        "reuse": reuse,
        "requests": draw(st.sampled_from((1, 2, None))) if reuse else draw(st.integers(0, 3)),
        "hold_s": draw(_SECONDS) if held else None,
        "duration_s": draw(_SECONDS) if reuse else 0.0,
        "arrivals": draw(st.sampled_from((Arrivals(), Arrivals(40.0), Arrivals(0.0, 60.0, 1.0)))),
        "growth": draw(st.sampled_from((None, Growth(2, 1.0)))) if held else None,
        "at_a_time": draw(st.sampled_from((None, 1, 3))),
        "blocks": PortBlocks(ports=200, per_environment=draw(st.integers(1, 5))),
        "rest_s": draw(st.sampled_from((2.5, 4.0))),
    }
    return spec(connections, **options)


class _Weather(NamedTuple):
    """What a network does to packets; its server now and then ends connections by itself."""

    seed: int
    limit: int
    lost: float
    slow_s: float
    rude: float


_weathers = st.builds(
    _Weather,
    seed=st.integers(0, 2**32),
    limit=st.sampled_from((0, 3, 1000)),
    lost=st.sampled_from((0.0, 0.1, 0.5)),
    slow_s=st.sampled_from((0.0, 0.2, 0.6)),
    rude=st.sampled_from((0.0, 0.02)),
)


def _explained(spec: BurstSpec, connections: Connections, ring: Rings) -> Transport:
    return ExplainedTransport(spec, connections, ring, CaptureSockets(()), Tracker(lambda _: None))


_Engine = Callable[[BurstSpec, Connections, Rings], Transport] | None


class _Chaos:
    """A network that loses, delays and invents, by a seed."""

    def __init__(self, burst: BurstSpec, weather: _Weather, transport: _Engine = None) -> None:
        self.server = Server(pieces=2)
        self.network = Network(burst, weather.limit, self.server, transport)
        self.weather = weather
        self._random = Random(weather.seed)
        self.network.loses = lambda: self._random.random() < weather.lost
        self.network.delay_s = lambda: round(self._random.random() * weather.slow_s, 6)

    def step(self) -> None:
        """A moment, with what a server may do in it by itself."""
        network = self.network
        network.run(network.now_s, step_s=0.05)
        for key in self.server.held():
            if self._random.random() < self.weather.rude:
                network.say_all(self.server.end(key, self._random.choice((f.RST | f.ACK, f.FIN | f.ACK))))
        _require_sense(network)


def _require_sense(network: Network) -> None:
    counts, connections = network.counts, network.connections
    assert counts.live >= 0
    assert counts.open == network.in_state(*OPEN, State.CLOSING) == counts.established - counts.ended
    assert counts.served <= counts.settled <= counts.begun <= network.spec.offered
    assert counts.settled + network.client.unfinished == network.spec.offered
    assert counts.established == int(counts.established_at.sum())
    assert len(connections) == network.spec.connections


@settings(examples(_EXAMPLES), suppress_health_check=[HealthCheck.too_slow])
@given(burst=_bursts(), weather=_weathers)
def test_whatever_happens(burst: BurstSpec, weather: _Weather) -> None:
    """Every invocation is settled exactly once, and at the end nothing is left open on either side."""
    _require_an_end(_Chaos(burst, weather))


@settings(examples(_EXAMPLES // 3), suppress_health_check=[HealthCheck.too_slow])
@given(burst=_bursts(), weather=_weathers)
def test_whatever_happens_to_scapy_s(burst: BurstSpec, weather: _Weather) -> None:
    """So it is with the scapy engine, one conversation after the other."""
    _require_an_end(_Chaos(replace(burst, at_a_time=1), weather, _explained))


def _require_an_end(chaos: _Chaos) -> None:
    network, weather, burst = chaos.network, chaos.weather, chaos.network.spec
    while network.client.unfinished and network.now_s < _LONGEST_S:
        chaos.step()
    result = network.result()
    assert result.invocations.served + result.invocations.failed == burst.offered == network.counts.settled
    network.client.begin_closing()
    while network.client.is_closing() and network.now_s < 2 * _LONGEST_S:
        chaos.step()
    assert not network.client.is_closing()
    assert network.in_state(*OPEN, State.CLOSING, State.SYN_SENT, State.HALF_OPEN) == 0
    assert network.counts.open == 0
    assert network.tcp.unfinished() == []
    if not (weather.lost or weather.rude):
        assert (chaos.server.held(), chaos.server.doubted) == ([], [])
    assert np.isinf(network.client.next_wake_s())

"""What clients make of TLS handshakes: they follow on connections, requests follow on them, some fail."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.support.network import Network, spec
from traffic import frames as f
from traffic.clients.state import Indices, State
from traffic.result import CONNECTION_ENDED, HELLO_IGNORED, HELLO_LOST, TlsCount


class _Handshakes:
    """Remembers where ClientHellos were sent; of those without an answer, even connections' never arrived."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def begin(self, indices: Indices) -> None:
        """Remember them."""
        self.begun += indices.tolist()

    def why_unanswered(self, indices: Indices) -> Iterator[tuple[str, Indices]]:
        """Each reason with its connections."""
        yield HELLO_LOST, indices[indices % 2 == 0]
        yield HELLO_IGNORED, indices[indices % 2 == 1]


@pytest.fixture
def handshakes() -> _Handshakes:
    """None yet."""
    return _Handshakes()


def _tls(network: Network) -> TlsCount:
    tls = network.result().tls
    assert tls is not None
    return tls


def test_requests_follow_the_handshake(handshakes: _Handshakes) -> None:
    """A connection counts as established before its handshake, and makes no request before it is complete."""
    network = Network(spec(10, requests=1), handshakes=handshakes)
    network.run(0.0)
    assert network.result().tcp.established == 10
    assert (sorted(handshakes.begun), network.flags().count(f.PSH | f.ACK)) == (list(range(10)), 0)
    network.client.secured(np.arange(10), 0.1)
    network.run(0.2)
    assert network.result().requests.answered == network.result().invocations.served == 10
    assert _tls(network) == TlsCount(10, 10, 0, {})


def test_a_handshake_that_fails(handshakes: _Handshakes) -> None:
    """Its invocation has failed, and its connection, which was established, is closed."""
    network = Network(spec(10), handshakes=handshakes)
    network.run(0.0)
    network.client.insecure(np.arange(3), "why")
    network.client.secured(np.arange(3, 10), 0.1)
    network.run(0.2)
    result = network.result()
    assert _tls(network) == TlsCount(10, 7, 3, {"why": 3})
    assert (result.invocations.served, result.invocations.failed) == (7, 3)
    assert (result.tcp.established, result.tcp.timed_out, result.tcp.open) == (10, 0, 7)


def test_a_handshake_without_answer(handshakes: _Handshakes) -> None:
    """At the deadline it has failed, for the reason that its transport knows; no connection timed out."""
    network = Network(spec(5, connect_timeout_s=1.0), handshakes=handshakes)
    network.run(0.9)
    assert network.client.unfinished == 5
    network.run(1.2)
    assert _tls(network) == TlsCount(5, 0, 5, {HELLO_LOST: 3, HELLO_IGNORED: 2})
    assert (network.result().tcp.timed_out, network.in_state(State.CLOSED)) == (0, 5)


def test_a_connection_that_ends_meanwhile(handshakes: _Handshakes) -> None:
    """A handshake fails with its connection."""
    network = Network(spec(2), handshakes=handshakes)
    network.run(0.0)
    network.client.reset(np.arange(1), 0.1)
    network.client.secured(np.arange(2), 0.1)
    assert _tls(network) == TlsCount(2, 1, 1, {CONNECTION_ENDED: 1})


def test_no_more_at_a_time_than_a_server_answers(handshakes: _Handshakes) -> None:
    """A handshake costs a server a hundred times what a SYN does: so many are begun at once, the rest as they end."""
    network = Network(spec(1000), handshakes=handshakes)
    network.run(0.0)
    assert network.result().tcp.established == 1000
    at_once = len(handshakes.begun)
    assert at_once < 1000
    network.client.secured(np.array(handshakes.begun), 0.1)
    network.settle()
    assert len(handshakes.begun) == 2 * at_once

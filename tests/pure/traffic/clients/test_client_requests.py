"""What clients do with a connection: requests, three ways to close, a server that ends it first, UDP, SYNs alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.network import SERVER, Network, spec
from tests.support.server import Server
from traffic import frames as f
from traffic.clients.state import State
from traffic.spec import Arrivals

if TYPE_CHECKING:
    from traffic.spec import Close, SynSchedule

_REQUEST = "PSH|ACK"


def _payloads(network: Network) -> int:
    return sum(bool(segment.payload) for _, segment in network.segments)


# ── Requests ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("requests", [1, 2, 7])
def test_requests_follow_one_another(requests: int) -> None:
    """Each connection makes its requests one by one, and then its invocation is served."""
    network = Network(spec(300, requests=requests))
    network.run(0.0)
    assert network.flags().count(f.PSH | f.ACK) == 300 * requests
    assert network.flags().count(f.ACK) == 300 * (1 + requests)
    result = network.result()
    assert (result.requests.sent, result.requests.answered) == (300 * requests, 300 * requests)
    assert (result.invocations.served, result.invocations.failed) == (300, 0)
    assert result.latency.request is not None
    assert result.latency.request.count == 300 * requests


def test_a_lost_request_is_repeated() -> None:
    """A request that nobody acknowledges goes out again 0.2 s after the first, then after twice as long each time."""
    network = Network(spec(1, requests=1, connect_timeout_s=5.0))
    network.ignores = lambda segment: bool(segment.payload)
    network.run(2.5)
    assert network.when(f.PSH | f.ACK) == pytest.approx([0.0, 0.2, 0.6, 1.4], abs=0.03)
    network.ignores = lambda _: False
    network.run(4.0)
    assert network.when(f.PSH | f.ACK) == pytest.approx([0.0, 0.2, 0.6, 1.4, 3.0], abs=0.03)
    assert network.result().invocations.served == 1
    assert network.result().requests.sent == 1


def test_an_acknowledged_request_is_not_repeated() -> None:
    """A server that has acknowledged a request and takes its time over the response is not asked again."""
    network = Network(spec(1, requests=1))
    network.ignores = lambda segment: bool(segment.payload)
    network.run(0.1)
    (key,) = network.syns()
    network.say(key, f.ACK)
    network.run(4.0)
    assert network.when(f.PSH | f.ACK) == [0.0]
    network.say(key, f.PSH | f.ACK, b"HTTP/1.1 204 No Content\r\n\r\n")
    network.settle()
    assert network.result().invocations.served == 1


def test_a_request_without_answer() -> None:
    """At the deadline the invocation has failed, and the FIN carries the request once more: it fits, lost or not."""
    network = Network(spec(1, requests=1, connect_timeout_s=1.0))
    network.ignores = lambda segment: bool(segment.payload)
    network.run(0.9)
    assert network.client.unfinished == 1
    network.run(1.1)
    assert (network.result().invocations.failed, network.client.unfinished) == (1, 0)
    network.ignores = lambda _: False
    network.run(2.0)
    assert network.names() == ["SYN", "ACK", *[_REQUEST] * 3, "FIN|PSH|ACK", "FIN|PSH|ACK", "ACK", "ACK"]
    assert network.tcp.unfinished() == []


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_a_response_in_several_segments(pieces: int) -> None:
    """A response is whole when its last segment has come, each segment acknowledged, all in one batch or not."""
    network = Network(spec(10, requests=2), server=Server(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100, pieces))
    network.run(0.0)
    assert network.result().requests.answered == 20
    assert network.flags().count(f.ACK) == 10 * (1 + 2 * pieces)


# ── Closing ─────────────────────────────────────────────────────────────────────────────────────────────────

_GOODBYES: list[tuple[Close, int, list[str]]] = [
    ("fin", 0, ["FIN|ACK", "ACK"]),
    ("fin", 1, [_REQUEST, "ACK", "FIN|ACK", "ACK"]),
    ("half-close", 0, ["FIN|PSH|ACK", "ACK", "ACK"]),
    ("half-close", 1, [_REQUEST, "ACK", "FIN|PSH|ACK", "ACK", "ACK"]),
    ("reset", 0, ["RST|ACK"]),
    ("reset", 1, [_REQUEST, "ACK", "RST|ACK"]),
]


@pytest.mark.parametrize("remembers", [True, False])
@pytest.mark.parametrize(("close", "requests", "wanted"), _GOODBYES)
def test_goodbyes(close: Close, requests: int, wanted: list[str], remembers: bool) -> None:  # noqa: FBT001 -- a table's
    """A FIN is answered by a FIN, one with a last request by its response first, and a RST by nothing."""
    server = Server() if remembers else None
    network = Network(spec(1, close=close, requests=requests), server=server)
    network.run(0.5)
    network.client.begin_closing()
    network.run(4.0)
    assert network.names() == ["SYN", "ACK", *wanted]
    assert network.in_state(State.CLOSED) == network.counts.closed == 1
    assert network.tcp.unfinished() == []
    assert server is None or (server.held(), server.doubted) == ([], [])


@pytest.mark.parametrize("flags", [f.RST, f.RST | f.ACK])
def test_a_server_that_resets_an_idle_connection(flags: int) -> None:
    """The connection is reset, without an answer, and the invocation stays served."""
    network = Network(spec(1))
    network.run(0.5)
    network.say(network.syns()[0], flags)
    network.run(1.0)
    assert network.names() == ["SYN", "ACK"]
    result = network.result()
    assert (result.tcp.established, result.tcp.reset, result.tcp.open) == (0, 1, 0)
    assert (result.invocations.served, result.invocations.failed) == (1, 0)


def test_a_server_that_closes_an_idle_connection() -> None:
    """Its FIN, and a copy of it, is answered by a FIN: the connection was established, and not reset."""
    network = Network(spec(1))
    network.run(0.5)
    network.say(network.syns()[0], f.FIN | f.ACK)
    network.run(1.0)
    assert network.in_state(State.CLOSED_BY_SERVER) == 1
    network.say(network.syns()[0], f.FIN | f.ACK, further=-1)
    network.run(1.5)
    assert network.names() == ["SYN", "ACK", "FIN|ACK", "FIN|ACK"]
    assert network.tcp.unfinished() == []
    tcp, invocations = network.result().tcp, network.result().invocations
    assert (tcp.established, tcp.reset, tcp.closed_by_server, tcp.open) == (1, 0, 1, 0)
    assert (invocations.served, invocations.failed) == (1, 0)


def test_a_server_that_answers_and_closes() -> None:
    """As with HTTP/1.0, also where the FIN is in the segment of the answer: the invocations are served."""
    server = Server()
    network = Network(spec(1, requests=1), server=server)
    network.ignores = lambda segment: bool(segment.payload)
    network.run(0.1)
    network.say(network.syns()[0], f.FIN | f.PSH | f.ACK, b"HTTP/1.0 200 OK\r\n\r\n")
    network.run(1.0)
    result = network.result()
    assert (result.tcp.closed_by_server, result.requests.answered, result.invocations.served) == (1, 1, 1)


def test_a_connection_that_the_server_closed_is_not_reused() -> None:
    """The next invocation opens a new one, as HTTP clients do, which counts as another connection."""
    server = Server()
    network = Network(spec(2, invocations=2, requests=None, reuse=True, arrivals=Arrivals(1.0)), server=server)
    network.run(0.5)
    network.say_all(server.end(network.syns()[0], f.FIN | f.ACK))
    network.run(2.0)
    result = network.result()
    assert (result.tcp.attempted, result.tcp.established, result.tcp.closed_by_server) == (2, 2, 1)
    assert (result.invocations.served, result.invocations.reused) == (2, 0)


def test_a_server_that_closes_a_connection_instead_of_an_answer() -> None:
    """The connection was established and closed, and its invocation has failed."""
    network = Network(spec(1, requests=1))
    network.ignores = lambda segment: bool(segment.payload)
    network.run(0.1)
    network.say(network.syns()[0], f.FIN | f.ACK)
    network.run(1.0)
    result = network.result()
    assert (result.tcp.established, result.tcp.closed_by_server, result.tcp.reset) == (1, 1, 0)
    assert (result.invocations.served, result.invocations.failed, network.client.unfinished) == (0, 1, 0)


def test_a_reset_after_the_server_s_fin_changes_nothing() -> None:
    """A program that is gone when a request arrives: its kernel's RST comes after the end."""
    network = Network(spec(1))
    network.run(0.5)
    network.say(network.syns()[0], f.FIN | f.ACK)
    network.settle()
    network.say(network.syns()[0], f.RST)
    network.run(1.0)
    assert (network.counts.closed_by_server, network.counts.reset, network.counts.ended) == (1, 0, 1)


def test_a_server_that_resets_a_connection_instead_of_an_answer() -> None:
    """The connection is reset, and its invocation has failed."""
    flags = f.RST
    network = Network(spec(1, requests=1))
    network.ignores = lambda segment: bool(segment.payload)
    network.run(0.1)
    network.say(network.syns()[0], flags)
    network.say(network.syns()[0], flags)  # a copy on the way
    network.run(1.0)
    result = network.result()
    assert (result.tcp.reset, result.invocations.served, result.invocations.failed) == (1, 0, 1)
    assert network.client.unfinished == 0


def test_a_server_that_accepts_and_resets_at_once() -> None:
    """A connection that is reset before its first request could go out has failed as well; nothing waits forever."""
    server = Server()
    network = Network(spec(1, requests=1), server=server)
    network.deaf = True
    network.run(0.0)
    ((_, syn),) = network.segments
    network.say_all(server.hear(syn))
    network.say_all(server.end(syn.source, f.RST | f.ACK))
    network.run(0.5)
    assert (network.result().tcp.reset, network.result().invocations.failed) == (1, 1)
    assert network.client.unfinished == 0


def test_a_reset_out_of_the_window_is_nobody_s() -> None:
    """A RST whose number is not the server's leaves a connection as it is (RFC 9293 section 3.5.3)."""
    network = Network(spec(1))
    network.run(0.5)
    network.say(network.syns()[0], f.RST, further=100_000)
    network.run(1.0)
    assert network.in_state(State.ESTABLISHED) == 1


def test_aborting_in_the_middle_of_requests() -> None:
    """A RST goes with the number after the request, which is what the server expects."""
    server = Server()
    network = Network(spec(50, requests=1), server=server)
    network.delay_s = lambda: 0.1
    network.run(0.3)
    assert network.in_state(State.REQUESTING) == 50
    assert len(server.held()) == 50
    assert network.client.abort() == 50
    assert (server.held(), server.doubted) == ([], [])


# ── UDP ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_flows() -> None:
    """A flow over UDP is established by the echo of its first datagram, and ends without a word."""
    network = Network(spec(300, protocol="udp"))
    network.run(0.5)
    assert len(network.datagrams) == network.in_state(State.ESTABLISHED) == 300
    network.client.begin_closing()
    network.run(0.6)
    assert len(network.datagrams) == 300
    assert network.segments == []
    assert network.in_state(State.CLOSED) == network.counts.closed == 300


@pytest.mark.parametrize(("schedule", "at_s"), [("classic", [0, 1, 3]), ("linear", [0, 1, 2, 3, 4])])
def test_unanswered_flows(schedule: SynSchedule, at_s: list[int]) -> None:
    """An unanswered first datagram is repeated when a SYN would be, and then the flow has timed out."""
    network = Network(spec(1, protocol="udp", connect_timeout_s=5.0, syn_schedule=schedule))
    network.deaf = True
    network.run(5.5)
    assert [round(moment_s, 3) for moment_s, _ in network.datagrams] == at_s
    assert network.in_state(State.TIMED_OUT) == 1
    assert network.result().drop_threshold == 0


def test_requests_over_udp() -> None:
    """Requests are datagrams as well, one answered after the other."""
    network = Network(spec(20, protocol="udp", requests=3))
    network.run(0.5)
    assert len(network.datagrams) == 20 * 4
    assert network.result().requests.answered == 60


# ── SYNs alone ──────────────────────────────────────────────────────────────────────────────────────────────


def test_syns_alone() -> None:
    """Nobody asks the resolver, nobody acknowledges a SYN-ACK: the connections stay half-open until RSTs end them."""
    network = Network(spec(3000, destinations=(SERVER,)))
    network.run(0.5)
    assert (network.questions, set(network.names())) == ([], {"SYN"})
    result = network.result()
    assert (result.tcp.half_open, result.tcp.established, result.dns.asked) == (3000, 0, 0)
    assert result.invocations.served == 3000
    network.client.begin_closing()
    network.run(0.6)
    assert network.flags().count(f.RST) == 3000
    assert not network.client.is_closing()


def test_syns_alone_at_a_limit() -> None:
    """SYNs that are dropped are repeated and time out, and the threshold is as exact as ever."""
    network = Network(spec(3000, destinations=(SERVER,), connect_timeout_s=2.0), limit=1234)
    network.run(3.0)
    result = network.result()
    assert (result.tcp.half_open, result.tcp.timed_out, result.tcp.unanswered_syns) == (1234, 1766, 2 * 1766)
    assert result.drop_threshold == 1234
    assert np.isinf(network.client.next_wake_s())

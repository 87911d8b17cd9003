"""The clients of a burst: who asks, calls and closes when, and what comes of answers, silence and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.network import PORT, SERVER, Network, spec
from traffic import frames as f
from traffic.clients.state import State
from traffic.dns import encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.frames import Batch, seal, turn_round, u16, u32
from traffic.servers.responder import respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.spec import SynSchedule


def test_everyone_connects() -> None:
    """Without a limit every invocation asks once, calls once and is established."""
    network = Network(spec(3000))
    network.run(1.0)
    assert network.client.unfinished == 0
    assert network.in_state(State.ESTABLISHED) == len(network.syns()) == len(network.questions) == 3000
    assert network.flags().count(f.ACK) == 3000
    assert network.result().drop_threshold is None


def test_first_syns_come_in_the_order_of_invocations() -> None:
    """Nothing overtakes: connection 0 calls first, and the last one last."""
    network = Network(spec(3000))
    network.run(1.0)
    assert network.connections.attempt.tolist() == list(range(3000))


def test_the_threshold_is_exact() -> None:
    """Of 3,000 connections over a limit of 2,345 exactly 2,345 are established, and that is the threshold."""
    network = Network(spec(3000), limit=2345)
    network.run(40.0, step_s=0.1)
    result = network.result()
    assert (result.tcp.established, result.tcp.timed_out) == (2345, 655)
    assert result.drop_threshold == 2345
    assert result.tcp.syn_retransmissions == 655 * 4
    assert len(network.syns()) == 3000 + 655 * 4


@pytest.mark.parametrize(("schedule", "syns"), [("classic", 5), ("linear", 9)])
def test_a_silent_server(schedule: SynSchedule, syns: int) -> None:
    """Every connection to a silent server times out after exactly the schedule's SYNs."""
    network = Network(spec(10, syn_schedule=schedule))
    network.deaf = True
    network.run(29.9)
    assert network.in_state(State.TIMED_OUT) == 0
    network.run(30.2)
    assert network.in_state(State.TIMED_OUT) == 10
    assert len(network.syns()) == 10 * syns
    assert network.result().drop_threshold == 0


def test_a_silent_resolver() -> None:
    """An unanswered question is repeated until the patience ends, and then no connection is attempted."""
    network = Network(spec(10, connect_timeout_s=3.0))
    network.mute = True
    network.run(3.2)
    assert network.in_state(State.DNS_FAILED) == 10
    assert [round(moment_s, 3) for moment_s, _ in network.questions] == [0.0] * 10 + [1.0] * 10 + [2.0] * 10
    assert network.counts.attempted == 0
    assert network.client.unfinished == 0


def test_a_late_resolver() -> None:
    """A repeated question that is answered leads to a connection."""
    network = Network(spec(10))
    network.mute = True
    network.run(0.9)
    network.mute = False
    network.run(2.0)
    assert network.in_state(State.ESTABLISHED) == 10


def test_an_unknown_name() -> None:
    """NXDOMAIN fails the invocation at once."""
    network = Network(spec(3000, hostname="nothing.example.com"))
    network.run(0.1)
    assert network.in_state(State.DNS_FAILED) == 3000


def _rst_for(batch: Batch) -> Batch:
    """A RST back for each SYN, as a closed port sends it."""
    rst = turn_round(batch[:, : f.TCP_OPTIONS])
    u16(rst, f.TOTAL_LENGTH)[:] = f.TCP_OPTIONS - f.IP
    rst[:, f.DATA_OFFSET] = 5 << 4
    rst[:, f.FLAGS] = f.RST | f.ACK
    u32(rst, f.SEQUENCE)[:] = 0
    u32(rst, f.ACKNOWLEDGEMENT)[:] = u32(batch, f.SEQUENCE) + 1
    return seal(rst, f.TCP)


def _syns(network: Network) -> Batch:
    """The SYNs that the clients have sent, once more."""
    codec = FrameCodec(network.spec, encode_query(network.spec.hostname))
    isn = {segment.source: segment.sequence for _, segment in network.segments if segment.flags == f.SYN}
    everyone = np.arange(network.spec.connections)
    numbers = np.zeros(len(everyone), np.uint32)
    server = np.full(len(everyone), int(SERVER), np.uint32)
    frames = codec.segments(everyone, server, f.SYN, numbers, None)
    keys = zip(u32(frames, f.SOURCE).tolist(), u16(frames, f.SOURCE_PORT).tolist(), strict=True)
    u32(frames, f.SEQUENCE)[:] = [isn[key] for key in keys]
    return seal(frames, f.TCP)


def test_refused_and_reset() -> None:
    """A RST for a SYN is a refusal, a RST for an established connection is a reset."""
    network = Network(spec(10), limit=5)
    network.run(0.0)
    network.deliver(_rst_for(_syns(network)[5:]))
    for key in network.syns()[:5]:
        network.say(key, f.RST)
    network.settle()
    assert (network.in_state(State.RESET), network.in_state(State.REFUSED)) == (5, 5)
    assert network.client.unfinished == 0


def test_late_and_repeated_answers() -> None:
    """A SYN-ACK after the deadline is answered by a RST, one for an established connection by another ACK."""
    network = Network(spec(2, connect_timeout_s=0.5), limit=1)
    network.run(1.0)
    network.segments, syns = [], _syns(network)
    for replies in respond(syns, np.full(2, syns.shape[1], np.uint32), [int(SERVER)], PORT, b""):
        network.deliver(replies.frames)
    network.settle()
    assert network.flags() == [f.ACK, f.RST]
    assert (network.in_state(State.ESTABLISHED), network.in_state(State.TIMED_OUT)) == (1, 1)


def test_closing() -> None:
    """Closing takes a FIN, the server's FIN and an ACK for each established connection, no more."""
    network = Network(spec(3000, connect_timeout_s=2.0), limit=2000)
    network.run(3.0)
    network.segments = []
    network.client.begin_closing()
    network.run(4.0)
    assert not network.client.is_closing()
    assert network.in_state(State.CLOSED) == 2000
    assert (network.flags().count(f.FIN | f.ACK), network.flags().count(f.ACK)) == (2000, 2000)
    assert network.tcp.unfinished() == []


def test_closing_against_silence() -> None:
    """Unanswered FINs are repeated twice; then a RST ends the connection on the way."""
    network = Network(spec(3))
    network.run(1.0)
    network.segments = []
    network.deaf = True
    network.client.begin_closing()
    network.run(4.0)
    assert network.in_state(State.ABANDONED) == 3
    assert (network.flags().count(f.FIN | f.ACK), network.flags().count(f.RST | f.ACK)) == (9, 3)


def test_aborting() -> None:
    """Aborting resets what is established and what is half-open."""
    network = Network(spec(300), limit=200)
    network.run(0.5)
    network.segments = []
    assert network.client.abort() == 300
    assert (network.flags().count(f.RST | f.ACK), network.flags().count(f.RST)) == (200, 100)
    assert network.tcp.unfinished() == []


def test_windows() -> None:
    """No more than a window's worth of requests is on its way while nothing answers and patience lasts."""
    network = Network(spec(3000))
    network.mute = True
    network.run(0.0)
    assert network.counts.asked == 1024
    assert network.client.next_wake_s() == pytest.approx(0.05)


def test_garbage_changes_nothing() -> None:
    """Frames from elsewhere, cut short or with wrong numbers leave every connection as it was."""
    network = Network(spec(100))
    network.deaf = True
    network.run(0.5)
    before = network.connections.state.copy()
    syns = _syns(network)
    for damage in _DAMAGES:
        (reply,) = (replies.frames for replies in respond(syns, np.full(100, 58, np.uint32), [int(SERVER)], PORT, b""))
        damage(reply)
        reply[50:, f.FLAGS] = f.RST | f.ACK
        network.deliver(reply)
    network.deliver(reply[:, :40])
    network.settle()
    assert (network.connections.state == before).all()


def _wrong(offset: int) -> Callable[[Batch], None]:
    def damage(batch: Batch) -> None:
        u16(batch, offset)[:] += 7

    return damage


_DAMAGES = [
    _wrong(f.SOURCE + 2),
    _wrong(f.SOURCE_PORT),
    _wrong(f.DESTINATION),
    _wrong(f.ACKNOWLEDGEMENT + 2),
]

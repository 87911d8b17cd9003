"""The clients of a burst against the real responder and name server, over a network that is only a function.

The network between them admits `limit` connections and drops the SYNs of all others, as an ENI does:

    Client ── queries ──────────────── Answers
        └──── segments ── limit ────── respond
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import numpy as np
import pytest

from traffic import frames as f
from traffic.dns import Answers, Zone, encode_query
from traffic.engines import tally
from traffic.engines.client import BATCH, Client
from traffic.engines.client_state import State
from traffic.engines.wire import Wire
from traffic.frames import Batch, seal, turn_round, u16, u32
from traffic.responder import respond, response
from traffic.result import RingCount
from traffic.spec import BurstSpec, EniPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SERVER, RESOLVER, PORT = IPv4Address("203.0.113.10"), IPv4Address("100.64.0.3"), 443
SPEC = BurstSpec(
    interface="eth0",
    mac="02:00:00:00:00:01",
    resolver_address=RESOLVER,
    resolver_mac="02:00:00:00:00:02",
    paths=(
        EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 1000),
        EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.66.0.0"), 1000),
    ),
    hostname="cache.example.com",
    port=PORT,
    connections=3000,
)


class Network:
    """Carries frames to whoever answers them, and the answers back, at a time that only it tells."""

    def __init__(self, spec: BurstSpec, limit: int = 1_000_000) -> None:
        self.client = Client(spec, Wire(spec, encode_query(spec.hostname)))
        self.now_s = 0.0
        self.seen: list[int] = []
        """TCP flags of every segment of the clients, in order."""
        self.syns: list[tuple[int, int]] = []
        """Address and port of every SYN."""
        self.deaf = False
        """Whether the server hears nothing."""
        self.mute = False
        """Whether the resolver says nothing."""
        self._limit = limit
        self._admitted: set[tuple[int, int]] = set()
        records = {"cache.example.com": str(SERVER)}
        self._answers = Answers(Zone(records, 60), records, int(RESOLVER), 53)

    def run(self, until_s: float, step_s: float = 0.025) -> None:
        """Let time pass, with everything that happens in it."""
        while self.now_s <= until_s:
            self.carry(self.client.tick(self.now_s))
            while self.carry(self.client.transmit(self.now_s)):
                pass
            self.now_s += step_s

    def carry(self, batches: Iterable[Batch]) -> bool:
        """Carry frames and all that follows from them; whether there were any."""
        carried = False
        for batch in batches:
            carried = True
            assert len(batch) <= BATCH
            for reply in self._other_side(batch):
                self.carry(self.client.receive(reply, np.full(len(reply), reply.shape[1], np.uint32), self.now_s))
        return carried

    def _other_side(self, batch: Batch) -> list[Batch]:
        lengths = np.full(len(batch), batch.shape[1], np.uint32)
        if batch[0, f.PROTOCOL] == f.UDP:
            return [] if self.mute else [each.frames for each in self._answers.respond(batch, lengths)]
        self.seen += batch[:, f.FLAGS].tolist()
        passed = batch[[self._passes(row) for row in batch]]
        if self.deaf or not len(passed):
            return []
        return [each.frames for each in respond(passed, lengths[: len(passed)], int(SERVER), PORT, response("cache"))]

    def _passes(self, row: Batch) -> bool:
        frame = row[np.newaxis]
        key = int(u32(frame, f.SOURCE)[0]), int(u16(frame, f.SOURCE_PORT)[0])
        if row[f.FLAGS] == f.SYN:
            self.syns.append(key)
            if len(self._admitted) < self._limit:
                self._admitted.add(key)
        return key in self._admitted

    def count(self, state: State) -> int:
        """Connections in a state."""
        return int(self.client.connections.counts()[state])


def test_everyone_connects() -> None:
    """Without a limit every invocation asks once, calls once and is established."""
    network = Network(SPEC)
    network.run(1.0)
    assert network.client.connections.unfinished() == 0
    assert network.count(State.ESTABLISHED) == len(network.syns) == 3000
    assert network.seen.count(f.ACK) == 3000
    assert tally.drop_threshold(network.client.connections) is None


def test_first_syns_come_in_the_order_of_invocations() -> None:
    """Nothing overtakes: connection 0 calls first, and the last one last."""
    network = Network(SPEC)
    network.run(1.0)
    assert network.client.connections.order.tolist() == list(range(3000))


def test_the_threshold_is_exact() -> None:
    """Of 3,000 connections over a limit of 2,345 exactly 2,345 are established, and that is the threshold."""
    network = Network(SPEC, limit=2345)
    network.run(40.0)
    result = tally.result(network.client.connections, 40.0, (), RingCount(0, 0))
    assert (result.tcp.established, result.tcp.timed_out) == (2345, 655)
    assert result.drop_threshold == 2345
    assert result.tcp.syn_retransmissions == 655 * 4
    assert len(network.syns) == 3000 + 655 * 4


@pytest.mark.parametrize(("schedule", "syns"), [("classic", 5), ("linear", 9)])
def test_a_silent_server(schedule: str, syns: int) -> None:
    """Every connection to a silent server times out after exactly the schedule's SYNs."""
    network = Network(replace(SPEC, connections=10, syn_schedule=schedule))  # type: ignore[arg-type]
    network.deaf = True
    network.run(29.9)
    assert network.count(State.TIMED_OUT) == 0
    network.run(30.2)
    assert network.count(State.TIMED_OUT) == 10
    assert len(network.syns) == 10 * syns
    assert tally.drop_threshold(network.client.connections) == 0


def test_a_silent_resolver() -> None:
    """An unanswered question is repeated until the patience ends, and then no connection is attempted."""
    network = Network(replace(SPEC, connections=10, connect_timeout_s=3.0))
    network.mute = True
    network.run(3.2)
    assert network.count(State.DNS_FAILED) == 10
    assert network.client.connections.attempted == 0
    assert network.client.connections.unfinished() == 0


def test_a_late_resolver() -> None:
    """A repeated question that is answered leads to a connection."""
    network = Network(replace(SPEC, connections=10))
    network.mute = True
    network.run(0.9)
    network.mute = False
    network.run(2.0)
    assert network.count(State.ESTABLISHED) == 10


def test_an_unknown_name() -> None:
    """NXDOMAIN fails the invocation at once."""
    network = Network(replace(SPEC, hostname="nothing.example.com"))
    network.run(0.1)
    assert network.count(State.DNS_FAILED) == 3000


def _rst_for(batch: Batch, flags: int = f.RST | f.ACK) -> Batch:
    """A RST back for each SYN, as a closed port sends it."""
    rst = turn_round(batch[:, : f.TCP_OPTIONS])
    u16(rst, f.TOTAL_LENGTH)[:] = f.TCP_OPTIONS - f.IP
    rst[:, f.DATA_OFFSET] = 5 << 4
    rst[:, f.FLAGS] = flags
    u32(rst, f.ACKNOWLEDGEMENT)[:] = u32(batch, f.SEQUENCE) + 1
    return seal(rst, f.TCP)


def test_refused_and_reset() -> None:
    """A RST for a SYN is a refusal, a RST for an established connection is a reset."""
    network = Network(replace(SPEC, connections=10))
    network.deaf = True
    network.run(0.0)
    wire = Wire(SPEC, encode_query(SPEC.hostname))
    everyone = np.arange(10)
    syns = wire.syns(everyone, np.full(10, int(SERVER), np.uint32))
    network.deaf = False
    network.carry([syns[:5]])
    rsts = _rst_for(syns)
    network.carry(network.client.receive(rsts, np.full(10, rsts.shape[1], np.uint32), 0.1))
    assert (network.count(State.RESET), network.count(State.REFUSED)) == (5, 5)
    assert network.client.connections.unfinished() == 0


def test_late_and_repeated_answers() -> None:
    """A SYN-ACK after the deadline is answered by a RST, one for an established connection by another ACK."""
    network = Network(replace(SPEC, connections=2, connect_timeout_s=0.5), limit=1)
    network.run(1.0)
    network.seen.clear()
    network._limit = 2  # noqa: SLF001 -- the network lets late ones through
    wire = Wire(SPEC, encode_query(SPEC.hostname))
    network.carry([wire.syns(np.arange(2), np.full(2, int(SERVER), np.uint32))])
    assert network.seen == [f.SYN, f.SYN, f.ACK, f.RST]
    assert (network.count(State.ESTABLISHED), network.count(State.TIMED_OUT)) == (1, 1)


def test_closing() -> None:
    """Closing takes a FIN, the server's FIN and an ACK for each established connection, no more."""
    network = Network(replace(SPEC, connect_timeout_s=2.0), limit=2000)
    network.run(3.0)
    network.seen.clear()
    network.client.begin_closing()
    network.run(4.0)
    assert not network.client.is_closing()
    assert network.count(State.CLOSED) == 2000
    assert (network.seen.count(f.FIN | f.ACK), network.seen.count(f.ACK)) == (2000, 2000)


def test_closing_against_silence() -> None:
    """Unanswered FINs are repeated twice; then a RST ends the connection on the way."""
    network = Network(replace(SPEC, connections=3))
    network.run(1.0)
    network.seen.clear()
    network.deaf = True
    network.client.begin_closing()
    network.run(4.0)
    assert network.count(State.ABANDONED) == 3
    assert (network.seen.count(f.FIN | f.ACK), network.seen.count(f.RST | f.ACK)) == (9, 3)


def test_aborting() -> None:
    """Aborting resets what is established and what is half-open."""
    network = Network(replace(SPEC, connections=300), limit=200)
    network.run(0.5)
    network.seen.clear()
    network.carry(network.client.abort())
    assert (network.seen.count(f.RST | f.ACK), network.seen.count(f.RST)) == (200, 100)


def test_the_rate() -> None:
    """With a rate, invocations begin no faster than it says."""
    network = Network(replace(SPEC, rate_per_s=100.0))
    network.run(1.99, step_s=0.01)
    assert network.client.connections.asked in (199, 200)


def test_windows() -> None:
    """No more than a window's worth of requests is on its way while nothing answers and patience lasts."""
    network = Network(replace(SPEC, connections=3000))
    network.mute = True
    network.run(0.0)
    assert network.client.connections.asked == 1024
    assert network.client.next_wake_s() == pytest.approx(0.05)


def test_garbage_changes_nothing() -> None:
    """Frames from elsewhere, cut short or with wrong numbers leave every connection as it was."""
    network = Network(replace(SPEC, connections=100))
    network.deaf = True
    network.run(0.5)
    before = network.client.connections.state.copy()
    wire = Wire(SPEC, encode_query(SPEC.hostname))
    syns = wire.syns(np.arange(100), np.full(100, int(SERVER), np.uint32))
    for damage in _DAMAGES:
        (reply,) = (each.frames for each in respond(syns, np.full(100, 58, np.uint32), int(SERVER), PORT, b""))
        damage(reply)
        reply[50:, f.FLAGS] = f.RST | f.ACK
        list(network.client.receive(reply, np.full(100, 58, np.uint32), 0.6))
    list(network.client.receive(reply[:, :40], np.full(100, 40, np.uint32), 0.6))
    assert (network.client.connections.state == before).all()


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

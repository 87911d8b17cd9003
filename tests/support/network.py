"""A burst's clients against the real name server and responder, over a network that is only a function of time.

    Client ── FrameTransport ── Network ──┬── Answers       (the resolver; silent if `mute`)
                         │                └── respond       (the server, or `server`; hears nothing if `deaf`)
                      Witness

The network lets `limit` connections through at a time and drops the SYNs of all others, as an ENI does. `loses` decides
about each frame, `delay_s` about each answer; none overtakes another to the same client.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappop, heappush
from ipaddress import IPv4Address
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from tests.support.server import Server
from tests.support.tcp import Key, Segment, Witness
from traffic import frames as f
from traffic.clients.client import BATCH, Client, connections_of
from traffic.clients.reports import result
from traffic.clients.state import State
from traffic.dns import Answers, Zone, encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.engines.tcp import FrameTransport
from traffic.frames import Batch, u16, u32
from traffic.result import EngineResult, RingCount
from traffic.servers.responder import Replies, respond, response
from traffic.spec import BurstSpec, EniPath, FleetSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from traffic.clients.state import Connections
    from traffic.clients.transport import Handshakes, Transport
    from traffic.rings import Rings

__all__ = ["PORT", "RESOLVER", "SERVER", "SPEC", "Network", "spec"]

SERVER, RESOLVER, PORT = IPv4Address("203.0.113.10"), IPv4Address("100.64.0.3"), 443
SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "eth0",
            "02:00:00:00:00:01",
            (
                EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 1000),
                EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.66.0.0"), 1000),
            ),
        ),
    ),
    resolver_address=RESOLVER,
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=PORT,
    connections=3000,
)

_AT_ONCE = 512
_TYPE_AAAA = 28


def spec(connections: int, **changes: Any) -> BurstSpec:
    """The usual burst of so many connections, with changes."""
    return replace(SPEC, connections=connections, **changes)


def _packet_transport(spec: BurstSpec, connections: Connections, ring: Rings) -> FrameTransport:
    return FrameTransport(spec, connections, FrameCodec(spec, encode_query(spec.hostname)), ring)


class Network:
    """Carries frames to whoever answers them, and the answers back, at times that only it tells."""

    def __init__(
        self,
        spec: BurstSpec,
        limit: int = 1_000_000,
        server: Server | None = None,
        transport: Callable[[BurstSpec, Connections, Rings], Transport] | None = None,
        handshakes: Handshakes | None = None,
    ) -> None:
        self.connections = connections_of(spec, repeats=FrameTransport.repeats)
        self.transport = (transport or _packet_transport)(spec, self.connections, cast("Rings", self))
        self.client = Client(spec, self.connections, self.transport, handshakes=handshakes)
        self.counts = self.connections.counts
        self.spec, self.limit, self.server = spec, limit, server
        self.tcp = Witness(syns_only=spec.destinations is not None)
        self.now_s = 0.0
        self.segments: list[tuple[float, Segment]] = []
        """All that clients sent, and when."""
        self.datagrams: list[tuple[float, Key]] = []
        """Who sent a datagram to the server, and when."""
        self.questions: list[tuple[float, Key]] = []
        self.deaf = self.mute = self.hears_no_aaaa = False
        self.ignores: Callable[[Segment], bool] = lambda _: False
        """What never arrives at the server."""
        self.loses: Callable[[], bool] = lambda: False
        self.delay_s: Callable[[], float] = lambda: 0.0
        self._admitted: set[Key] = set()
        self._gone: set[Key] = set()
        """Whose connection the server has ended by itself."""
        self._last_s: dict[Key, float] = {}
        """When the last answer to each client arrives."""
        self._order = count()
        self._on_the_way: list[tuple[float, int, Batch]] = []
        self._reply = response("cache")
        records = {"cache.example.com": [str(SERVER)]}
        self._answers = Answers(Zone(records, 60), records, int(RESOLVER), 53)

    # Time

    def run(self, until_s: float, step_s: float = 0.025) -> None:
        """Let time pass, with everything that happens in it."""
        while self.now_s <= until_s:
            self.step()
            self.now_s = round(self.now_s + step_s, 6)

    def step(self) -> None:
        """All that happens at this moment."""
        if self.server and not self.deaf:
            self.say_all(self.server.tick(self.now_s))
        self.client.tick(self.now_s)
        self.settle()

    def settle(self) -> None:
        """Carry what there is to carry, without looking at the time."""
        while True:
            received = self.transport.receive(self.client, self.now_s)
            self.tcp.require_answers()
            if not self.client.transmit(self.now_s) and not received:
                return

    # What the transport takes for its rings

    def send(self, batch: Batch, *, in_order: bool = False) -> None:  # noqa: ARG002 -- as `Rings` has it
        """Carry frames to the other side, and its replies on their way back."""
        assert len(batch) <= BATCH
        kept = self._leaving(batch)
        for reply in self._other_side(kept):
            self.deliver(*reply)

    def _leaving(self, batch: Batch) -> Batch:
        """Note what is sent; what is not lost at once."""
        if batch[0, f.PROTOCOL] == f.UDP:
            keys = _keys(batch, f.SOURCE, f.SOURCE_PORT)
            to_resolver = u16(batch, f.DESTINATION_PORT)[0] == 53
            (self.questions if to_resolver else self.datagrams).extend((self.now_s, key) for key in keys)
            unheard = batch[:, -4:-2] == (0, _TYPE_AAAA) if to_resolver and self.hears_no_aaaa else np.zeros((1, 2))
            return batch[np.array([not self.loses() for _ in batch], np.bool_) & ~unheard.all(axis=1)]
        passing = []
        for segment in map(Segment.of, batch):
            self.segments.append((self.now_s, segment))
            self.tcp.sent(segment)
            passing.append(self._passes(segment) and not self.ignores(segment) and not self.loses())
        return batch[passing]

    def _passes(self, segment: Segment) -> bool:
        if segment.flags == f.SYN and segment.source not in self._admitted:
            if len(self._admitted) >= self.limit:
                talking = self.tcp.conversations
                self._admitted = {key for key in self._admitted if not talking[key].finished}
            if len(self._admitted) < self.limit:
                self._admitted.add(segment.source)
        if segment.flags == f.SYN:
            self._gone.discard(segment.source)
        return segment.source in self._admitted and segment.source not in self._gone

    def _other_side(self, batch: Batch) -> Iterable[tuple[Batch, NDArray[np.uint32]]]:
        if not len(batch):
            return
        lengths = np.full(len(batch), batch.shape[1], np.uint32)
        replies: list[Replies] = []
        if u32(batch, f.DESTINATION)[0] == int(RESOLVER):
            replies += [] if self.mute else self._answers.respond(batch, lengths)
        elif not self.deaf and self.server and batch[0, f.PROTOCOL] == f.TCP:
            for segment in map(Segment.of, batch):
                self.say_all(self.server.hear(segment))
        elif not self.deaf:
            replies += respond(batch, lengths, [int(SERVER)], PORT, self._reply)
        for reply in replies:
            width = np.full(len(reply.frames), reply.frames.shape[1], np.uint32)
            yield reply.frames, width if reply.lengths is None else reply.lengths

    def deliver(self, frames: Batch, lengths: NDArray[np.uint32] | None = None) -> None:
        """Frames for the clients set out."""
        ends = [frames.shape[1]] * len(frames) if lengths is None else lengths.tolist()
        keys = _keys(frames, f.DESTINATION, f.DESTINATION_PORT)
        for row, end, key in zip(frames, ends, keys, strict=True):
            if not self.loses():
                self._last_s[key] = max(self._last_s.get(key, 0.0), self.now_s + self.delay_s())
                heappush(self._on_the_way, (self._last_s[key], next(self._order), row[:end]))

    def receive(self) -> tuple[Batch, NDArray[np.uint32]]:
        """What has arrived by now."""
        arrived: list[Batch] = []
        while self._on_the_way and self._on_the_way[0][0] <= self.now_s and len(arrived) < _AT_ONCE:
            arrived.append(heappop(self._on_the_way)[2])
        batch = np.zeros((len(arrived), max(map(len, arrived), default=0)), np.uint8)
        for row, frame in zip(batch, arrived, strict=True):
            row[: len(frame)] = frame
            if row[f.PROTOCOL] == f.TCP and len(frame) >= f.TCP_OPTIONS:
                self.tcp.heard(Segment.of(frame))
        return batch, np.array([len(frame) for frame in arrived], np.uint32)

    def count(self) -> RingCount:
        """A network that is a function loses nothing in rings."""
        return RingCount(0, 0)

    def descriptors(self) -> tuple[int, ...]:
        """There is nothing to wait on."""
        return ()

    # A server that says something by itself

    def say(self, key: Key, flags: int, payload: bytes = b"", *, further: int = 0) -> None:
        """A segment that fits into this client's conversation, `further` in the server's sequence space.

        With a FIN or RST the server says no more.
        """
        if flags & (f.FIN | f.RST):
            self._gone.add(key)
        conversation = self.tcp.conversations[key]
        sequence = ((conversation.expected or 0) + further) & 0xFFFFFFFF
        there = (int(SERVER), PORT)
        self.say_all([Segment(there, key, sequence, conversation.sequence, flags, payload)])

    def say_all(self, segments: Iterable[Segment]) -> None:
        """Segments from the server set out."""
        for segment in segments:
            self.deliver(segment.frame())

    # Looking

    def flags(self) -> list[int]:
        """The flags of every segment of the clients, in order."""
        return [segment.flags for _, segment in self.segments]

    def syns(self) -> list[Key]:
        """Who sent SYNs."""
        return [segment.source for _, segment in self.segments if segment.flags == f.SYN]

    def names(self) -> list[str]:
        """The same in words: what one client alone has sent."""
        return [segment.names for _, segment in self.segments]

    def when(self, flags: int) -> list[float]:
        """When segments with just these flags were sent."""
        return [round(moment_s, 3) for moment_s, segment in self.segments if segment.flags == flags]

    def in_state(self, *states: State) -> int:
        """Connections in one of these states."""
        return len(self.connections.in_state(*states))

    def result(self) -> EngineResult:
        """What the burst amounts to by now."""
        return result(
            self.counts,
            self.spec.offered,
            drop_threshold=self.connections.threshold.value,
            duration_s=self.now_s,
            series=[],
            ring=self.count(),
        )


def _keys(batch: Batch, address: int, port: int) -> list[Key]:
    return list(zip(u32(batch, address).tolist(), u16(batch, port).tolist(), strict=True))

"""The scapy engine's conversations against the real responder and name server, over a link that is only a function."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from traffic import frames as f
from traffic.clients.client import Client, connections_of
from traffic.clients.state import AAAA, A, State
from traffic.dns import Answers, Zone, encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.engines.payloads import request_text
from traffic.engines.scapy.capture import CaptureSockets
from traffic.engines.scapy.codec import ScapyCodec, dissect
from traffic.engines.scapy.engine import ExplainedTransport, run
from traffic.engines.scapy.tracker import Tracker
from traffic.frames import Batch
from traffic.result import RingCount
from traffic.servers.responder import respond, response
from traffic.spec import BurstSpec, EniPath, FleetSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from traffic.engines.scapy.packets import Packet
    from traffic.rings import Rings
    from traffic.servers.responder import Replies

SERVER = IPv4Address("203.0.113.10")
SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "svc",
            "02:00:00:00:00:01",
            (
                EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 4096),
                EniPath("eni-b", "02:00:00:00:00:04", IPv4Address("100.65.32.0"), 4096),
            ),
        ),
    ),
    resolver_address=IPv4Address("100.64.0.2"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=443,
    connections=3,
    at_a_time=1,
    connect_timeout_s=2.0,
)


class FakeLink:
    """Answers frames as the lab would; `limit` clients are admitted, the SYNs of all others are dropped."""

    def __init__(self, spec: BurstSpec, limit: int = 1000) -> None:
        records = {"cache.example.com": [str(SERVER)]}
        self._answers = Answers(Zone(records, 60), records, int(spec.resolver_address), 53)
        self._limit = limit
        self._admitted: set[tuple[str, int]] = set()
        self.waiting: list[bytes] = []
        self.flags: list[str] = []
        """Of each segment that was sent."""
        self.sent: list[bytes] = []
        self.deaf = False

    def send(self, frames: Batch, *, in_order: bool = False) -> None:  # noqa: ARG002 -- as `Rings` has it
        """Take frames, and have their answers wait."""
        for row in frames:
            self._send(row.tobytes())

    def _send(self, frame: bytes) -> None:
        packet = dissect(frame)
        assert packet is not None
        batch, lengths = np.frombuffer(frame, np.uint8)[np.newaxis], np.array([len(frame)], np.uint32)
        if packet.dns:
            self._keep(self._answers.respond(batch, lengths))
            return
        self.flags.append(packet.flags)
        self.sent.append(frame)
        if len(self._admitted) < self._limit:
            self._admitted.add(packet.source)
        if packet.source in self._admitted and not self.deaf:
            self._keep(respond(batch, lengths, [int(SERVER)], 443, response("cache")))

    def _keep(self, replies: Iterable[Replies]) -> None:
        self.waiting += [row.tobytes() for reply in replies for row in reply.frames]

    def receive(self) -> tuple[Batch, NDArray[np.uint32]]:
        """The next frame that waits."""
        frame = self.waiting.pop(0) if self.waiting else b""
        batch = np.frombuffer(frame, np.uint8)[np.newaxis]
        return batch[: bool(frame)], np.array([len(frame)], np.uint32)[: bool(frame)]

    def count(self) -> RingCount:
        """No frame is lost."""
        return RingCount(0, 0)

    def descriptors(self) -> tuple[int, ...]:
        """Nothing to wait on."""
        return ()


class Network:
    """Clients and their link, at a time that only it tells."""

    def __init__(self, spec: BurstSpec, limit: int = 1000) -> None:
        self.link = FakeLink(spec, limit)
        self.known = connections_of(spec, repeats=True)
        tracker = Tracker(lambda _: None)
        self.transport = ExplainedTransport(spec, self.known, cast("Rings", self.link), CaptureSockets(()), tracker)
        self.client = Client(spec, self.known, self.transport)
        self.now_s = 0.0

    def run(self, for_s: float) -> None:
        """Let time pass, with everything that happens in it."""
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self.client.tick(self.now_s)
            while self.client.transmit(self.now_s) | self.transport.receive(self.client, self.now_s):
                pass
            self.now_s += 0.05

    def close(self) -> None:
        """Say goodbye to everybody."""
        self.client.begin_closing()
        self.run(3.0)


INDEX, SERVERS = np.array([1]), np.array([int(SERVER)], np.uint32)


def codec() -> ScapyCodec:
    """A codec whose packets nobody tracks."""
    return ScapyCodec(SPEC, lambda *_: None)


def numbers(*values: int) -> tuple[NDArray[np.uint32], ...]:
    """Sequence and acknowledgement numbers."""
    return tuple(np.array([value], np.uint32) for value in values)


def identified(frame: bytes, identification: int = 1) -> bytes:
    """A packet's bytes with an identification, and so another checksum."""
    packet = Ether(frame)
    packet[IP].id = identification
    del packet[IP].chksum
    return bytes(packet)


def test_packets_are_those_of_the_packet_engine() -> None:
    """What scapy builds is, byte for byte, what the packet engine builds, but for the identification."""
    query = encode_query(SPEC.hostname)
    pairs = zip(
        *(
            (
                codec.queries(INDEX, np.array([A], np.uint8)),
                codec.queries(INDEX, np.array([AAAA], np.uint8)),
                codec.segments(INDEX, SERVERS, f.SYN, *numbers(9, 0)),
                codec.segments(INDEX, SERVERS, f.ACK, *numbers(4_000_000_000, 7)),
                codec.segments(INDEX, SERVERS, f.PSH | f.ACK, *numbers(4_000_000_000, 7)),
                codec.datagrams(INDEX, SERVERS),
            )
            for codec in (codec(), FrameCodec(SPEC, query))
        ),
        strict=True,
    )
    for scapys, packets in pairs:
        assert identified(scapys[0].tobytes()) == packets[0].tobytes()


def test_every_packet_has_an_identification_of_its_own() -> None:
    """It is what a packet is known by along the way, retransmissions included; so is it announced."""
    announced: list[tuple[int, Packet]] = []
    codec = ScapyCodec(SPEC, lambda index, packet: announced.append((index, packet)))
    frames = [codec.segments(INDEX, SERVERS, f.SYN, *numbers(9, 0)) for _ in range(3)]
    assert [Ether(batch[0].tobytes())[IP].id for batch in frames] == [1, 2, 3]
    assert [(index, packet.identification) for index, packet in announced] == [(1, 1), (1, 2), (1, 3)]


def test_dissecting() -> None:
    """A segment's flags, numbers and data are read by its headers alone; what is not marked is nobody's."""
    built = Ether(codec().segments(INDEX, SERVERS, f.FIN | f.PSH | f.ACK, *numbers(9, 7))[0].tobytes())
    packet = dissect(bytes(built))
    assert packet is not None
    assert (packet.flags, packet.sequence, packet.acknowledgement) == ("FIN-PSH-ACK", 9, 7)
    assert packet.payload_bytes == len(request_text(SPEC.hostname))
    assert str(packet.destination) == "203.0.113.10:443"
    built[IP].tos = 0
    assert dissect(identified(bytes(built))) is None


def test_all_connect_one_after_another() -> None:
    """Question, SYN and ACK of one connection before the next one's."""
    network = Network(SPEC)
    network.run(1.0)
    assert network.link.flags == ["SYN", "ACK"] * 3
    assert network.client.counts.established == 3
    network.close()
    assert network.link.flags[6:] == ["FIN-ACK"] * 3 + ["ACK"] * 3
    assert network.client.counts.closed == 3


def test_the_threshold() -> None:
    """Of three with room for two the third is never answered; its SYN was repeated after a second."""
    network = Network(SPEC, limit=2)
    network.run(4.0)
    assert (network.client.counts.established, network.client.counts.timed_out) == (2, 1)
    assert network.link.flags[4:] == ["SYN", "SYN"]


def test_half_close_with_requests() -> None:
    """The last request goes with the FIN, and its response is acknowledged before the server's FIN is."""
    network = Network(replace(SPEC, connections=1, requests=2, close="half-close"))
    network.run(1.0)
    assert network.client.counts.responses == 2
    network.close()
    assert network.link.flags == ["SYN", "ACK", "PSH-ACK", "ACK", "PSH-ACK", "ACK", "FIN-PSH-ACK", "ACK", "ACK"]
    assert network.client.counts.closed == 1


@pytest.mark.parametrize(("protocol", "flags"), [("tcp", ["RST-ACK"]), ("udp", [])])
def test_goodbyes_that_nobody_answers(protocol: Any, flags: list[str]) -> None:
    """A reset waits for nothing, and over UDP there is no goodbye."""
    network = Network(replace(SPEC, connections=1, close="reset", protocol=protocol))
    network.run(1.0)
    before = len(network.link.flags)
    network.close()
    assert network.link.flags[before:] == flags
    assert network.client.counts.closed == 1


def test_aborting() -> None:
    """Whatever is open is reset."""
    network = Network(SPEC)
    network.run(1.0)
    assert network.client.abort() == 3
    assert network.link.flags[6:] == ["RST-ACK"] * 3


def test_a_late_answer_is_reset() -> None:
    """A SYN-ACK for a connection that has been given up gets a RST with the number that it expects."""
    network = Network(replace(SPEC, connections=1))
    network.link.deaf = True
    network.run(3.0)
    assert network.known.state[0] == State.TIMED_OUT
    network.link.deaf = False
    network.link.send(np.frombuffer(network.link.sent[-1], np.uint8)[np.newaxis])
    network.run(0.1)
    assert network.link.flags == ["SYN", "SYN", "SYN", "RST"]
    assert Ether(network.link.sent[-1])[TCP].seq == Ether(network.link.sent[0])[TCP].seq + 1


def test_a_server_that_leaves_first() -> None:
    """Its FIN is answered with another, and ends the connection."""
    network = Network(replace(SPEC, connections=1))
    network.run(0.2)
    ack = Ether(network.link.sent[-1])
    fin = Ether(src=ack.dst, dst=ack.src) / IP(src=ack[IP].dst, dst=ack[IP].src, tos=f.ENGINE_TOS)
    fin /= TCP(sport=443, dport=ack[TCP].sport, flags="FA", seq=ack[TCP].ack, ack=ack[TCP].seq)
    network.link.waiting.append(bytes(fin))
    network.run(0.2)
    assert network.link.flags == ["SYN", "ACK", "FIN-ACK"]
    assert (network.client.counts.closed_by_server, network.client.counts.reset) == (1, 0)


def test_syns_alone_are_not_its_business() -> None:
    """`--syn-only` is for the packet engine."""
    with pytest.raises(ValueError, match="packet engine"):
        run(replace(SPEC, destinations=(SERVER,)))

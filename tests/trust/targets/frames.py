"""Frames as a ring hands them over: to the server that answers them, and to the generator that reads the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from random import Random
import struct

import numpy as np
from numpy.typing import NDArray

from tests.trust.mutation import bytes_changed
from tests.trust.targets.target import Reader, Target
from traffic import frames as f
from traffic.clients.state import AAAA, A
from traffic.dns import Answers, Zone, encode_query
from traffic.engines.frame_codec import FrameCodec
from traffic.frames import Batch
from traffic.servers.responder import respond, response
from traffic.spec import BurstSpec, EniPath, FleetSpec

__all__ = ["CODEC", "RESPONDER"]

_SERVER, _AWAY, _PORT = IPv4Address("203.0.113.10"), IPv4Address("203.0.113.20"), 443
_RECORDS = {"cache.example.com": [str(_SERVER)]}
_CONNECTIONS = 8
_SLOT_BYTES = 2_048
"""A slot of a ring: no frame is longer."""
_SPEC = BurstSpec(
    fleets=(
        FleetSpec(
            "svc", "02:00:00:00:00:01", (EniPath("eni-a", "02:00:00:00:00:03", IPv4Address("100.65.0.0"), 4096),)
        ),
    ),
    resolver_address=IPv4Address("100.64.0.2"),
    resolver_mac="02:00:00:00:00:02",
    hostname="cache.example.com",
    port=_PORT,
    connections=_CONNECTIONS,
)
_QUERY = encode_query("cache.example.com")


def _packed(frames: Sequence[bytes]) -> bytes:
    """A batch as an input: each frame after its length."""
    return b"".join(struct.pack(">H", len(frame)) + frame for frame in frames)


def _unpacked(data: bytes) -> list[bytes]:
    frames = []
    while len(data) > 1:
        length = int.from_bytes(data[:2], "big") % _SLOT_BYTES
        frames.append(data[2 : 2 + length])
        data = data[2 + length :]
    return frames


def _batch(frames: Sequence[bytes]) -> tuple[Batch, NDArray[np.uint32]]:
    lengths = np.array([len(frame) for frame in frames], np.uint32)
    batch = np.zeros((len(frames), int(lengths.max(initial=0))), np.uint8)
    for row, frame in enumerate(frames):
        batch[row, : len(frame)] = np.frombuffer(frame, np.uint8)
    return batch, lengths


def _changed(random: Random, data: bytes) -> bytes:
    """Some of the frames changed, left out or doubled; now and then the batch as bytes."""
    if random.random() < 0.1:
        return bytes_changed(random, data)
    frames = _unpacked(data)
    for _ in range(random.choice((1, 2, 4))):
        if frames:
            at = random.randrange(len(frames))
            new = bytes_changed(random, frames[at])[: _SLOT_BYTES - 1]
            frames[at : at + random.randrange(2)] = [new] * random.choice((0, 1, 1, 1, 2))
    return _packed(frames)


def _sent(codec: FrameCodec, address: IPv4Address) -> list[bytes]:
    """What a burst sends to one address."""
    numbers = np.arange(_CONNECTIONS)
    to = np.full(_CONNECTIONS, int(address), np.uint32)
    ones = np.ones(_CONNECTIONS, np.uint32)
    kinds = [(f.SYN, None), (f.ACK, ones), (f.PSH | f.ACK, ones), (f.FIN | f.ACK, ones), (f.RST, None)]
    batches = [codec.segments(numbers, to, flags, ones, acknowledged) for flags, acknowledged in kinds]
    return [row.tobytes() for batch in (*batches, codec.datagrams(numbers, to)) for row in batch[:2]]


def _requests() -> Sequence[bytes]:
    codec = FrameCodec(_SPEC, _QUERY)
    frames = [*_sent(codec, _SERVER), *_sent(codec, _AWAY)]
    return [_packed(frames[start::3]) for start in range(3)]


@contextmanager
def _responder() -> Iterator[Reader]:
    reply = response("cache")

    def read(data: bytes) -> None:
        batch, lengths = _batch(_unpacked(data))
        for replies in respond(batch, lengths, [int(_SERVER)], _PORT, reply, turned_away=[int(_AWAY)]):
            assert replies.frames.shape[1] <= _SLOT_BYTES, replies.frames.shape
            assert replies.lengths is None or len(replies.lengths) == len(replies.frames), replies

    yield read


def _answers() -> Sequence[bytes]:
    """What comes back to a burst."""
    codec = FrameCodec(_SPEC, _QUERY)
    numbers = np.arange(_CONNECTIONS)
    resolver = Answers(Zone(_RECORDS, 60), _RECORDS, int(_SPEC.resolver_address), 53)
    queries = codec.queries(numbers, np.full(_CONNECTIONS, A | AAAA, np.uint8))
    answered = resolver.respond(queries, np.full(len(queries), queries.shape[1], np.uint32))
    requests, lengths = _batch(_sent(codec, _SERVER))
    answered_too = respond(requests, lengths, [int(_SERVER)], _PORT, response("cache"))
    frames = [row.tobytes() for replies in (*answered, *answered_too) for row in replies.frames]
    return [_packed(frames[start::3]) for start in range(3)]


@contextmanager
def _codec() -> Iterator[Reader]:
    codec = FrameCodec(_SPEC, _QUERY)
    called = np.full(_CONNECTIONS, int(_SERVER), np.uint32)

    def read(data: bytes) -> None:
        dns, segments, datagrams = codec.read(*_batch(_unpacked(data)), called)
        for indices in (dns.good, dns.no_data, dns.bad, segments.indices, datagrams.indices):
            assert ((indices >= 0) & (indices < _CONNECTIONS)).all(), indices

    yield read


RESPONDER = Target("responder", "batches of frames to the server", _requests, _changed, _responder)
CODEC = Target("codec", "batches of frames to the generator", _answers, _changed, _codec)

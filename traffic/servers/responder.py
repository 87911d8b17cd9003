"""The server for the engines' frames: it keeps no state, each reply follows from the frame that it answers.

SYN            → SYN-ACK
data           → ACK with a complete HTTP response
FIN with data  → the same (the client's last request: a half-close), then FIN-ACK
FIN            → FIN-ACK
UDP            → the same datagram back
ACK, RST       → nothing

At the address where connections are turned away:

SYN            → SYN-ACK
ACK of that    → FIN-ACK
data, FIN      → ACK
ACK, RST       → nothing

One segment is one request, whatever its data. All clients get the same response.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from traffic import frames as f
from traffic.frames import Batch, seal, turn_round, u16, u32
from traffic.servers.web import head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Replies", "respond", "response"]

_NO_OPTIONS, _ONE_OPTION = 5 << 4, 6 << 4  # TCP header lengths

Numbers: TypeAlias = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Replies:
    """Frames to send back; `lengths` is None where every frame fills its row."""

    frames: Batch
    lengths: NDArray[np.uint32] | None = None


def response(name: str) -> bytes:
    """The response to data: the name of the server, short enough for a slot of a ring."""
    body = f"server: {name}\n".encode()
    return head(HTTPStatus.OK, len(body), last=False) + body


def respond(
    batch: Batch,
    lengths: NDArray[np.uint32],
    addresses: Sequence[int],
    port: int,
    reply: bytes,
    *,
    turned_away: Sequence[int] = (),
) -> Iterator[Replies]:
    """Replies to the frames for one of `addresses` and `port`; that to data is `reply`, which `response` built.

    They are in each connection's order: a response goes before the FIN that follows it.
    """
    if not len(batch) or batch.shape[1] < f.UDP_PAYLOAD:
        return
    destination, at_port = u32(batch, f.DESTINATION), u16(batch, f.DESTINATION_PORT) == port
    ours = _among(destination, addresses) & at_port
    protocol = batch[:, f.PROTOCOL]
    udp = ours & (protocol == f.UDP)
    if udp.any():
        yield Replies(turn_round(batch[udp]), lengths[udp])
    tcp = ours & (protocol == f.TCP) & (lengths >= f.TCP_OPTIONS)
    if tcp.any():
        yield from _tcp(batch[tcp], reply)
    if turned_away:
        away = _among(destination, turned_away) & at_port & (protocol == f.TCP) & (lengths >= f.TCP_OPTIONS)
        if away.any():
            yield from _turn_away(batch[away])


def _among(destination: NDArray[np.integer[Any]], addresses: Sequence[int]) -> NDArray[np.bool_]:
    found = destination == addresses[0]
    for address in addresses[1:]:
        found |= destination == address
    return np.asarray(found)


_Case: TypeAlias = "tuple[NDArray[np.bool_], Callable[[Batch], Batch]]"


def _replies(segments: Batch, cases: Iterable[_Case]) -> Iterator[Replies]:
    for chosen, reply in cases:
        if chosen.any():
            yield Replies(reply(segments[chosen]))


def _turn_away(segments: Batch) -> Iterator[Replies]:
    """The client's number tells the ACK that ends a handshake: what the SYN-ACK had made of it is acknowledged."""
    flags = segments[:, f.FLAGS]
    kind = flags & (f.SYN | f.FIN | f.RST)
    data = f.tcp_payload_lengths(segments) > 0
    initial = u32(segments, f.SEQUENCE).astype(np.uint32) - np.uint32(1)
    of_handshake = u32(segments, f.ACKNOWLEDGEMENT) == initial * f.ISN_FACTOR + np.uint32(1)
    return _replies(
        segments,
        (
            ((kind == f.SYN) & ((flags & f.ACK) == 0), _syn_ack),
            (~data & (kind == 0) & of_handshake, _fin_ack),
            ((data & (kind == 0)) | (kind == f.FIN), partial(_bare, flags=f.ACK)),
        ),
    )


def _tcp(segments: Batch, response: bytes) -> Iterator[Replies]:
    flags = segments[:, f.FLAGS]
    kind = flags & (f.SYN | f.FIN | f.RST)
    data = f.tcp_payload_lengths(segments) > 0
    return _replies(
        segments,
        (
            ((kind == f.SYN) & ((flags & f.ACK) == 0), _syn_ack),
            (data & ((kind == 0) | (kind == f.FIN)), partial(_data_reply, response=response)),
            (data & (kind == f.FIN), partial(_fin_ack, after=len(response))),
            (~data & (kind == f.FIN), _fin_ack),
        ),
    )


def _syn_ack(syns: Batch) -> Batch:
    """The initial sequence number is a hash of the client's, so a retransmitted SYN gets the same answer."""
    client = u32(syns, f.SEQUENCE).astype(np.uint32)
    reply = _segments(syns, f.SYN | f.ACK, f.MSS_OPTION, _ONE_OPTION)
    return _numbered(reply, client * f.ISN_FACTOR, client + np.uint32(1))


def _data_reply(data: Batch, response: bytes) -> Batch:
    reply = _segments(data, f.ACK | f.PSH, response, _NO_OPTIONS)
    return _numbered(reply, u32(data, f.ACKNOWLEDGEMENT), _end(data))


def _fin_ack(fins: Batch, after: int = 0) -> Batch:
    """The server's own FIN, `after` bytes of response."""
    return _bare(fins, f.FIN | f.ACK, after)


def _bare(received: Batch, flags: int, after: int = 0) -> Batch:
    """A segment without data: the answer to a FIN, to data, or to the end of a handshake."""
    reply = _segments(received, flags, b"", _NO_OPTIONS)
    return _numbered(reply, u32(received, f.ACKNOWLEDGEMENT).astype(np.uint32) + np.uint32(after), _end(received))


def _end(segments: Batch) -> Numbers:
    """The sequence number after each segment; a FIN counts as one byte (RFC 9293 section 3.4)."""
    payload = f.tcp_payload_lengths(segments).astype(np.uint32)
    fin = (segments[:, f.FLAGS] & f.FIN).astype(np.uint32)
    return u32(segments, f.SEQUENCE).astype(np.uint32) + payload + fin


def _segments(received: Batch, flags: int, tail: bytes, header: int) -> Batch:
    """Segments back to the source of `received`; numbers and checksums are still to be set."""
    width = f.TCP_OPTIONS + len(tail)
    reply = np.empty((len(received), width), np.uint8)
    reply[:, : f.TCP_OPTIONS] = turn_round(received[:, : f.TCP_OPTIONS])
    u16(reply, f.TOTAL_LENGTH)[:] = width - f.IP
    reply[:, f.TTL] = f.INITIAL_TTL
    reply[:, f.DATA_OFFSET] = header
    reply[:, f.FLAGS] = flags
    u32(reply, f.WINDOW)[:] = f.FULL_WINDOW << 16
    u32(reply, f.TCP_CHECKSUM)[:] = 0  # with the urgent pointer
    reply[:, f.TCP_OPTIONS :] = np.frombuffer(tail, np.uint8)
    return reply


def _numbered(reply: Batch, sequence: NDArray[Any], acknowledgement: NDArray[Any]) -> Batch:
    u32(reply, f.SEQUENCE)[:] = sequence
    u32(reply, f.ACKNOWLEDGEMENT)[:] = acknowledgement
    return seal(reply, f.TCP)

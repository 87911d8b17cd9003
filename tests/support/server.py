"""A server with a memory, as a kernel has: it believes only what fits, and repeats what nobody acknowledges.

The lab's own responder has none; whoever talks with both talks TCP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.tcp import Key, Segment
from traffic import frames as f

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Server"]

_MASK = 0xFFFFFFFF
_HALF = 1 << 31
_WINDOW = 0xFFFF
_END_OF_REQUEST = b"\r\n\r\n"
_AGAIN_S = 0.3
_TRIES = 5


@dataclass(slots=True)
class _Held:
    """One connection, as the server knows it."""

    syn: Segment
    initial: int
    expected: int
    """The client's next sequence number."""
    stream: list[bytes] = field(default_factory=list)
    """What was sent and is not acknowledged."""
    before: int = 1
    """How much was sent before that and is acknowledged; the SYN-ACK counts as one from the start."""
    accepted: bool = False
    fin_heard: bool = False
    fin_sent: bool = False
    tries: int = 0
    again_s: float = _AGAIN_S

    @property
    def following(self) -> int:
        """Its own next sequence number."""
        return (self.initial + self.before + sum(map(len, self.stream)) + self.fin_sent) & _MASK


class Server:
    """Answers each request with `response`, in so many pieces, and says goodbye when the client does."""

    def __init__(self, response: bytes = b"HTTP/1.1 200 OK\r\n\r\nhello\n", pieces: int = 1) -> None:
        self._pieces = [response[piece::pieces] for piece in range(pieces)]
        self._held: dict[Key, _Held] = {}
        self._now_s = 0.0
        self.doubted: list[Segment] = []
        """RSTs that did not come at the very number that was expected."""

    def held(self) -> list[Key]:
        """Whose connections are open."""
        return sorted(key for key, held in self._held.items() if held.accepted)

    def hear(self, segment: Segment) -> Iterator[Segment]:
        """What is said to a segment."""
        held = self._held.get(segment.source)
        if segment.kind == f.SYN:
            yield self._welcome(segment, held)
        elif held is None or segment.flags == f.RST | f.ACK or segment.kind & f.RST:
            yield from self._reset(segment, held)
        else:
            self._take_acknowledgement(segment, held)
            yield from self._take(segment, held)

    def end(self, key: Key, flags: int) -> Iterator[Segment]:
        """End a connection, politely or not."""
        if (held := self._held.get(key)) is None or held.fin_sent:
            return
        if flags & f.RST:
            del self._held[key]
        yield _segment(held, flags, held.following)
        held.fin_sent = True

    def tick(self, now_s: float) -> Iterator[Segment]:
        """Say again what has had no answer for too long; forget whose client has gone."""
        self._now_s = now_s
        for key, held in list(self._held.items()):
            waits = held.stream or held.fin_sent or not held.accepted
            if not waits or now_s < held.again_s:
                continue
            held.tries, held.again_s = held.tries + 1, now_s + _AGAIN_S
            if held.tries > _TRIES:
                del self._held[key]
            yield from self._again(held)

    def _welcome(self, syn: Segment, held: _Held | None) -> Segment:
        if held is None or held.syn != syn:
            initial = (syn.sequence * 7919) & _MASK
            held = self._held[syn.source] = _Held(syn, initial, (syn.sequence + 1) & _MASK)
            held.again_s = self._now_s + _AGAIN_S
        return _segment(held, f.SYN | f.ACK, held.initial)

    def _reset(self, segment: Segment, held: _Held | None) -> Iterator[Segment]:
        if held is None:
            if not segment.kind & f.RST:
                here, there = segment.destination, segment.source
                yield Segment(here, there, segment.acknowledgement, 0, f.RST, b"")
        elif segment.sequence == held.expected:
            del self._held[segment.source]
        else:
            self.doubted.append(segment)
            if (segment.sequence - held.expected) & _MASK < _WINDOW:
                yield _segment(held, f.ACK, held.following)

    def _take_acknowledgement(self, segment: Segment, held: _Held) -> None:
        place = (segment.acknowledgement - held.initial) & _MASK
        held.accepted = True
        while held.stream and held.before + len(held.stream[0]) <= place < _HALF:
            held.before += len(held.stream.pop(0))
            held.tries, held.again_s = 0, self._now_s + _AGAIN_S
        if held.fin_sent and held.fin_heard and place == held.before + 1 and not held.stream:
            del self._held[segment.source]

    def _take(self, segment: Segment, held: _Held) -> Iterator[Segment]:
        """Data and FIN, as far as they are new and follow what came before."""
        if not segment.length:
            return
        old = (held.expected - segment.sequence) & _MASK
        if old >= _HALF or old >= segment.length or held.fin_heard:
            yield _segment(held, f.ACK, held.following)
            return
        data = segment.payload[old:]
        if data and held.fin_sent:  # nobody is there any more to take it
            del self._held[segment.source]
            yield _segment(held, f.RST | f.ACK, held.following)
            return
        held.expected = (segment.sequence + segment.length) & _MASK
        for _ in range(data.count(_END_OF_REQUEST)):
            yield from self._answer(held)
        if segment.kind == f.FIN and held.fin_sent:  # the client's answer to a FIN
            held.fin_heard = True
            yield _segment(held, f.ACK, held.following)
            self._take_acknowledgement(segment, held)
        elif segment.kind == f.FIN:
            held.fin_heard = held.fin_sent = True
            yield _segment(held, f.FIN | f.ACK, held.following - 1)

    def _answer(self, held: _Held) -> Iterator[Segment]:
        for piece in self._pieces:
            last = f.PSH if piece is self._pieces[-1] else 0
            yield _segment(held, f.ACK | last, held.following, piece)
            held.stream.append(piece)
        held.again_s = self._now_s + _AGAIN_S

    def _again(self, held: _Held) -> Iterator[Segment]:
        if not held.accepted:
            yield _segment(held, f.SYN | f.ACK, held.initial)
            return
        if held.stream:
            start = (held.initial + held.before) & _MASK
            yield _segment(held, f.ACK | f.PSH, start, b"".join(held.stream))
        if held.fin_sent:
            yield _segment(held, f.FIN | f.ACK, held.following - 1)


def _segment(held: _Held, flags: int, sequence: int, payload: bytes = b"") -> Segment:
    return Segment(held.syn.destination, held.syn.source, sequence, held.expected, flags, payload)

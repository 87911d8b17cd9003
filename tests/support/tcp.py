"""A strict witness of the clients' TCP: it sees each segment that they send or hear, and raises at a wrong one.

It knows what RFC 9293 lets a client send next: which sequence numbers, acknowledgement and flags, when a SYN may begin
a conversation again, and what must not go without an answer. It keeps a conversation for each address and port.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import struct
from typing import NamedTuple, Self

import numpy as np

from traffic import frames as f
from traffic.frames import Batch, seal, u16, u32

__all__ = ["Conversation", "Key", "Segment", "TcpError", "Witness"]

Key = tuple[int, int]
"""A client's address and port: there is one server."""

_TCP = struct.Struct("!HHIIBB")
_MASK = 0xFFFFFFFF
_HALF = 1 << 31
_NAMES = ((f.SYN, "SYN"), (f.FIN, "FIN"), (f.RST, "RST"), (f.PSH, "PSH"), (f.ACK, "ACK"))


class TcpError(AssertionError):
    """A segment that TCP does not allow, or one that should have been sent and was not."""


class Segment(NamedTuple):
    """One TCP segment."""

    source: Key
    destination: Key
    sequence: int
    acknowledgement: int
    flags: int
    payload: bytes

    @classmethod
    def of(cls, row: Batch) -> Self:
        """The segment in a frame."""
        raw = row.tobytes()
        source_port, destination_port, sequence, acknowledgement, offset, flags = _TCP.unpack_from(raw, f.TRANSPORT)
        end = f.IP + int.from_bytes(raw[f.TOTAL_LENGTH : f.TOTAL_LENGTH + 2], "big")
        return cls(
            (int.from_bytes(raw[f.SOURCE : f.SOURCE + 4], "big"), source_port),
            (int.from_bytes(raw[f.DESTINATION : f.DESTINATION + 4], "big"), destination_port),
            sequence,
            acknowledgement,
            flags,
            raw[f.TRANSPORT + (offset >> 4) * 4 : end],
        )

    def frame(self) -> Batch:
        """A frame with this segment, in a batch of its own."""
        raw = np.zeros((1, f.TCP_OPTIONS + len(self.payload)), np.uint8)
        raw[0, f.ETHERNET_TYPE] = 0x08
        raw[0, f.IP], raw[0, f.IP + 1], raw[0, f.TTL], raw[0, f.PROTOCOL] = 0x45, f.ENGINE_TOS, f.INITIAL_TTL, f.TCP
        u16(raw, f.TOTAL_LENGTH)[:] = raw.shape[1] - f.IP
        u32(raw, f.SOURCE)[:], u16(raw, f.SOURCE_PORT)[:] = self.source
        u32(raw, f.DESTINATION)[:], u16(raw, f.DESTINATION_PORT)[:] = self.destination
        u32(raw, f.SEQUENCE)[:], u32(raw, f.ACKNOWLEDGEMENT)[:] = self.sequence, self.acknowledgement
        raw[0, f.DATA_OFFSET], raw[0, f.FLAGS] = 5 << 4, self.flags
        raw[0, f.TCP_OPTIONS :] = np.frombuffer(self.payload, np.uint8)
        return seal(raw, f.TCP)

    @property
    def kind(self) -> int:
        """What opens or closes a conversation, among its flags."""
        return self.flags & (f.SYN | f.FIN | f.RST)

    @property
    def length(self) -> int:
        """How much of the sequence space it takes."""
        return len(self.payload) + bool(self.flags & f.SYN) + bool(self.flags & f.FIN)

    @property
    def names(self) -> str:
        """The names of its flags."""
        return "|".join(name for flag, name in _NAMES if self.flags & flag)


@dataclass(slots=True)
class Conversation:
    """What both sides have sent each other."""

    syn: Segment
    stream: bytearray = field(default_factory=bytearray)
    """All that the client has sent."""
    fin_sent: bool = False
    acknowledged: int = 0
    """How much of the client's sequence space the server has acknowledged, its SYN included."""
    expected: int | None = None
    """The server's next sequence number; None before its SYN-ACK."""
    accepted: bool = False
    """Whether the client has acknowledged that."""
    fin_heard: bool = False
    server_first: bool = False
    """Whether the server's FIN came before the client's: then nobody waits for the last acknowledgement."""
    early_fin: int | None = None
    """The number of a FIN that came before the data in front of it; the client may have kept it, or not."""
    broken: bool = False
    """Whether the server has reset it; it is over when the client has had time to notice."""
    over: bool = False
    owed: bool = False
    """Whether the client owes an acknowledgement."""
    told: set[int] = field(default_factory=set)
    """What the client may acknowledge: all that it has heard, or a part of what came at once."""

    story: list[str] = field(default_factory=list)
    """Every segment, as words."""

    @property
    def following(self) -> int:
        """How much of its sequence space the client has used."""
        return 1 + len(self.stream) + self.fin_sent

    @property
    def sequence(self) -> int:
        """The client's next sequence number."""
        return (self.syn.sequence + self.following) & _MASK

    @property
    def finished(self) -> bool:
        """Whether nothing of it is left: both sides have said goodbye and know it, or one has reset it."""
        known = self.server_first or self.acknowledged == self.following
        return self.over or (self.fin_sent and self.fin_heard and known and not self.owed)

    def tell(self, arrow: str, segment: Segment) -> None:
        """Remember a segment."""
        zero, other = self.syn.sequence, self.expected or 0
        ours, theirs = (segment.sequence, segment.acknowledgement)[:: 1 if arrow == "->" else -1]
        numbers = f"{(ours - zero) & _MASK}/{((theirs - other + _HALF) & _MASK) - _HALF:+}"
        self.story.append(f"{arrow} {segment.names:11} {numbers} {len(segment.payload)} bytes")

    def __str__(self) -> str:
        return "\n".join(("", *self.story))


class Witness:
    """The last conversation of each client; with `syns_only` none may come to more than a SYN-ACK."""

    def __init__(self, *, syns_only: bool = False) -> None:
        self._syns_only = syns_only
        self.conversations: dict[Key, Conversation] = {}
        self._touched: set[Key] = set()

    # What clients send

    def sent(self, segment: Segment) -> None:
        """A client sends a segment, whatever becomes of it."""
        conversation = self.conversations.get(segment.source)
        if segment.kind == f.SYN:
            self._syn(segment, conversation)
            return
        if conversation is None or (self._syns_only and segment.flags != f.RST):
            raise TcpError(f"{segment.names} where there has been no SYN, or may be nothing else")
        conversation.tell("->", segment)
        if segment.flags & f.ACK and conversation.early_fin == conversation.expected == segment.acknowledgement - 1:
            _take_fin(conversation)
        try:
            _check(segment, conversation)
        except TcpError as error:
            raise TcpError(f"{error}: {conversation}") from None
        if segment.flags & f.ACK:
            conversation.accepted = True
            conversation.owed = conversation.owed and segment.acknowledgement != conversation.expected
        if segment.kind & f.RST:
            conversation.over, conversation.owed = True, False

    def _syn(self, segment: Segment, before: Conversation | None) -> None:
        if segment.flags != f.SYN or segment.acknowledgement or segment.payload:
            raise TcpError("a SYN has nothing else")
        if before is None:
            pass
        elif segment == before.syn and before.expected is None:
            return  # sent again
        elif not (before.finished or before.expected is None):
            raise TcpError(f"a SYN, and the port's last conversation is not over: {before}")
        elif not 0 < (segment.sequence - before.sequence) & _MASK < _HALF:
            raise TcpError(f"a SYN within the sequence numbers of the port's last conversation: {before}")
        self.conversations[segment.source] = Conversation(segment)

    # What they hear

    def heard(self, segment: Segment) -> None:
        """A segment arrives at a client."""
        conversation = self.conversations.get(segment.destination)
        if conversation is None or conversation.over or segment.source != conversation.syn.destination:
            return
        conversation.tell("<-", segment)
        self._touched.add(segment.destination)
        past = conversation.finished and segment.kind != f.FIN
        if segment.kind & f.RST:
            _take_rst(segment, conversation)
        elif segment.kind == f.SYN:
            _take_syn_ack(segment, conversation)
        elif conversation.expected is not None:
            _take(segment, conversation)
        if segment.length and not past and not self._syns_only and _taken(segment, conversation):
            conversation.owed = True

    def require_answers(self) -> None:
        """By now the clients have acknowledged all that they heard."""
        for key in self._touched:
            conversation = self.conversations[key]
            conversation.over |= conversation.broken
            if conversation.owed and not conversation.over:
                raise TcpError(f"what was heard is not acknowledged: {conversation}")
            if conversation.expected is not None:
                conversation.told = {conversation.expected}
        self._touched.clear()

    def unfinished(self) -> list[Key]:
        """Conversations that were established and have not come to an end."""
        held = (key for key, each in self.conversations.items() if each.expected is not None and not each.finished)
        return sorted(held)


def _check(segment: Segment, conversation: Conversation) -> None:
    if segment.flags not in _ALLOWED:
        raise TcpError("no such flags")
    if bool(segment.flags & f.PSH) != bool(segment.payload):
        raise TcpError("data goes with PSH, and PSH with data")
    if segment.kind & f.RST:
        _check_rst(segment, conversation)
        return
    if conversation.over:
        raise TcpError("the conversation is over")
    if conversation.expected is None:
        raise TcpError("nothing but a SYN or a RST goes before the SYN-ACK")
    if segment.acknowledgement not in conversation.told:
        raise TcpError("it acknowledges something else than was heard")
    _check_sequence(segment, conversation)


_ALLOWED = {f.ACK, f.PSH | f.ACK, f.FIN | f.ACK, f.FIN | f.PSH | f.ACK, f.RST, f.RST | f.ACK}


def _check_rst(segment: Segment, conversation: Conversation) -> None:
    """Where the server would believe it: at the very next number (RFC 5961 section 3.2), or after the SYN."""
    late = conversation.finished and segment.sequence == (conversation.syn.sequence + 1) & _MASK
    if segment.sequence != conversation.sequence and not late:
        raise TcpError("a RST goes with the next sequence number")
    if segment.flags & f.ACK:
        if segment.acknowledgement != conversation.expected:
            raise TcpError("it acknowledges something else than was heard")
    elif segment.acknowledgement or (conversation.accepted and not conversation.finished):
        raise TcpError("a RST without ACK is for who is not established, and acknowledges nothing")


def _check_sequence(segment: Segment, conversation: Conversation) -> None:
    """Data and FIN are new, or again what they were, and unacknowledged; anything else has the next number."""
    place = (segment.sequence - conversation.syn.sequence) & _MASK
    if not segment.length:
        if place != conversation.following:
            raise TcpError("an ACK goes with the next sequence number")
        return
    # The answer to a server's FIN is repeated with it.
    answered = (
        conversation.fin_heard and not conversation.server_first if segment.kind else place < conversation.acknowledged
    )
    if answered or place > conversation.following:
        raise TcpError("it is answered already, or leaves a gap")
    start, end = place - 1, place - 1 + len(segment.payload)
    known = bytes(conversation.stream[start:end])
    if known != segment.payload[: len(known)]:
        raise TcpError("it repeats other data than were sent")
    if conversation.fin_sent and (end > len(conversation.stream) or (segment.kind and end < len(conversation.stream))):
        raise TcpError("data after the FIN, or another FIN")
    conversation.stream += segment.payload[len(known) :]
    conversation.fin_sent |= bool(segment.kind)


def _take_syn_ack(segment: Segment, conversation: Conversation) -> None:
    if segment.acknowledgement != (conversation.syn.sequence + 1) & _MASK:
        return
    if conversation.expected is None:
        conversation.expected = (segment.sequence + 1) & _MASK
        conversation.acknowledged = 1
        conversation.told = {conversation.expected}


def _take_rst(segment: Segment, conversation: Conversation) -> None:
    if conversation.expected is None:
        conversation.broken = segment.acknowledgement == (conversation.syn.sequence + 1) & _MASK
    else:
        conversation.broken |= (segment.sequence - conversation.expected) & _MASK < f.FULL_WINDOW


def _take(segment: Segment, conversation: Conversation) -> None:
    acknowledged = (segment.acknowledgement - conversation.syn.sequence) & _MASK
    if conversation.acknowledged < acknowledged <= conversation.following:
        conversation.acknowledged = acknowledged
    if segment.sequence == conversation.expected and not conversation.fin_heard:
        conversation.expected = (segment.sequence + len(segment.payload)) & _MASK
        conversation.told.add(conversation.expected)
    crossing = conversation.fin_sent and conversation.acknowledged < conversation.following
    if segment.kind == f.FIN and not (conversation.fin_heard or crossing):
        conversation.early_fin = (segment.sequence + len(segment.payload)) & _MASK
        if conversation.early_fin == segment.sequence == conversation.expected:
            _take_fin(conversation)


def _take_fin(conversation: Conversation) -> None:
    conversation.expected = ((conversation.expected or 0) + 1) & _MASK
    conversation.told.add(conversation.expected)
    conversation.fin_heard, conversation.early_fin = True, None
    conversation.server_first = not conversation.fin_sent


def _taken(segment: Segment, conversation: Conversation) -> bool:
    """Whether it is in the past by now: then it must be acknowledged, or the server repeats it forever."""
    if conversation.expected is None or conversation.broken or (segment.kind == f.FIN and not conversation.fin_heard):
        return False
    return (conversation.expected - segment.sequence - segment.length) & _MASK < _HALF

"""A strict witness of the clients' TCP: it sees each segment that they send or hear, and raises at a wrong one.

It knows what RFC 9293 lets a client send next: which sequence numbers, acknowledgement and flags, when a SYN may begin
a conversation again, and what must not go without an answer. It keeps a conversation for each address and port.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import struct
from typing import NamedTuple, Self

from traffic import frames as f
from traffic.frames import Batch

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

    @property
    def kind(self) -> int:
        """What opens or closes a conversation, among its flags."""
        return self.flags & (f.SYN | f.FIN | f.RST)

    @property
    def length(self) -> int:
        """How much of the sequence space it takes."""
        return len(self.payload) + bool(self.flags & f.SYN) + bool(self.flags & f.FIN)

    def __str__(self) -> str:
        flags = "|".join(name for flag, name in _NAMES if self.flags & flag)
        return f"{flags} seq {self.sequence} ack {self.acknowledgement}, {len(self.payload)} bytes"


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
    over: bool = False
    owed: bool = False
    """Whether the client owes an acknowledgement."""
    told: set[int] = field(default_factory=set)
    """What the client may acknowledge: all that it has heard, or a part of what came at once."""

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
        goodbye = self.fin_sent and self.fin_heard and self.acknowledged == self.following and not self.owed
        return self.over or goodbye


class Witness:
    """The last conversation of each client; with `syns_only` none may come to more than a SYN-ACK."""

    def __init__(self, *, syns_only: bool = False) -> None:
        self._syns_only = syns_only
        self.conversations: dict[Key, Conversation] = {}
        self._owing: set[Key] = set()

    # What clients send

    def sent(self, segment: Segment) -> None:
        """A client sends a segment, whatever becomes of it."""
        conversation = self.conversations.get(segment.source)
        if segment.kind == f.SYN:
            self._syn(segment, conversation)
            return
        if conversation is None or (self._syns_only and segment.flags != f.RST):
            raise TcpError(f"{segment}: there has been no SYN, or there may be nothing else")
        try:
            _check(segment, conversation)
        except TcpError as error:
            raise TcpError(f"{segment.source}: {segment}: {error}; {conversation}") from None
        if segment.flags & f.ACK:
            conversation.accepted = True
            conversation.owed = conversation.owed and segment.acknowledgement != conversation.expected
        if segment.kind & f.RST:
            conversation.over, conversation.owed = True, False

    def _syn(self, segment: Segment, before: Conversation | None) -> None:
        if segment.flags != f.SYN or segment.acknowledgement or segment.payload:
            raise TcpError(f"{segment}: a SYN has nothing else")
        if before is None:
            pass
        elif segment == before.syn and before.expected is None:
            return  # sent again
        elif not (before.finished or before.expected is None):
            raise TcpError(f"{segment}: the port's last conversation is not over: {before}")
        elif not 0 < (segment.sequence - before.sequence) & _MASK < _HALF:
            raise TcpError(f"{segment}: begins before the port's last conversation has ended: {before}")
        self.conversations[segment.source] = Conversation(segment)

    # What they hear

    def heard(self, segment: Segment) -> None:
        """A segment arrives at a client."""
        conversation = self.conversations.get(segment.destination)
        if conversation is None or conversation.over or segment.source != conversation.syn.destination:
            return
        if segment.kind & f.RST:
            _take_rst(segment, conversation)
        elif segment.kind == f.SYN:
            _take_syn_ack(segment, conversation)
        elif conversation.expected is not None:
            _take(segment, conversation)
        if segment.length and conversation.expected is not None and not (conversation.over or self._syns_only):
            conversation.owed = True
            self._owing.add(segment.destination)

    def require_answers(self) -> None:
        """By now the clients have acknowledged all that they heard."""
        for key in self._owing:
            conversation = self.conversations[key]
            if conversation.owed:
                raise TcpError(f"{key}: what was heard is not acknowledged: {conversation}")
            if conversation.expected is not None:
                conversation.told = {conversation.expected}
        self._owing.clear()

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
    """Where the server would believe it: at the very next number (RFC 5961 section 3.2)."""
    if segment.sequence != conversation.sequence:
        raise TcpError("a RST goes with the next sequence number")
    if segment.flags & f.ACK:
        if segment.acknowledgement != conversation.expected:
            raise TcpError("it acknowledges something else than was heard")
    elif segment.acknowledgement or conversation.accepted:
        raise TcpError("a RST without ACK is for who is not established, and acknowledges nothing")


def _check_sequence(segment: Segment, conversation: Conversation) -> None:
    """Data and FIN are new, or again what they were, and unacknowledged; anything else has the next number."""
    place = (segment.sequence - conversation.syn.sequence) & _MASK
    if not segment.length:
        if place != conversation.following:
            raise TcpError("an ACK goes with the next sequence number")
        return
    if not conversation.acknowledged <= place <= conversation.following:
        raise TcpError("it is acknowledged already, or leaves a gap")
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
        conversation.over = segment.acknowledgement == (conversation.syn.sequence + 1) & _MASK
    else:
        conversation.over = segment.sequence == conversation.expected


def _take(segment: Segment, conversation: Conversation) -> None:
    acknowledged = (segment.acknowledgement - conversation.syn.sequence) & _MASK
    if conversation.acknowledged < acknowledged <= conversation.following:
        conversation.acknowledged = acknowledged
    if segment.sequence == conversation.expected and not conversation.fin_heard:
        conversation.expected = (segment.sequence + segment.length) & _MASK
        conversation.fin_heard = segment.kind == f.FIN
        conversation.told.add(conversation.expected)

"""Connection slots in nft text: a set with `size N` that holds one element per connection, in step with conntrack.

`update @set { tuple }` admits a packet when its tuple is in the set or the set has room; when the set is full the
statement does not match and the packet goes on to the rule that refuses it. The limit is exact because the kernel
reserves the element before it inserts it (nft_dynset.c, `atomic_add_unless(&set->nelems, 1, set->size)`), and a
retransmitted SYN finds its own element. `ct count`, the obvious way, walks a list for each new connection.

An element lives as long as conntrack keeps the entry, because both are given the same timeouts:

    packet                        TCP state of conntrack         element's timeout
    SYN, SYN-ACK                  SYN_SENT, SYN_RECV             half_open
    anything else, first FIN      ESTABLISHED, *_WAIT            idle
    second FIN, RST, what follows LAST_ACK, TIME_WAIT, CLOSE     port_hold
    ACK in answer to a SYN        SYN_SENT                       as it is

The connection mark remembers, per conntrack entry, which set holds its slot (low 16 bits), and whether a TCP connection
is active: its handshake is complete and it is not closed. Both ends of being active are counted, and at the end also
which side's FIN or RST came first. An entry that expires while active runs no rule, so what is active in the counters
and no more in conntrack are the idle timeouts (`lab.observe.sampling`).

Which side has closed are connection labels. Packets of both directions may be in these rules at the same time, each on
a processor of its own: a mark is read and written in two steps, so one of two FINs that cross would be lost, and with
it the end. A label is set in one step (nf_conntrack_labels.c, `cmpxchg`) and never cleared, so one FIN at least finds
both. A packet of an open connection looks again when it has prolonged the slot: it may have been closed meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.slots.counters import (
    ACTIVE,
    ADMITTED,
    ADMITTED_LATE,
    CLOSED,
    CLOSED_BY_CLIENT,
    CLOSED_BY_SERVER,
    ESTABLISHED,
    FIRST_REFUSED,
    FIRST_RESET,
    INVALID_PACKETS,
    OTHER_PACKETS,
    REFUSED,
    REFUSED_CONNECTIONS,
    REFUSED_GROUP,
    REFUSED_PACKETS,
    RESET,
    RESET_BY_CLIENT,
    RESET_BY_SERVER,
    RESET_HERE,
    RESETS_SENT,
    SLOT_MASK,
)
from lab.slots.limiter import Limiter, WhenFull
from lab.slots.nft import Chain, Counter, Part, Set
from traffic.spec import ENGINE_DSCP

__all__ = [
    "FIRST_REFUSED_TIMEOUT_S",
    "REFUSED_TIMEOUT_S",
    "SOURCE_ONLY",
    "WHOLE_TUPLE",
    "Key",
    "Protocol",
    "SlotSet",
    "definitions",
    "forward_chains",
    "identifier",
    "limiter",
    "refusal_chain",
    "refusal_counters",
    "track_chains",
    "track_chains_without_slots",
]

Protocol = Literal["tcp", "udp"]


@dataclass(frozen=True, slots=True)
class Key:
    """What tells one connection from another in a set: its type, and where a packet of each direction has it."""

    type: str
    original: str
    reply: str


WHOLE_TUPLE = Key(
    type="ipv4_addr . inet_service . ipv4_addr . inet_service . inet_proto",
    original="ip saddr . th sport . ip daddr . th dport . meta l4proto",
    reply="ip daddr . th dport . ip saddr . th sport . meta l4proto",
)
SOURCE_ONLY = Key("ipv4_addr . inet_service", "ip saddr . th sport", "ip daddr . th dport")
"""For a set whose connections all have one destination and protocol: a third smaller, 32 bytes a connection."""

_FIN_ORIGINAL, _FIN_REPLY, _RST, _ENDED = 1, 2, 3, 4
"""Numbers of labels: a FIN of either direction, a RST of any, and one of these three, has passed."""
_BOTH_FINS = f"ct label {_FIN_ORIGINAL} ct label {_FIN_REPLY}"
_ENDINGS = {
    _FIN_ORIGINAL: (("fin", CLOSED_BY_CLIENT), ("rst", RESET_BY_CLIENT)),
    _FIN_REPLY: (("fin", CLOSED_BY_SERVER), ("rst", RESET_BY_SERVER)),
}
"""Of each direction, by the label of its FIN: which flag ends an active connection, and where that is counted."""
_ANSWERED = 0x80000
"""The bit of a mark that says: a SYN-ACK has passed, and the ACK that completes the handshake has not."""

_IS_ACTIVE = f"ct mark & {ACTIVE:#x} == {ACTIVE:#x}"
_NEVER_ANSWERED = f"ct mark & {_ANSWERED | ACTIVE:#x} == 0x0 ct label ! {_ENDED}"
_ANSWER = f"tcp flags & (syn|ack) == (syn|ack) {_NEVER_ANSWERED}"
"""Matches the first SYN-ACK of a connection."""
_COMPLETES = (
    f"ct mark & {_ANSWERED:#x} == {_ANSWERED:#x} ct label ! {_RST} "
    f"counter name {ESTABLISHED} ct mark set ct mark ^ {_ANSWERED | ACTIVE:#x}"
)
"""The client's first packet after it: it is counted, and from then on the connection is active."""

_GC_INTERVAL = "250ms"
"""How soon a slot that has expired can be taken again: the set's garbage collector walks at this pace.

At 1 s, the kernel's own pace, a load over time finds 16 % of the slots taken by connections of 10 s that are closed; a
walk over 440,000 slots takes some 10 ms."""
_SHORTEST = "10ms"
"""For `port_hold: 0s`: the slot expires at once, and the collector frees it."""
_REFUSED_ROOM = 524_288
"""How many refused connections can be told apart at a time, more than one fleet has ports behind an ENI."""
REFUSED_TIMEOUT_S = 140
"""Longer than a client waits for its SYNs (127 s, or 131 s since Linux 6.5, with tcp_syn_retries=6, ip-sysctl.rst)."""
FIRST_REFUSED_TIMEOUT_S = 86_400
"""The age of the first refusal, or reset, is this less what is left of its timeout."""
_RESET_ROOM = 65_536
_RESET_TIMEOUT = "1s"
"""No connection can be forgotten and reset twice within the shortest idle timeout."""


@dataclass(frozen=True, slots=True)
class SlotSet:
    """A limit of `size` connections and how long each keeps its slot, in seconds."""

    name: str
    key: Key
    protocols: tuple[Protocol, ...]
    mark: int
    size: int
    idle_s: int
    half_open_s: int
    port_hold_s: int
    ends: int | None = None
    """Unix time from which on nothing of it passes; None is never."""

    @property
    def hold(self) -> str:
        """The port hold as nft writes a timeout."""
        return f"{self.port_hold_s}s" if self.port_hold_s else _SHORTEST

    def admit(self) -> Iterator[str]:
        """The rules that accept a new connection while there is room; without room they do not match."""
        for protocol in self.protocols:
            timeout_s = self.half_open_s if protocol == "tcp" else self.idle_s
            admitted = f"update @{self.name} {{ {self.key.original} timeout {timeout_s}s }}"
            counted, verdict = (f"counter name {ADMITTED} ", "goto admitted") if protocol == "tcp" else ("", "accept")
            yield f"meta l4proto {protocol} {admitted} {counted}ct mark set {self.mark:#x} {verdict}"

    def definition(self) -> Set:
        """The nftables set that holds the slots."""
        return Set(self.name, self.key.type, self.size, f"{self.idle_s}s", _GC_INTERVAL, self.mark)


def track_chains(slots: SlotSet) -> Iterator[Chain]:
    """The chains that keep a slot alive, or let it go, with each packet of its connection."""
    ends = () if slots.ends is None else (f"meta time >= {slots.ends} counter name {OTHER_PACKETS} drop",)
    yield Chain(f"{slots.name}_track", (*ends, _directions(slots.name)))
    for direction, key, fin in (
        ("original", slots.key.original, _FIN_ORIGINAL),
        ("reply", slots.key.reply, _FIN_REPLY),
    ):
        keep = [
            f"update @{slots.name} {{ {key} timeout {timeout} }} "
            for timeout in (f"{slots.idle_s}s", f"{slots.half_open_s}s", slots.hold)
        ]
        yield Chain(f"{slots.name}_{direction}", tuple(_track_rules(slots.protocols, fin, *keep)))


def track_chains_without_slots(name: str) -> Iterator[Chain]:
    """Chains for connections without slots, which conntrack alone counts: they count openings and endings, too."""
    yield Chain(f"{name}_track", (_directions(name),))
    for direction, fin in (("original", _FIN_ORIGINAL), ("reply", _FIN_REPLY)):
        yield Chain(f"{name}_{direction}", tuple(_track_rules(("tcp",), fin, "", "", "")))


def _directions(name: str) -> str:
    return f"ct direction vmap {{ original : goto {name}_original, reply : goto {name}_reply }}"


def _track_rules(protocols: Sequence[Protocol], fin: int, alive: str, half_open: str, closed: str) -> Iterator[str]:
    if "tcp" in protocols:
        no_flags, active = "tcp flags & (fin|syn|rst) == 0x0", _IS_ACTIVE
        yield f"{no_flags} {active} {alive}{active} accept" if alive else f"{no_flags} {active} accept"
        if fin == _FIN_REPLY:
            yield f"{_ANSWER} ct mark set ct mark | {_ANSWERED:#x} {half_open}accept"
        else:
            yield f"{no_flags} {_COMPLETES} {alive}accept"
            yield f"tcp flags & (fin|syn|rst) == fin {_COMPLETES}"
        yield f"tcp flags & syn == syn {half_open}accept"
        for flag, counter in _ENDINGS[fin]:
            yield f"tcp flags & (fin|rst) == {flag} {active} ct label ! {_ENDED} counter name {counter}"
        yield f"tcp flags & (fin|rst) != 0x0 ct label set {_ENDED}"
        yield f"tcp flags & rst == rst ct label set {_RST}"
        # Of a FIN that is sent again, conntrack thinks the same as of an answer: LAST_ACK (nf_conntrack_proto_tcp.c).
        other = _FIN_ORIGINAL + _FIN_REPLY - fin
        yield f"tcp flags & fin == fin ct label {fin} ct label set {other}"
        yield f"tcp flags & fin == fin ct label set {fin}"
        for end in (f"ct label {_RST}", _BOTH_FINS):
            yield f"{end} {active} counter name {CLOSED} ct mark set ct mark & {0xFFFFFFFF ^ ACTIVE:#x}"
            yield f"{end} {closed}accept"
        # A challenge ACK to a SYN: conntrack lets it pass and leaves its entry in SYN_SENT (TCP_CONNTRACK_IGNORE).
        if fin == _FIN_REPLY:
            yield f"{no_flags} {_NEVER_ANSWERED} accept"
    yield f"{alive}accept"
    yield "counter name without_slot accept"


def definitions(sets: Sequence[SlotSet]) -> Iterator[Part]:
    """Everything that chains refer to: the sets, and the counters of what each refused."""
    yield Counter("without_slot")
    endings = (counter for ways in _ENDINGS.values() for _, counter in ways)
    counters = (ADMITTED, ADMITTED_LATE, ESTABLISHED, CLOSED, *endings, RESET_HERE, RESETS_SENT)
    yield from map(Counter, (*counters, INVALID_PACKETS, OTHER_PACKETS))
    yield Set(REFUSED, WHOLE_TUPLE.type, _REFUSED_ROOM, f"{REFUSED_TIMEOUT_S}s")
    yield Set(FIRST_REFUSED, WHOLE_TUPLE.type, 1, f"{FIRST_REFUSED_TIMEOUT_S}s")
    yield Set(RESET, WHOLE_TUPLE.type, _RESET_ROOM, _RESET_TIMEOUT)
    yield Set(FIRST_RESET, WHOLE_TUPLE.type, 1, f"{FIRST_REFUSED_TIMEOUT_S}s")
    yield Chain("admitted", (f"{WHOLE_TUPLE.original} @{REFUSED} counter name {ADMITTED_LATE}", "accept"))
    for slots in sets:
        yield slots.definition()
        yield from refusal_counters(slots.name)


def refusal_counters(name: str) -> Iterator[Counter]:
    """The counters that the rules of `refusal_chain` name."""
    yield Counter(f"{REFUSED_PACKETS}{name}")
    yield Counter(f"{REFUSED_CONNECTIONS}{name}")


def refusal_chain(name: str, verdict: str = "drop") -> Chain:
    """The end of a connection without a slot: counted, then dropped without an answer, as on AWS, or as `verdict` says.

    A tuple that was refused before is a retransmission: a packet more, the same connection.
    """
    key = WHOLE_TUPLE.original
    return Chain(
        f"refuse_{name}",
        (
            f"add @{FIRST_REFUSED} {{ {key} }}",
            f"{key} != @{REFUSED} add @{REFUSED} {{ {key} }} counter name {REFUSED_CONNECTIONS}{name}",
            f'counter name {REFUSED_PACKETS}{name} log prefix "{name}" group {REFUSED_GROUP} {verdict}',
        ),
    )


def forward_chains(
    sets: Sequence[SlotSet],
    inner: str,
    *before_admission: str,
    without_slots: Iterable[tuple[int, str]] = (),
    hook: str = "forward priority filter",
) -> Iterator[Chain]:
    """What a NAT node forwards: known connections by their slot set, new ones from the inner side if admitted.

    After the idle timeout a NAT gateway "returns an RST packet to any resources behind the NAT gateway that attempt to
    continue the connection (it does not send a FIN packet)" (Amazon VPC user guide, "Troubleshoot NAT gateways"), and
    says nothing to the other side; so does the lab's ENI. To conntrack such a packet is invalid (`tcp_loose` is 0).

    What is tracked `without_slots` is told by its marks and the names of its chains.
    """
    named = [*((slots.mark, slots.name) for slots in sets), *without_slots]
    tracks = ", ".join(f"{mark:#x} : goto {name}_track" for mark, name in named)
    key = WHOLE_TUPLE.original
    yield Chain(
        "count_reset",
        (f"add @{FIRST_RESET} {{ {key} }}", f"{key} != @{RESET} add @{RESET} {{ {key} }} counter name {RESET_HERE}"),
    )
    yield Chain(
        "drop_invalid",
        (
            f"ip dscp {ENGINE_DSCP} meta mark set {ENGINE_DSCP}",
            # Not for a FIN: a client that closes loses nothing.
            f'iifname "{inner}" tcp flags & (fin|syn|rst) == 0x0 jump count_reset',
            f'iifname "{inner}" tcp flags & rst == 0x0 counter name {RESETS_SENT} reject with tcp reset',
            f"counter name {INVALID_PACKETS} drop",
        ),
    )
    # The kernel's RST bears the mark of the packet that it answers (fwmark_reflect, ip-sysctl.rst), but not its DSCP,
    # without which the packet engine's rings would not see it.
    yield Chain(
        "output",
        (f"meta mark {ENGINE_DSCP} ip dscp set {ENGINE_DSCP}",),
        hook="type filter hook output priority filter; policy accept;",
    )
    # Where an address is the node's own, the kernel would answer what is late, to either side.
    yield Chain(
        "input",
        ("ct state invalid goto drop_invalid",),
        hook="type filter hook input priority filter; policy accept;",
    )
    rules = (
        # An ICMP error carries its connection's mark, but its own header is no tuple.
        "ct state vmap { related : accept, invalid : goto drop_invalid }",
        f"ct mark & {SLOT_MASK:#x} vmap {{ {tracks} }}",
        *before_admission,
        f'iifname "{inner}" ct state new meta l4proto {{ tcp, udp }} goto admit',
        f"counter name {OTHER_PACKETS} drop",
    )
    yield Chain(hook.split(maxsplit=1)[0], rules, hook=f"type filter hook {hook}; policy drop;")


def limiter(
    slots: SlotSet,
    *,
    node: str,
    kind: str,
    namespace: str,
    table: str,
    eip: str | None = None,
    client: str | None = None,
    sources: tuple[str, ...] = (),
    destination: str | None = None,
    address: str | None = None,
    when_full: WhenFull = "ignore",
    spills_over: bool = True,
    of: str | None = None,
    asked: str | None = None,
    growing: str | None = None,
) -> Limiter:
    """Where the kernel keeps this set's numbers."""
    return Limiter(
        node=node,
        kind=kind,
        namespace=namespace,
        table=table,
        slots=slots.name,
        limit=slots.size,
        refused_packets=f"{REFUSED_PACKETS}{slots.name}",
        refused_connections=f"{REFUSED_CONNECTIONS}{slots.name}",
        first_refused=FIRST_REFUSED,
        refused=REFUSED,
        protocol=slots.protocols[0] if len(slots.protocols) == 1 else "any",
        eip=eip,
        client=client,
        sources=sources,
        destination=destination,
        address=address,
        when_full=when_full,
        port_hold_s=slots.port_hold_s,
        half_open_s=slots.half_open_s,
        mark=slots.mark,
        spills_over=spills_over,
        drains=slots.ends is not None,
        of=of,
        asked=asked,
        growing=growing,
    )


def identifier(name: str) -> str:
    """A topology's name as nft takes it; those have no underscore, so two names cannot become one."""
    return name.replace("-", "_")

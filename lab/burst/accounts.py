"""Both accounts of a burst put together, its clients' and the kernel's, and where they differ. Pure.

Each pair of numbers that is compared has one meaning, so on a machine that did its part they are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lab.burst.endings import Counted, by_clients, by_kernel
from lab.burst.load import Load
from lab.burst.result import BurstResult, LimitResult, PredictedResult
from lab.capacity.predict import Prediction
from lab.impair.faults import Impairment
from lab.kernel.generator_events import Ended
from lab.nodes.diagnosis import counted
from lab.nodes.kind import NodeKind
from lab.nodes.registry import KINDS
from lab.nodes.resolver.model import Resolver
from lab.observe.drops import DroppedPackets
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking
from lab.paths.dead_ends import DeadEnd
from lab.schema.drops import DropCount
from traffic.packet_record import PacketRecord
from traffic.result import EngineResult, TcpCount

__all__ = ["Observation", "assemble", "drops_between"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a burst when it is over: its clients' account, and the kernel's."""

    clients: EngineResult
    readings: Sequence[Reading]
    """Readings of the limiters when the last invocation had its outcome; refusals count from the start of the burst."""
    readings_before: Sequence[Reading] = ()
    took_s: float = 0.0
    """Between the two."""
    first_to_refuse: Reading | None = None
    stops: Sequence[DropCount] = ()
    impairments: Sequence[Impairment] = ()
    """The faults that dropped packets meanwhile, each with how many."""
    refused_twice: int = 0
    """Connections that an ENI refused and let in later, and that a limit behind it refused then."""
    ports_not_found: Mapping[str, int] = field(default_factory=dict)
    tracking: Sequence[Tracking] = ()
    ended: Ended = field(default_factory=Ended)
    """The clients' account of connections that had ended when they began to close the others."""
    counted: Counted | None = None
    """The kernel's; None where no NAT node is on the way."""
    incidents: Sequence[str] = ()
    packets: Sequence[PacketRecord] = ()


def assemble(lab: str, load: Load, resolver: Resolver, prediction: Prediction, observation: Observation) -> BurstResult:
    """Put both accounts of a burst together, and say where they differ."""
    clients, first = observation.clients, observation.first_to_refuse
    kernel, ended = observation.counted, observation.ended
    tcp = _until_closed(clients.tcp, ended)
    before = {reading.limiter: reading for reading in observation.readings_before}
    lost = clients.tcp.timed_out or (resolver.behind_eni and clients.dns.failed)
    return BurstResult(
        lab=lab,
        engine=load.engine,
        protocol=load.protocol,
        offered=clients.offered,
        invocations=clients.invocations,
        dns=clients.dns,
        tcp=tcp,
        requests=clients.requests,
        drop_threshold=clients.drop_threshold,
        limits=tuple(
            _limit(reading, before.get(reading.limiter), observation.took_s)
            for reading in observation.readings
            if reading.appeared
        ),
        stops=tuple(observation.stops),
        impairments=tuple(observation.impairments),
        # A SYN that was refused and then succeeded is a retransmission, not a drop.
        bottleneck=first.limiter.kind if first and lost else None,
        predicted=PredictedResult(prediction.established, prediction.drop_threshold, prediction.bottleneck),
        latency=clients.latency,
        timing=clients.timing,
        series=clients.series,
        tracking=tuple(observation.tracking),
        incidents=tuple(observation.incidents),
        disagreements=tuple(_disagreements(load, resolver, observation)),
        resolver=resolver.location,
        questions=clients.questions,
        questions_each=load.look_up.questions,
        ports_not_found={kind: packets for kind, packets in observation.ports_not_found.items() if packets},
        endings=by_kernel(kernel) if kernel else by_clients(tcp, ended, load.close),
        tls=clients.tls,
        packets=tuple(observation.packets),
    )


def _until_closed(tcp: TcpCount, ended: Ended) -> TcpCount:
    """With what servers and NAT nodes ended while the others were held."""
    reset = max(tcp.reset, ended.reset)
    closed = max(tcp.closed_by_server, ended.closed_by_server)
    return replace(tcp, established=tcp.established + tcp.reset - reset, reset=reset, closed_by_server=closed)


def drops_between(dead_ends: Iterable[DeadEnd], before: DroppedPackets, after: DroppedPackets) -> Iterator[DropCount]:
    """What was dropped meanwhile whatever the limits, and the rule that would have let it pass.

    Answers count where this burst's may end: a kernel repeats SYN-ACKs for a minute, so those of another may be dropped
    meanwhile.
    """
    ends = {end.point: end for end in dead_ends}
    for counter, packets in after.items():
        end, dropped = ends.get(counter.point), packets - before.get(counter, 0)
        if dropped > 0 and (end or not counter.answers):
            yield counter.counted(dropped, end.cure if end else None)


def _limit(reading: Reading, before: Reading | None, took_s: float) -> LimitResult:
    limiter, first = reading.limiter, reading.first_refusal
    return LimitResult(
        node=limiter.node,
        kind=limiter.kind,
        limit=limiter.limit,
        peak=reading.in_use,
        dropped_packets=reading.refused_packets,
        dropped_connections=reading.refused_connections,
        eip=limiter.eip,
        destination=limiter.destination,
        fill=reading.fill,
        before=before.fill if before else None,
        refused_before=before.refused_connections if before else 0,
        first_refusal_s=round(took_s - first.age_s, 3) if first and reading.refused_packets else None,
        spills_over=limiter.spills_over,
        of=limiter.of,
    )


# ── Where the clients' account and the kernel's differ ──────────────────────────────────────────────────────


class _Pair(NamedTuple):
    """A number that both accounts have, in words that `_told` puts into singular or plural."""

    clients_call_it: str
    clients: int
    kernel_calls_it: str
    kernel: int


def _disagreements(load: Load, resolver: Resolver, observation: Observation) -> Iterator[str]:
    # Of what a fault drops neither account tells what it was: a SYN, an answer, a FIN. The verdict tells of the fault.
    by_faults = sum(fault.dropped_packets for fault in observation.impairments)
    for pair in _pairs(load, resolver, observation):
        if abs(pair.clients - pair.kernel) > by_faults:
            clients, kernel = _told(pair.clients, pair.clients_call_it), _told(pair.kernel, pair.kernel_calls_it)
            yield f"clients: {clients}; kernel: {kernel}"
    if observation.clients.ring.dropped:
        yield f"the generator's own ring lost {counted(observation.clients.ring.dropped, 'frame')}"
    for node in observation.tracking:
        if abs(node.difference) > by_faults:
            yield (
                f"{node.node}, when all was closed: {counted(node.slots, 'slot')}, "
                f"{_told(node.conntrack, 'conntrack {entries}')}"
            )


def _told(number: int, words: str) -> str:
    one = number == 1
    return f"{number:,} " + words.format(
        s="" if one else "s",
        were="was" if one else "were",
        hold="holds" if one else "hold",
        entries="entry" if one else "entries",
    )


def _pairs(load: Load, resolver: Resolver, observation: Observation) -> Iterator[_Pair]:
    tcp, readings, stops = observation.clients.tcp, observation.readings, observation.stops
    syns = "SYN" if load.protocol == "tcp" else "first datagram"
    unanswered, ever_unanswered = tcp.unanswered_syns, tcp.ever_unanswered
    if resolver.counts_sources:  # what was dropped may have been questions
        syns = f"{syns}{{s}} and question"
        unanswered += observation.clients.unanswered.questions
        ever_unanswered += observation.clients.unanswered.invocations
    ports_not_found = sum(observation.ports_not_found.values())
    lost = sum(reading.refused_packets for reading in readings) + ports_not_found
    lost += sum(stop.dropped_packets for stop in stops if not stop.answers)
    answers = sum(stop.dropped_packets for stop in stops if stop.answers)
    # A kernel repeats SYN-ACKs that are not acknowledged (tcp_synack_retries, ip-sysctl.rst), so of answers that are
    # dropped some belong to no SYN of this burst.
    dropped = min(max(unanswered, lost), lost + answers)
    if resolver.truncate and any(stop.kind == "dns_quota" for stop in stops):
        return  # of a connection over TCP the quota may drop any segment, and TCP repeats it by itself
    and_answers = " and answer{s}" if answers else ""
    yield _Pair(
        f"{syns}{{s}} that {{were}} never answered", unanswered, f"{syns}{{s}}{and_answers} dropped on the way", dropped
    )
    yield from _ended(observation)
    # A port that is used again is the same connection to the kernel, and slots come and go.
    if load.over_time:
        return
    if not stops:  # what is dropped whatever the limits is counted by packets only
        refused = sum(reading.refused_connections for reading in readings) - observation.refused_twice
        # A SYN without a port is one of a connection that may, or may not, have been refused before.
        refused = min(max(ever_unanswered, refused), refused + ports_not_found)
        what = f"connection{{s}} with {syns.replace('{s}', 's')}s that were never answered"
        yield _Pair(what, ever_unanswered, "connection{s} refused by a limiter", refused)
    # Connections whose answers were dropped hold a slot, too, and those that were dropped behind the node that gave it.
    kind = next((kind for kind in KINDS if kind.one_slot_each), None)
    unseen = answers or any(stop.far_side for stop in stops)
    if unseen or kind is None or not any(reading.limiter.kind == kind.name for reading in readings):
        return
    held = _held(readings, kind) - _held(observation.readings_before, kind)
    established = tcp.established + tcp.half_open - tcp.closed_by_server
    if tls := observation.clients.tls:  # what failed was closed at once, and its slot may be free again
        held += min(max(established - held, 0), tls.failed)
    # Slots of connections that ended, or were challenged, are taken until their hold is over and the set's garbage
    # collected.
    ended = tcp.refused + tcp.reset + tcp.challenged_syns + tcp.closed_by_server
    held -= min(max(held - established, 0), ended)
    # Those of connections that fell idle are free again, of this burst or from before.
    held += min(max(established - held, 0), _idle_timeouts(observation, kind))
    what = "connection{s} established" + (" and not closed by the server" if tcp.closed_by_server else "")
    yield _Pair(what, established, f"connection{{s}} that {{hold}} {kind.one}'s slot", held)


def _ended(observation: Observation) -> Iterator[_Pair]:
    """What ended connections before the clients did.

    The kernel was asked after the last invocation had its outcome, and before the clients began to close: so between
    their two counts. One that both sides closed at once may be the server's in one account and the client's in the
    other.
    """
    seen_by_kernel, tcp, ended = observation.counted, observation.clients.tcp, observation.ended
    if seen_by_kernel is None:
        return
    crossing = ended.closed_before
    for clients, until, words, kernel in (
        (tcp.reset, ended.reset, "reset", seen_by_kernel.reset_to_clients),
        (tcp.closed_by_server, ended.closed_by_server, "closed by the server", seen_by_kernel.closed_to_clients),
    ):
        seen = min(max(kernel, clients), until + crossing)
        yield _Pair(f"connection{{s}} {words}", seen, f"connection{{s}} {words} at the first node on the way", kernel)


def _idle_timeouts(observation: Observation, kind: NodeKind) -> int:
    nodes = by_kernel(observation.counted).nodes if observation.counted else ()
    return sum(node.idle_timeouts for node in nodes if node.kind == kind.name)


def _held(readings: Iterable[Reading], kind: NodeKind) -> int:
    """Without half-open connections from before the burst, which may expire while it goes on."""
    return sum(
        reading.in_use - (reading.fill.half_open_earlier if reading.fill else 0)
        for reading in readings
        if reading.limiter.kind == kind.name
    )

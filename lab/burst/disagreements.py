"""Where the clients' account of a burst and the kernel's differ, in words. Pure.

Each pair of numbers that is compared has one meaning, so on a machine that did its part they are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lab.burst.endings import by_kernel
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.nodes.diagnosis import counted
from lab.nodes.kind import NodeKind
from lab.nodes.registry import KINDS, kind_of
from lab.nodes.resolver.model import Resolver
from lab.observe.readings import Reading
from lab.slots.limiter import WhenFull

__all__ = ["connections_seen", "disagreements"]


class _Pair(NamedTuple):
    """A number that both accounts have, in words that `_in_words` puts into singular or plural."""

    clients_call_it: str
    clients: int
    kernel_calls_it: str
    kernel: int


def disagreements(load: Load, resolver: Resolver, observation: Observation) -> Iterator[str]:
    """A sentence for each pair of numbers that differ."""
    # Neither account says what a fault dropped: a SYN, an answer, a FIN. The verdict reports the fault.
    by_faults = sum(fault.dropped_packets for fault in observation.impairments)
    pairs = _pairs_beside_others if observation.others else _pairs
    for pair in pairs(load, resolver, observation):
        if abs(pair.clients - pair.kernel) > by_faults:
            clients = _in_words(pair.clients, pair.clients_call_it)
            yield f"clients: {clients}; kernel: {_in_words(pair.kernel, pair.kernel_calls_it)}"
    if observation.clients.ring.dropped:
        yield f"the generator's own ring lost {counted(observation.clients.ring.dropped, 'frame')}"
    for node in observation.tracking:
        if abs(node.difference) > by_faults:
            yield (
                f"{node.node}, when all was closed: {counted(node.slots, 'slot')}, "
                f"{_in_words(node.conntrack, 'conntrack {entries}')}"
            )


def connections_seen(load: Load, resolver: Resolver, observation: Observation) -> int | None:
    """Connections whose first SYN came to the nodes that they cross first; None where that is not known."""
    other_flows = load.protocol == "udp" or resolver.behind_eni or load.over_time
    kind = _one_slot_each()
    some_cross_none = kind is not None and bool(observation.beside(kind.name))
    if observation.counted is None or other_flows or observation.stops or some_cross_none:
        return None
    counted, called = observation.counted, observation.clients.tcp.called
    # A SYN for which the kernel then finds no port was let in, and is so again when it comes once more.
    kinds = {node.kind for node in counted.nodes if node.node in counted.first}
    twice = sum(packets for kind, packets in observation.ports_not_found.items() if kind in kinds)
    return min(max(called, counted.attempted - twice), counted.attempted)


def _in_words(number: int, words: str) -> str:
    one = number == 1
    return f"{number:,} " + words.format(
        s="" if one else "s",
        were="was" if one else "were",
        hold="holds" if one else "hold",
        entries="entry" if one else "entries",
    )


def _pairs_beside_others(load: Load, _: Resolver, observation: Observation) -> Iterator[_Pair]:
    """What limiters tell of each burst: which of its connections they refused."""
    if observation.stops or load.over_time or load.protocol != "tcp":
        return
    silent = (reading for reading in observation.readings if not reading.limiter.answers)
    refused = sum(reading.refused_connections for reading in silent)
    what = "connection{s} with SYNs that were never answered"
    yield _Pair(what, observation.clients.tcp.ever_unanswered, "connection{s} refused by a limiter", refused)


def _pairs(load: Load, resolver: Resolver, observation: Observation) -> Iterator[_Pair]:
    tcp, readings, stops = observation.clients.tcp, observation.readings, observation.stops
    syns = "SYN" if load.protocol == "tcp" else "first datagram"
    unanswered, ever_unanswered = tcp.unanswered_syns, tcp.ever_unanswered
    if resolver.counts_sources:  # what was dropped may have been questions
        syns = f"{syns}{{s}} and question"
        unanswered += observation.clients.unanswered.questions
        ever_unanswered += observation.clients.unanswered.invocations
    ports_not_found = sum(observation.ports_not_found.values())
    lost = observation.refused_by("ignore") + ports_not_found
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
    if observation.descriptors is not None and (seen := connections_seen(load, resolver, observation)) is not None:
        yield _Pair("first SYN{s}", tcp.called, "connection{s} that came to the first node on the way", seen)
    yield from _ended(observation)
    yield from _turned_away(observation)
    # A port that is used again is the same connection to the kernel, and slots come and go.
    if load.over_time:
        return
    if not stops:  # what is dropped whatever the limits is counted by packets only
        silent = (reading for reading in readings if not reading.limiter.answers)
        refused = sum(reading.refused_connections for reading in silent) - observation.refused_twice
        # A SYN without a port is one of a connection that may, or may not, have been refused before.
        refused = min(max(ever_unanswered, refused), refused + ports_not_found)
        what = f"connection{{s}} with {syns.replace('{s}', 's')}s that were never answered"
        yield _Pair(what, ever_unanswered, "connection{s} refused by a limiter", refused)
    # Connections whose answers were dropped hold a slot, too, and those that were dropped behind the node that gave it.
    kind = _one_slot_each()
    unseen = answers or any(stop.far_side for stop in stops) or observation.ways_differ
    if unseen or kind is None or not any(reading.limiter.kind == kind.name for reading in readings):
        return
    held = _held(readings, kind) - _held(observation.readings_before, kind)
    # What a server leaves unanswered holds a slot on its way there.
    silent = (reading for reading in readings if kind_of(reading.limiter.kind).answers and not reading.limiter.answers)
    held -= sum(reading.refused_connections for reading in silent)
    closed = observation.closed_by_server
    beside = sum(each.established + each.half_open for each in observation.beside(kind.name))
    established = tcp.established + tcp.half_open - closed - beside
    if tls := observation.clients.tls:  # what failed was closed at once, and its slot may be free again
        held += min(max(established - held, 0), tls.failed)
    # Slots of connections that ended, or were challenged, are taken until their hold is over and the set's garbage
    # collected.
    held -= min(max(held - established, 0), tcp.refused + tcp.reset + tcp.challenged_syns + closed)
    # Those of connections that fell idle are free again, of this burst or from before, and those of connections that
    # were closed before the burst.
    # The same connection as one before it takes no slot of its own.
    freed = _idle_timeouts(observation, kind) + _closing(observation.readings_before, kind)
    freed += observation.slots_of_closed
    held += min(max(established - held, 0), freed)
    what = "connection{s} established" + (" and not closed by the server" if closed else "")
    yield _Pair(what, established, f"connection{{s}} that {{hold}} {kind.one}'s slot", held)


def _one_slot_each() -> NodeKind | None:
    """The kind whose slots are those of established connections, one each."""
    return next((kind for kind in KINDS if kind.one_slot_each), None)


def _ended(observation: Observation) -> Iterator[_Pair]:
    """What ended connections before the clients did.

    The kernel was asked after the last invocation had its outcome, and before the clients began to close: so between
    their two counts. One that both sides closed at once may be the server's in one account and the client's in the
    other.
    """
    seen_by_kernel, tcp, ended = observation.counted, observation.clients.tcp, observation.ended
    if seen_by_kernel is None or (kind := _one_slot_each()) is None or observation.beside(kind.name):
        return  # connections of functions outside the VPC may have no node on their way
    crossing = ended.closed_before
    for clients, until, words, kernel in (
        (tcp.reset, ended.reset, "reset", seen_by_kernel.reset_to_clients),
        (tcp.closed_by_server, ended.closed_by_server, "closed by the server", seen_by_kernel.closed_to_clients),
    ):
        seen = min(max(kernel, clients), until + crossing)
        yield _Pair(f"connection{{s}} {words}", seen, f"connection{{s}} {words} at the first node on the way", kernel)


def _turned_away(observation: Observation) -> Iterator[_Pair]:
    """What a full server answered, and what its clients saw of that: no other server of a lab closes or refuses."""
    outcomes: tuple[tuple[WhenFull, int, str], ...] = (
        ("close", observation.closed_by_server, "closed by the server"),
        ("reset", observation.clients.tcp.refused, "refused"),
    )
    for answer, seen, words in outcomes:
        if any(reading.limiter.when_full == answer for reading in observation.readings):
            turned_away = observation.refused_by(answer)
            yield _Pair(f"connection{{s}} {words}", seen, "connection{s} turned away by a full server", turned_away)


def _idle_timeouts(observation: Observation, kind: NodeKind) -> int:
    nodes = by_kernel(observation.counted).nodes if observation.counted else ()
    return sum(node.idle_timeouts for node in nodes if node.kind == kind.name)


def _closing(readings: Iterable[Reading], kind: NodeKind) -> int:
    return sum(reading.fill.closing for reading in readings if reading.fill and reading.limiter.kind == kind.name)


def _held(readings: Iterable[Reading], kind: NodeKind) -> int:
    """Without half-open connections from before the burst, which may expire while it goes on."""
    return sum(
        reading.in_use - (reading.fill.half_open_earlier if reading.fill else 0)
        for reading in readings
        if reading.limiter.kind == kind.name
    )

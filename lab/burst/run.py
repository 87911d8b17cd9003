"""One burst: read what is there, generate, read the kernel while all connections are held, close them, compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
import os
import time

from lab.burst.accounts import assemble, drops_between
from lab.burst.endings import Counted, may_have_forgotten
from lab.burst.lacking import note
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.burst.ports import first_to_refuse
from lab.burst.ports_in_use import ports_in_use
from lab.burst.ports_of_host import ports_of_host, reserved_ports
from lab.burst.prediction import prediction
from lab.burst.reset import forget_connections, require_alone
from lab.burst.result import BurstResult
from lab.burst.settling import await_free_slots, settle, still_taken
from lab.burst.side_by_side import own_refusals
from lab.burst.spec import Participants, participants_of, spec_of
from lab.burst.turns import first_turns, reservations
from lab.capacity.predict import Prediction
from lab.errors import KernelError
from lab.impair.faults import Impairment
from lab.impair.ledger import dropped_between, dropped_so_far
from lab.kernel.bursts import Bursts, UnderWay
from lab.kernel.generator import Generator, generator
from lab.kernel.generator_events import Connected, Ended, Event, Failed, Packet, Progress, event_of
from lab.kernel.losses import lost
from lab.kernel.netns import Namespaces
from lab.kernel.nft import flush_sets
from lab.kernel.packets.sockets import interfaces_on_path, packet_sockets
from lab.kernel.preflight import require_resources
from lab.kernel.state import Record
from lab.observe.askers import most_of_one_source
from lab.observe.drops import dropped_packets
from lab.observe.fills import half_open_tuples, read_with_fills
from lab.observe.limiters import held_sources, read, refused_by_both
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.observe.sampling import Sampler
from lab.observe.seldom import Seldom
from lab.observe.tracking import Tracking, ports_not_found
from lab.plan.objects import Plan
from lab.slots.counters import FIRST_RESET, RESET_HERE, NatNode
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.packet_record import PacketRecord
from traffic.result import EngineResult
from traffic.spec import BurstSpec

__all__ = ["Listeners", "Progress", "WatchedLoad", "run_burst"]

_PEAKS_EVERY_S, _PEAKS_SHARE = 1.0, 0.05
_SAMPLES_EVERY_S, _SAMPLES_SHARE = 0.2, 0.02
"""How often the kernel is asked while a load goes on, and which share of the time that may take.

Kernels before 6.16 count a set's elements by walking.
"""
_PROGRESS_EVERY_S = 0.2
"""Seconds between two reports of progress while connections are held."""

_OTHERS = "another burst was under way beside this one, and what it would hold was not known beforehand"
_NO_FREE_PORTS = (
    "every execution environment has ports that hold slots from before, so some connections of this burst are the same "
    "as earlier ones and take no slot of their own; wait until those are free, or forget them: --fresh, or lab reset"
)


def _ignore(_: object) -> None:
    """The listener of a caller that gave none."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Functions that are called while a burst goes on."""

    progress: Callable[[Progress], None] = _ignore
    saw: Callable[[PacketRecord], None] = _ignore
    """Called with each packet of the scapy engine."""
    sampled: Callable[[Sample], None] | None = None
    """Called several times a second with what NAT nodes count, before the first packet and after the last."""
    found: Callable[[Sequence[Reading]], None] = _ignore
    """Called with what limiters hold before the first packet; of a load that is `fresh`, before that is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLoad(Load):
    """The arguments of `Lab.burst`: a load, and the functions that are called while it goes on."""

    progress: Callable[[Progress], None] = _ignore
    saw: Callable[[PacketRecord], None] = _ignore


def run_burst(
    record: Record, plan: Plan, topology: Topology, load: Load, listeners: Listeners, *, lost_before: Sequence[str] = ()
) -> BurstResult:
    """Run it; the connections are closed when this returns or raises, unless they were to be left open.

    `lost_before` is what the lab lacks already.
    """
    participants = participants_of(plan, topology, load)
    require_resources(load.engine, participants.connections, tls=load.tls)
    with ExitStack() as undo:
        namespaces = undo.enter_context(Namespaces())
        if load.fresh:
            with record.alone() as alone:
                require_alone(plan.lab, alone=alone)
                listeners.found(read_with_fills(namespaces, plan.limiters, plan))
                forget_connections(namespaces, plan)
        require_alone(plan.lab, alone=undo.enter_context(record.beside_others()))
        bursts = Bursts(record.path / "bursts")
        with bursts.beginning() as others:
            burst = _Burst(namespaces, participants, listeners, record, others, lost_before=lost_before)
            undo.enter_context(bursts.take_part(burst.under_way))
        observation = burst.observe(bursts)
        note(record.path, observation, lambda: read(namespaces, plan.limiters))
    predicted = prediction(
        participants,
        observation.readings_before,
        observation.first_turns,
        observation.asking_before,
        observation.source,
        slots_of_closed=observation.slots_of_closed,
    )
    if observation.others:
        predicted = Prediction(load.connections, None, None, None, (), unknown=_OTHERS, emfile=predicted.emfile)
    return assemble(plan.lab, load, topology.service_vpc.resolver, predicted, observation)


class _Burst:
    """A burst under way, and what is read of the kernel meanwhile."""

    def __init__(
        self,
        namespaces: Namespaces,
        participants: Participants,
        listeners: Listeners,
        record: Record,
        others: Sequence[UnderWay],
        *,
        lost_before: Sequence[str],
    ) -> None:
        self._namespaces, self._participants, self._listeners = namespaces, participants, listeners
        self._record, self._lost_before = record, tuple(lost_before)
        self._plan, self._load, self._limiters = participants.plan, participants.load, participants.limiters
        self._sampler = Sampler(self._plan.nat_nodes)
        self._packets: list[PacketRecord] = []
        self._nodes = tuple(node for node in self._plan.nat_nodes if node.node in participants.nodes)
        self._ended_before = Sampler(self._nodes).take(namespaces.call)
        self._others = tuple(other for other in others if participants.nodes.intersection(other.nodes))
        if not self._others:
            _forget(namespaces, self._limiters, self._nodes_that_reset())
        self._earlier = half_open_tuples(namespaces, self._limiters)
        self._before, self._began_s, self._took_s = self._read_with_fills(), time.monotonic(), 0.0
        # Slots of connections that come and go, or fall idle while others wait, are most at another time than the end.
        shortest_s = min((node.idle_timeout_s for node in self._nodes), default=None)
        self._comes_and_goes = self._load.over_time or (
            shortest_s is not None and shortest_s < self._load.connect_timeout_s
        )
        self._fullest = list(self._before) if self._comes_and_goes else []
        self._dropped_before = dropped_packets(namespaces, self._plan.barriers)
        self._asking_before = most_of_one_source(namespaces, self._plan.barriers)
        self._faults_before = self._dropped_by_faults()
        self._not_found_before = ports_not_found(namespaces, self._limiters)
        self._found_turns = (
            [0] if participants.from_host else _first_free_turns(namespaces, participants, self._before, self._others)
        )
        self._turns = tuple(turn or 0 for turn in self._found_turns)
        in_use = ports_in_use(namespaces, participants) if participants.from_host else []
        self._host = ports_of_host(participants, in_use, self._others) if participants.from_host else None
        self._slots_of_closed = len({(row, port) for row, used in enumerate(in_use) for port in used.of_closed})

    @property
    def _rooms(self) -> tuple[int, ...] | None:
        return None if self._host is None else tuple(ports.room for ports in self._host)

    @property
    def under_way(self) -> UnderWay:
        """What it takes part with."""
        nodes = tuple(self._participants.nodes)
        if self._host is not None:
            return UnderWay(nodes, ports=reserved_ports(self._participants, self._host))
        return UnderWay(nodes, reservations(self._participants, self._turns))

    def observe(self, bursts: Bursts) -> Observation:
        """From the first packet until what was closed is free."""
        spec = spec_of(self._participants, self._turns, self._host)
        if not self._load.fresh:
            self._listeners.found(self._before)
        self._sample()
        began_s = time.time()
        try:
            clients, readings, held, ended = self._generate(spec)
        except BaseException as error:
            if isinstance(error, KernelError) and (gone := lost(self._plan)):
                raise KernelError(f"{error}; gone meanwhile: {', '.join(gone)}") from error
            if not self._others:
                await_free_slots(self._namespaces, self._participants, self._before)
            raise
        later = [nodes for nodes in bursts.since() if self._participants.nodes.intersection(nodes)]
        others = len(self._others) + len(later)
        dropped_now = dropped_packets(self._namespaces, self._plan.barriers)
        not_found = ports_not_found(self._namespaces, self._limiters) - self._not_found_before
        counted = Counted(self._participants.paths, self._nodes, self._ended_before, held, self._endings(), began_s)
        tracking: tuple[Tracking, ...] = ()
        if not self._load.leave_open and not others:
            remaining = still_taken(self._participants, clients, readings)
            tracking = settle(self._namespaces, self._participants, self._before, remaining)
        if self._comes_and_goes:
            readings = [reading.with_peak(most) for reading, most in zip(readings, self._fullest, strict=True)]
        self._sample()
        lost_meanwhile = [what for what in lost(self._plan) if what not in self._lost_before]
        eni_addresses = self._participants.eni_addresses
        if others:
            readings, first = own_refusals(readings, clients, spec, eni_addresses, self._refused)
        else:
            first = first_to_refuse(readings, spec, eni_addresses, self._before)
        return Observation(
            clients=clients,
            readings=readings,
            readings_before=self._before,
            descriptors=self._participants.descriptors,
            first_turns=self._turns,
            asking_before=self._asking_before,
            others=others,
            took_s=self._took_s,
            first_to_refuse=first,
            stops=tuple(drops_between(self._participants.dead_ends, self._dropped_before, dropped_now)),
            impairments=dropped_between(self._faults_before, self._dropped_by_faults()),
            refused_twice=0 if others else self._refused_twice(readings),
            ports_not_found=not_found,
            ways_differ=self._participants.ways_differ,
            tracking=tracking,
            ended=ended,
            counted=counted if self._nodes and not others else None,
            invokers=tuple(self._participants.invokers),
            incidents=(
                *([_NO_FREE_PORTS] if None in self._found_turns else []),
                *(f"lost during the burst: {what}" for what in lost_meanwhile),
            ),
            lost=(*self._lost_before, *lost_meanwhile),
            packets=self._packets,
            source=replace(self._participants.source, rooms=self._rooms),
            slots_of_closed=self._slots_of_closed,
        )

    def _generate(self, spec: BurstSpec) -> tuple[EngineResult, Sequence[Reading], Sample, Ended]:
        """The clients' account, and what the limiters held when the last invocation had its outcome.

        Then which connections had ended when clients began to close what was left, in both accounts.
        """
        watch = [Seldom(self._sample, _SAMPLES_EVERY_S, time.monotonic, _SAMPLES_SHARE)]
        if self._comes_and_goes:
            watch.append(Seldom(self._note_fullest, _PEAKS_EVERY_S, time.monotonic, _PEAKS_SHARE))

        def tell(progress: Progress) -> None:
            for look in watch:
                look()
            self._listeners.progress(progress)

        with self._running(spec) as running:
            clients = self._connect(running, tell)
            readings = self._readings()
            self._sample()
            self._hold(running, clients, tell)
            held = self._endings()
            ended = self._close(running, clients, tell)
        return clients, readings, held, ended

    @contextmanager
    def _running(self, spec: BurstSpec) -> Iterator[Generator]:
        """The traffic generator; the scapy engine sees packets on the whole way."""
        participants = self._participants
        watched = interfaces_on_path(self._plan, participants.fleets, participants.server, participants.nodes)
        with packet_sockets(self._namespaces, watched if self._load.engine == "scapy" else ()) as taps:
            spec_json = replace(spec, packet_sockets=taps).to_json()
            descriptors = tuple(tap.descriptor for tap in taps)
            with generator(
                self._namespaces[participants.fleets[0].namespace],
                "burst",
                spec_json,
                self._record.logs / f"burst{f'-{os.getpid()}' if self._others else ''}.log",
                descriptors,
            ) as running:
                yield running

    def _connect(self, running: Generator, tell: Callable[[Progress], None]) -> EngineResult:
        """Wait until every invocation has its outcome."""
        for event in self._events(running):
            if isinstance(event, Progress):
                tell(event)
            elif isinstance(event, Connected):
                return event.result
            elif isinstance(event, Failed):
                raise KernelError(f"the traffic generator gave up: {event.message}")
        raise KernelError(
            f"the traffic generator ended before its {self._load.connections:,} connections had an outcome"
        )

    def _hold(self, running: Generator, clients: EngineResult, tell: Callable[[Progress], None]) -> None:
        """Connections that came at once are held together; over time each has ended by itself."""
        hold_s = 0.0 if self._load.over_time else self._load.hold_s or 0.0
        start_s = time.monotonic()
        while (held_s := time.monotonic() - start_s) < hold_s:
            running.require_alive()
            tell(_progress(clients, "holding", held_s))
            time.sleep(min(_PROGRESS_EVERY_S, hold_s - held_s))

    def _close(self, running: Generator, clients: EngineResult, tell: Callable[[Progress], None]) -> Ended:
        tell(_progress(clients, "leaving" if self._load.leave_open else "closing"))
        running.tell("leave" if self._load.leave_open else "close")
        ended = [event for event in self._events(running) if isinstance(event, Ended)]
        return ended[-1] if ended else Ended()

    def _events(self, running: Generator) -> Iterator[Event]:
        """All events but packets; packets are passed to the listener and kept for the result."""
        for event in running.events(event_of):
            if isinstance(event, Packet):
                self._packets.append(event.seen)
                self._listeners.saw(event.seen)
            else:
                yield event

    def _nodes_that_reset(self) -> Iterator[NatNode]:
        for node in self._nodes:
            known = self._ended_before.nodes.get(node.node)
            if known and known.counters.get(RESET_HERE):
                yield node

    def _endings(self) -> Sample:
        """How connections have ended by now; lists of connections are read if any may have been missed."""
        take = self._namespaces.call
        now = Sampler(self._nodes, slots_only=True).take(take)
        may_have = may_have_forgotten(self._nodes, self._ended_before, now)
        return Sampler(self._nodes).take(take) if may_have else now

    def _readings(self) -> list[Reading]:
        """Readings of the limiters now, with the refusals of this burst only."""
        now, self._took_s = self._read_with_fills(), time.monotonic() - self._began_s
        return [reading.since(before) for reading, before in zip(now, self._before, strict=True)]

    def _read_with_fills(self) -> tuple[Reading, ...]:
        return read_with_fills(self._namespaces, self._limiters, self._plan, self._earlier)

    def _note_fullest(self) -> None:
        now = read(self._namespaces, self._limiters)
        if any(reading.in_use > most.in_use for reading, most in zip(now, self._fullest, strict=True)):
            filled = self._read_with_fills()
            self._fullest = [now.with_peak(most) for now, most in zip(filled, self._fullest, strict=True)]

    def _dropped_by_faults(self) -> Counter[Impairment]:
        return dropped_so_far(self._namespaces, self._plan, self._record.path)

    def _refused_twice(self, readings: Iterable[Reading]) -> int:
        """Connections that an ENI refused until there was room, and a limit behind it then."""
        refusing = {reading.limiter.place: reading.limiter for reading in readings if reading.refused_connections}
        addresses = self._participants.eni_addresses
        enis = [limiter for place, limiter in refusing.items() if place in addresses]
        behind = [limiter for place, limiter in refusing.items() if place not in addresses]
        return sum(
            refused_by_both(self._namespaces, eni, other, addresses[eni.place]) for eni in enis for other in behind
        )

    def _refused(self, limiter: Limiter) -> Collection[tuple[IPv4Address, int]]:
        return held_sources(self._namespaces, [replace(limiter, slots=limiter.refused)])

    def _sample(self) -> None:
        if self._listeners.sampled is not None:
            self._listeners.sampled(self._sampler.take(self._namespaces.call))


def _progress(clients: EngineResult, phase: str, t_s: float = 0.0) -> Progress:
    """When every invocation has its outcome."""
    offered, tcp = clients.offered, clients.tcp
    return Progress(t_s, offered, clients.dns.answered, tcp.established, tcp.timed_out, offered, tcp.open, phase)


def _forget(namespaces: Namespaces, limiters: Iterable[Limiter], nodes: Iterable[NatNode]) -> None:
    """Have limiters forget which connections they refused, for this burst may use the last one's ports.

    And nodes which connection they reset first.
    """
    sets: dict[tuple[str, str], set[str]] = {}
    for limiter in limiters:
        sets.setdefault((limiter.namespace, limiter.table), set()).update((limiter.refused, limiter.first_refused))
    for node in nodes:
        sets.setdefault((node.namespace, node.table), set()).add(FIRST_RESET)
    for (namespace, table), names in sorted(sets.items()):
        flush_sets(namespaces[namespace], table, tuple(sorted(names)))


def _first_free_turns(
    namespaces: Namespaces, participants: Participants, before: Iterable[Reading], others: Collection[UnderWay]
) -> list[int | None]:
    """Each fleet begins with ports and environments that hold no slot of its ENIs; None where there are none left.

    Behind an ENI that fleets share each has other ports than those before it.
    """
    enis = [reading for reading in before if reading.limiter.place in participants.gateways]
    with_room = [reading for reading in enis if reading.in_use < reading.limiter.limit] or enis
    full = [reading for reading in enis if reading not in with_room]
    held, held_elsewhere = _held_sources(namespaces, with_room), _held_sources(namespaces, full)
    if others:  # what was refused lately is remembered, for these may have been
        refused = [replace(reading.limiter, slots=reading.limiter.refused) for reading in enis]
        held_elsewhere = {*held_elsewhere, *held_sources(namespaces, refused)}
    return first_turns(participants, held, held_elsewhere, others)


def _held_sources(namespaces: Namespaces, readings: Iterable[Reading]) -> Collection[tuple[IPv4Address, int]]:
    return held_sources(namespaces, [reading.limiter for reading in readings if reading.in_use])

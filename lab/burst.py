"""One burst, from the question to the answer: predict, generate, read the kernel while all is held, close, compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
import time

from lab.errors import KernelError, UsageError
from lab.first_refusal import first_to_refuse
from lab.free_ports import first_turn
from lab.kernel.apply import lost
from lab.kernel.generator import Event, Generator, generator
from lab.kernel.namespaces import Namespaces
from lab.kernel.nft import flush_sets
from lab.kernel.preflight import require_means
from lab.kernel.state import Record
from lab.kernel.taps import opened, places
from lab.load import Load
from lab.observe.barriers import Stopped, stopped
from lab.observe.limiters import held_sources, read
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking, track
from lab.plan.objects import FleetPlan, Limiter, Plan, ServerPlan
from lab.predict import Prediction, choose, predict
from lab.result import BurstResult, StopResult, assemble
from lab.topology import Topology
from lab.topology.ways import Way, ways
from traffic.result import EngineResult
from traffic.sighting import Sighting
from traffic.spec import BurstSpec, PortBlocks

__all__ = ["Progress", "run_burst"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05
_PEAK_EVERY_S = 1.0
_READ_AT_MOST_S = 0.05
"""Readings that take longer (kernels before 6.16 count by walking) are not taken while a load goes on."""
_REST_S = 2.5
"""A slot's garbage collection (1 s) and conntrack's shortest timeout (1 s), and a little more."""


_NO_TURN = (
    "every execution environment has ports that hold slots from before, so some connections of this burst are the same "
    "as earlier ones and take no slot of their own; wait until those are free, or take the lab down and up"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a burst is."""

    phase: str
    """`connecting`, `holding`, `closing`."""
    t_s: float
    offered: int
    answered: int = 0
    established: int = 0
    timed_out: int = 0
    settled: int = 0
    """Invocations that have their outcome."""
    open: int = 0


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who takes part in a burst."""

    plan: Plan
    topology: Topology
    load: Load
    fleet: FleetPlan
    server: ServerPlan
    ways: tuple[Way, ...]
    nodes: frozenset[str]
    """Those on the ways to the server."""
    limiters: tuple[Limiter, ...]

    @property
    def blocks(self) -> PortBlocks:
        return replace(self.fleet.blocks, per_environment=self.load.connections_per_environment)

    @property
    def room(self) -> int:
        """How many turns the environments behind each ENI have ports for."""
        return min(path.environments for path in self.fleet.paths) * self.blocks.per_environment

    @property
    def connections(self) -> int:
        """How many connections there are to use: one for each invocation, or what has ports of its own."""
        if not self.load.over_time:
            return self.load.connections
        return min(self.load.connections, len(self.fleet.paths) * min(self.room, self.blocks.ports))

    @property
    def turns(self) -> int:
        """How many connections each ENI is given at most."""
        return -(-self.connections // len(self.fleet.paths))


def run_burst(
    record: Record,
    plan: Plan,
    topology: Topology,
    load: Load,
    progress: Callable[[Progress], None],
    *,
    saw: Callable[[Sighting], None],
) -> BurstResult:
    """Run it; the connections are closed when this returns or raises, unless they were to be left open."""
    scene = _scene(plan, topology, load)
    require_means(load.engine, scene.connections)
    packets = _Packets(saw)
    with record.alone() as alone, Namespaces() as namespaces:
        if not alone:
            raise UsageError(f"another burst is running in lab {plan.lab}; wait for it, or use another lab")
        whole = lost(plan)
        _forget_refusals(namespaces, scene.limiters)
        before = read(namespaces, scene.limiters)
        stopped_before = stopped(namespaces, plan.barriers)
        turn = _first_turn(namespaces, scene, before)
        spec = _spec(scene, (turn or 0) * len(scene.fleet.paths))
        generating = _generating(namespaces, scene, spec, record.logs / "burst.log", packets.add)
        try:
            seen, after = _observe(generating, namespaces, before, load, progress)
        except BaseException as ended:
            if isinstance(ended, KernelError) and (gone := _gone(plan, whole)):
                raise KernelError(f"{ended}; gone meanwhile: {', '.join(gone)}") from ended
            _await_free_slots(namespaces, before, _no_half_open)
            raise
        stops = _stops(scene.ways, stopped_before, stopped(namespaces, plan.barriers))
        tracking = () if load.leave_open else _end(namespaces, scene, before, _half_open(scene, seen, after))
    return assemble(
        plan.lab,
        load,
        seen,
        readings=after,
        held_before=before,
        prediction=_prediction(scene, before),
        first_to_refuse=first_to_refuse(after, spec, _eni_addresses(plan)),
        stops=stops,
        resolver=topology.service_vpc.resolver,
        tracking=tracking,
        incidents=[
            *([] if turn is not None else [_NO_TURN]),
            *(f"{each} has ended during the burst" for each in _gone(plan, whole)),
        ],
        packets=packets.seen,
    )


class _Packets:
    """What the scapy engine saw, which is told at once and kept for the result."""

    def __init__(self, saw: Callable[[Sighting], None]) -> None:
        self.seen: list[Sighting] = []
        self._saw = saw

    def add(self, sighting: Sighting) -> None:
        """One more."""
        self.seen.append(sighting)
        self._saw(sighting)


@contextmanager
def _generating(
    namespaces: Namespaces, scene: _Scene, spec: BurstSpec, log: Path, saw: Callable[[Sighting], None]
) -> Iterator[Generator]:
    """The traffic generator; the scapy engine listens along the whole way."""
    watched = places(scene.plan, scene.fleet, scene.server, scene.nodes) if scene.load.engine == "scapy" else ()
    with opened(namespaces, watched) as taps:
        heard = tuple(tap.descriptor for tap in taps)
        spec_json = replace(spec, taps=taps).to_json()
        with generator(namespaces[scene.fleet.namespace], spec_json, log, heard, saw) as running:
            yield running


def _gone(plan: Plan, before: Collection[str]) -> list[str]:
    """What of the lab has ended since it lacked no more than this."""
    return [each.replace("its", "the lab's", 1) for each in lost(plan) if each not in before]


def _scene(plan: Plan, topology: Topology, load: Load) -> _Scene:
    fleet, server = _fleet(plan, load), _server(plan, load)
    found = ways(topology, fleet.function, server.name, load.protocol)
    nodes = frozenset(node for way in found for node in way.nodes)
    scene = _Scene(plan, topology, load, fleet, server, found, nodes, _on_the_way(plan, nodes, server, load))
    if scene.turns > scene.room:
        room = scene.room * len(fleet.paths)
        raise UsageError(
            f"-n {load.connections}: the fleet of {fleet.function} has room for {room:,} connections at a time, "
            f"{load.connections_per_environment} in each execution environment"
        )
    return scene


def _observe(
    generating: AbstractContextManager[Generator],
    namespaces: Namespaces,
    before: Sequence[Reading],
    load: Load,
    progress: Callable[[Progress], None],
) -> tuple[EngineResult, list[Reading]]:
    """Generate, and read the kernel while everything is held: the clients' account and the kernel's."""
    limiters = [each.limiter for each in before]
    peaks = _Peaks(namespaces, limiters) if load.over_time else None
    with generating as running:
        seen = _connected(running, load, progress, peaks)
        after = _since(before, read(namespaces, limiters))
        _hold(running, load, seen, progress)
        _finish(running, load, seen, progress)
    return seen, peaks.applied_to(after) if peaks else after


class _Peaks:
    """The most slots that each limiter was seen to hold while a load went on."""

    def __init__(self, namespaces: Namespaces, limiters: Sequence[Limiter]) -> None:
        self._namespaces, self._limiters = namespaces, limiters
        self._most = [0] * len(limiters)
        self._next_s = 0.0

    def look(self) -> None:
        """Look from time to time."""
        begun_s = time.monotonic()
        if begun_s < self._next_s:
            return
        seen = (each.in_use for each in read(self._namespaces, self._limiters))
        self._most = [max(pair) for pair in zip(self._most, seen, strict=True)]
        took_s = time.monotonic() - begun_s
        self._next_s = begun_s + max(_PEAK_EVERY_S, took_s * _PEAK_EVERY_S / _READ_AT_MOST_S)

    def applied_to(self, readings: Iterable[Reading]) -> list[Reading]:
        """The same readings with these peaks."""
        return [each.with_peak(most) for each, most in zip(readings, self._most, strict=True)]


def _fleet(plan: Plan, load: Load) -> FleetPlan:
    name = choose((fleet.function for fleet in plan.fleets), load.function, "function")
    return next(fleet for fleet in plan.fleets if fleet.function == name)


def _server(plan: Plan, load: Load) -> ServerPlan:
    name = choose((server.name for server in plan.servers), load.server, "server")
    return next(server for server in plan.servers if server.name == name)


def _first_turn(namespaces: Namespaces, scene: _Scene, before: Iterable[Reading]) -> int | None:
    """Begin with ports and environments that hold no slot of the function's ENIs; None where there are none left."""
    enis = [each for each in before if each.limiter.kind == "hyperplane_eni"]
    with_room = [each for each in enis if each.in_use < each.limiter.limit] or enis
    held, elsewhere = (
        held_sources(namespaces, [each.limiter for each in group if each.in_use])
        for group in (with_room, [each for each in enis if each not in with_room])
    )
    ranges = (*scene.fleet.paths, *(path.sockets for path in scene.fleet.paths))
    return first_turn(scene.blocks, ranges, held, turns=scene.turns, room=scene.room, elsewhere=elsewhere)


def _on_the_way(plan: Plan, nodes: Collection[str], server: ServerPlan, load: Load) -> tuple[Limiter, ...]:
    """What may refuse connections to this server over this protocol: the function's ENIs, and what comes after them."""
    return tuple(
        limiter
        for limiter in plan.limiters
        if limiter.place in nodes
        and limiter.destination in (None, server.name)
        and limiter.protocol in ("any", load.protocol)
        and not limiter.drains
    )


def _forget_refusals(namespaces: Namespaces, limiters: Iterable[Limiter]) -> None:
    """Start anew with telling refused connections apart: this burst may use the last one's ports."""
    places = {(each.namespace, each.table, (each.refused, each.first_refused)) for each in limiters}
    for namespace, table, sets in sorted(places):
        flush_sets(namespaces[namespace], table, sets)


def _prediction(scene: _Scene, before: Iterable[Reading]) -> Prediction:
    """What arithmetic says, of a load over time as far as it says how many connections there are at once."""
    load = scene.load
    holds_s = {limiter.port_hold_s for limiter in scene.limiters}
    at_once = load.at_once(max(holds_s, default=0)) if len(holds_s) <= 1 or not load.over_time else None
    if at_once is None:
        return Prediction(load.connections, None, None, None, ())
    function, server = scene.fleet.function, scene.server.name
    found = predict(
        scene.topology,
        at_once,
        function=function,
        server=server,
        protocol=load.protocol,
        in_use=_in_use(before),
        connect_timeout_s=load.connect_timeout_s,
        questions=_questions(scene),
        per_environment=load.connections_per_environment,
    )
    if not load.over_time or found.bottleneck is None:
        established = found.established if at_once == load.connections or load.reuse else load.connections
        return replace(found, offered=load.connections, established=established)
    # Retries succeed as others close. With a port hold, the rate says how many are open when the limit is reached.
    threshold = None if any(holds_s) else found.drop_threshold
    return replace(found, offered=load.connections, established=None, drop_threshold=threshold)


def _questions(scene: _Scene) -> int:
    """How many take slots or count for a quota; a port that is used again asks again, and takes no other slot."""
    if scene.load.syn_only:
        return 0
    return (
        scene.connections if scene.topology.service_vpc.resolver.packets_per_second is None else scene.load.connections
    )


def _in_use(readings: Iterable[Reading]) -> Callable[[str], int]:
    """Slots taken at a node; an ENI that has appeared beside a full one gives it more than it had."""
    used: Counter[str] = Counter()
    for each in readings:
        if each.appeared:
            more = each.limiter.limit if each.limiter.of else 0
            used[each.limiter.place] += each.in_use - more
    return lambda node: used[node]


def _eni_addresses(plan: Plan) -> dict[str, tuple[IPv4Address, ...]]:
    return {node.name: tuple(map(IPv4Address, node.addresses)) for node in plan.nodes if node.kind == "hyperplane_eni"}


def _spec(scene: _Scene, first: int) -> BurstSpec:
    fleet, server, load = scene.fleet, scene.server, scene.load
    return BurstSpec(
        interface=fleet.interface,
        mac=fleet.mac,
        resolver_address=fleet.resolver_address,
        resolver_mac=fleet.resolver_mac,
        paths=fleet.paths,
        blocks=scene.blocks,
        hostname=server.hostname,
        port=server.port,
        connections=scene.connections,
        first_connection=first,
        invocations=load.connections,
        engine=load.engine,
        protocol=load.protocol,
        connect_timeout_s=load.connect_timeout_s,
        syn_schedule=load.syn_schedule,
        arrivals=load.arrivals,
        growth=load.growth,
        at_a_time=1 if load.engine == "scapy" else None,
        hold_s=load.hold_s if load.over_time else None,
        duration_s=load.duration_s,
        requests=load.requests,
        reuse=load.reuse,
        close=load.close,
        rest_s=_REST_S + _longest_port_hold_s(scene.topology),
        destination=server.address if load.syn_only else None,
        questions_apart=scene.topology.service_vpc.resolver.counts_sources,
    )


def _longest_port_hold_s(topology: Topology) -> int:
    return max(topology.hyperplane_eni.port_hold_s, *(each.port_hold_s for each in topology.vpc.nat_gateways), 0)


def _connected(
    running: Generator, load: Load, progress: Callable[[Progress], None], peaks: _Peaks | None
) -> EngineResult:
    """Listen until every invocation has its outcome."""
    for event in running.events():
        if event["event"] == "progress":
            progress(_progress(event))
            if peaks:
                peaks.look()
        elif event["event"] == "connected":
            return EngineResult.from_json(event["result"])
        elif event["event"] == "error":
            raise KernelError(f"the traffic generator gave up: {event['message']}")
    raise KernelError(f"the traffic generator ended before its {load.connections:,} connections had an outcome")


def _progress(event: Event) -> Progress:
    return Progress(
        phase="connecting",
        t_s=event["t_s"],
        offered=event["offered"],
        answered=event["answered"],
        established=event["established"],
        timed_out=event["timed_out"],
        settled=event["settled"],
        open=event["open"],
    )


def _hold(running: Generator, load: Load, seen: EngineResult, progress: Callable[[Progress], None]) -> None:
    hold_s = 0.0 if load.over_time else load.hold_s or 0.0
    start = time.monotonic()
    while (held_s := time.monotonic() - start) < hold_s:
        running.require_alive()
        progress(_stage("holding", held_s, seen))
        time.sleep(min(0.2, hold_s - held_s))


def _finish(running: Generator, load: Load, seen: EngineResult, progress: Callable[[Progress], None]) -> None:
    progress(_stage("leaving" if load.leave_open else "closing", 0.0, seen))
    running.tell("leave" if load.leave_open else "close")
    for _ in running.events():
        pass


def _stage(phase: str, t_s: float, seen: EngineResult) -> Progress:
    tcp = seen.tcp
    return Progress(phase, t_s, seen.offered, seen.dns.answered, tcp.established, tcp.timed_out, seen.offered, tcp.open)


def _since(before: Iterable[Reading], now: Iterable[Reading]) -> list[Reading]:
    """Readings whose refusals are this burst's."""
    return [each.since(earlier) for each, earlier in zip(now, before, strict=True)]


_HalfOpen = Callable[[Limiter], int]
"""Limiter → connections that it let pass and that were never answered further on.

They keep their slots for the half-open timeout, whatever their clients do; and so do questions, for the idle timeout.
"""


def _no_half_open(_: Limiter) -> int:
    return 0


def _stops(found: Iterable[Way], before: Stopped, after: Stopped) -> list[StopResult]:
    """Which barriers dropped something meanwhile, how much, and what would have let it pass.

    Answers count where this burst's may end: a kernel repeats SYN-ACKs for a minute, so those of another may be dropped
    meanwhile.
    """
    ends = {
        (end.node, end.kind, end.name, end.direction, end.answers): end
        for way in found
        for end in (way.dead_end, way.doubt)
        if end
    }
    stops = []
    for each, packets in after.items():
        end = ends.get((each.node, each.kind, each.name, each.direction, each.answers))
        dropped = packets - before[each]
        if dropped and (end or not each.answers):
            cure = end.cure if end else None
            stops.append(StopResult(each.node, each.kind, each.name, dropped, each.direction, each.answers, cure))
    return stops


def _half_open(scene: _Scene, seen: EngineResult, after: Sequence[Reading]) -> _HalfOpen:
    behind_eni = scene.topology.service_vpc.resolver.behind_eni
    lost = seen.tcp.timed_out + (seen.unanswered.invocations if behind_eni else 0)
    ended = [(way, _ended(scene, number, seen, after)) for number, way in enumerate(scene.ways) if way.dead_end]

    def waiting(limiter: Limiter) -> int:
        kinds = {"hyperplane_eni", limiter.kind}
        refused = sum(each.refused_connections for each in after if each.limiter.kind in kinds)
        elsewhere = sum(connections for way, connections in ended if not _holds(limiter, way))
        questions = seen.dns.asked if behind_eni and limiter.kind == "hyperplane_eni" else 0
        return max(0, lost - refused - elsewhere) + questions

    return waiting


def _ended(scene: _Scene, number: int, seen: EngineResult, after: Iterable[Reading]) -> int:
    """Connections that its dead end stopped, of those that took way `number` in their turn."""
    taking = -((number - seen.tcp.attempted) // len(scene.ways))
    return taking - sum(each.refused_connections for each in after if _is_gateway(each.limiter, scene.ways[number]))


def _is_gateway(limiter: Limiter, way: Way) -> bool:
    return (limiter.of or limiter.node) == way.gateway


def _holds(limiter: Limiter, way: Way) -> bool:
    """Whether connections that come to the dead end of a way hold a slot of a limiter."""
    if way.reached and limiter.node == way.reached.node:
        return True
    return _is_gateway(limiter, way) and way.dead_end is not None and way.dead_end.node != way.gateway


def _end(
    namespaces: Namespaces, scene: _Scene, before: Iterable[Reading], half_open: _HalfOpen
) -> tuple[Tracking, ...]:
    """Wait until what was closed is free; what slots and conntrack still hold then."""
    if scene.load.protocol == "tcp":  # a flow over UDP ends when it has been idle for long enough
        _await_free_slots(namespaces, before, half_open)
    places = {each.place for each in scene.limiters}
    wanted = [each for each in scene.plan.limiters if each.place in places]
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while True:
        found = track(namespaces, wanted)
        if all(each.difference == 0 for each in found) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_S)


def _await_free_slots(namespaces: Namespaces, before: Iterable[Reading], half_open: _HalfOpen) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    With a port hold that may take longer than anybody wants to wait for; the deadline is short.
    """
    allowed = {each.limiter: each.in_use + half_open(each.limiter) for each in before}
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while any(each.in_use > allowed[each.limiter] for each in read(namespaces, allowed)):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)

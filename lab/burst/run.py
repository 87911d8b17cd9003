"""One burst, from the question to the answer: predict, generate, read the kernel while all is held, close, compare."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
import time

from lab.burst.first_refusal import first_to_refuse
from lab.burst.free_ports import first_turn
from lab.burst.load import Load
from lab.burst.result import BurstResult, assemble
from lab.burst.scene import Scene, eni_addresses, prediction, scene_of, spec_of
from lab.burst.settling import await_free_slots, lasting, nothing_lasts, settle
from lab.errors import KernelError, UsageError
from lab.kernel.apply import lost
from lab.kernel.generator import Event, Generator, generator
from lab.kernel.namespaces import Namespaces
from lab.kernel.nft import flush_sets
from lab.kernel.preflight import require_means
from lab.kernel.state import Record
from lab.kernel.taps import opened, places
from lab.observe.drops import DroppedPackets, dropped_packets
from lab.observe.limiters import held_sources, read
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.observe.sampling import Sampler
from lab.observe.tracking import ports_not_found
from lab.paths.ways import Way
from lab.plan.objects import Plan
from lab.schema.drops import DropCount
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.result import EngineResult
from traffic.sighting import Sighting
from traffic.spec import BurstSpec

__all__ = ["Progress", "run_burst"]

_PEAKS_EVERY_S, _PEAKS_SHARE = 1.0, 0.05
_SAMPLES_EVERY_S, _SAMPLES_SHARE = 0.2, 0.02
"""How often the kernel is asked while a load goes on, and which share of the time that may take.

Kernels before 6.16 count a set's elements by walking.
"""

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


def run_burst(
    record: Record,
    plan: Plan,
    topology: Topology,
    load: Load,
    progress: Callable[[Progress], None],
    *,
    saw: Callable[[Sighting], None],
    sampled: Callable[[Sample], None] | None = None,
) -> BurstResult:
    """Run it; the connections are closed when this returns or raises, unless they were to be left open.

    `sampled` is called several times a second with what NAT nodes count, before the first packet and after the last.
    """
    scene = scene_of(plan, topology, load)
    require_means(load.engine, scene.connections)
    packets = _Packets(saw)
    with record.alone() as alone, Namespaces() as namespaces:
        if not alone:
            raise UsageError(f"another burst is running in lab {plan.lab}; wait for it, or use another lab")
        whole = lost(plan)
        _forget_refusals(namespaces, scene.limiters)
        before = read(namespaces, scene.limiters)
        dropped_before = dropped_packets(namespaces, plan.barriers)
        not_found_before = ports_not_found(namespaces, scene.limiters)
        turn = _first_turn(namespaces, scene, before)
        spec = spec_of(scene, (turn or 0) * len(scene.fleet.paths))
        generating = _generating(namespaces, scene, spec, record.logs / "burst.log", packets.add)
        sample = _sampling(namespaces, plan, sampled)
        sample()
        try:
            seen, after = _observe(generating, namespaces, before, load, progress, sample=sample)
        except BaseException as ended:
            if isinstance(ended, KernelError) and (gone := _gone(plan, whole)):
                raise KernelError(f"{ended}; gone meanwhile: {', '.join(gone)}") from ended
            await_free_slots(namespaces, before, nothing_lasts)
            raise
        stops = tuple(_drops(scene.ways, dropped_before, dropped_packets(namespaces, plan.barriers)))
        not_found = ports_not_found(namespaces, scene.limiters) - not_found_before
        tracking = () if load.leave_open else settle(namespaces, scene, before, lasting(scene, seen, after))
        sample()
    return assemble(
        plan.lab,
        load,
        seen,
        readings=after,
        held_before=before,
        prediction=prediction(scene, before),
        first_to_refuse=first_to_refuse(after, spec, eni_addresses(plan)),
        stops=stops,
        ports_not_found=not_found,
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
    namespaces: Namespaces, scene: Scene, spec: BurstSpec, log: Path, saw: Callable[[Sighting], None]
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


def _observe(
    generating: AbstractContextManager[Generator],
    namespaces: Namespaces,
    before: Sequence[Reading],
    load: Load,
    progress: Callable[[Progress], None],
    *,
    sample: Callable[[], None],
) -> tuple[EngineResult, list[Reading]]:
    """Generate, and read the kernel while everything is held: the clients' account and the kernel's."""
    limiters = [each.limiter for each in before]
    peaks = _Peaks(namespaces, limiters)
    looks = [_Regularly(sample, _SAMPLES_EVERY_S, _SAMPLES_SHARE)]
    if load.over_time:
        looks.append(_Regularly(peaks.look, _PEAKS_EVERY_S, _PEAKS_SHARE))

    def watched(at: Progress) -> None:
        for look in looks:
            look()
        progress(at)

    with generating as running:
        seen = _connected(running, load, watched)
        after = _since(before, read(namespaces, limiters))
        sample()
        _hold(running, load, seen, watched)
        _finish(running, load, seen, watched)
    return seen, peaks.applied_to(after)


class _Regularly:
    """Does something from time to time, and so seldom that it takes no more than its share of the time."""

    def __init__(self, do: Callable[[], None], every_s: float, share: float) -> None:
        self._do, self._every_s, self._share = do, every_s, share
        self._next_s = 0.0

    def __call__(self) -> None:
        begun_s = time.monotonic()
        if begun_s >= self._next_s:
            self._do()
            took_s = time.monotonic() - begun_s
            self._next_s = begun_s + max(self._every_s, took_s / self._share)


def _sampling(namespaces: Namespaces, plan: Plan, sampled: Callable[[Sample], None] | None) -> Callable[[], None]:
    """What takes a sample of the lab for who wants it, and does nothing if nobody does."""
    if sampled is None:
        return lambda: None
    sampler = Sampler(plan.nat_nodes)
    return lambda: sampled(sampler.take(namespaces.visit))


class _Peaks:
    """The most slots that each limiter was seen to hold while a load went on."""

    def __init__(self, namespaces: Namespaces, limiters: Sequence[Limiter]) -> None:
        self._namespaces, self._limiters = namespaces, limiters
        self._most = [0] * len(limiters)

    def look(self) -> None:
        """Once more."""
        seen = (each.in_use for each in read(self._namespaces, self._limiters))
        self._most = [max(pair) for pair in zip(self._most, seen, strict=True)]

    def applied_to(self, readings: Iterable[Reading]) -> list[Reading]:
        """The same readings with these peaks."""
        return [each.with_peak(most) for each, most in zip(readings, self._most, strict=True)]


def _first_turn(namespaces: Namespaces, scene: Scene, before: Iterable[Reading]) -> int | None:
    """Begin with ports and environments that hold no slot of the function's ENIs; None where there are none left."""
    enis = [each for each in before if each.limiter.kind == "hyperplane_eni"]
    with_room = [each for each in enis if each.in_use < each.limiter.limit] or enis
    held, elsewhere = (
        held_sources(namespaces, [each.limiter for each in group if each.in_use])
        for group in (with_room, [each for each in enis if each not in with_room])
    )
    ranges = (*scene.fleet.paths, *(path.sockets for path in scene.fleet.paths))
    return first_turn(scene.blocks, ranges, held, turns=scene.turns, room=scene.room, elsewhere=elsewhere)


def _forget_refusals(namespaces: Namespaces, limiters: Iterable[Limiter]) -> None:
    """Start anew with telling refused connections apart: this burst may use the last one's ports."""
    places = {(each.namespace, each.table, (each.refused, each.first_refused)) for each in limiters}
    for namespace, table, sets in sorted(places):
        flush_sets(namespaces[namespace], table, sets)


def _connected(running: Generator, load: Load, progress: Callable[[Progress], None]) -> EngineResult:
    """Listen until every invocation has its outcome."""
    for event in running.events():
        if event["event"] == "progress":
            progress(_progress(event))
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


def _drops(ways: Iterable[Way], before: DroppedPackets, after: DroppedPackets) -> Iterator[DropCount]:
    """What was dropped meanwhile whatever the limits, and the rule that would have let it pass.

    Answers count where this burst's may end: a kernel repeats SYN-ACKs for a minute, so those of another may be dropped
    meanwhile.
    """
    ends = {end.point: end for way in ways for end in (way.dead_end, way.doubt) if end}
    for counter, packets in after.items():
        end, dropped = ends.get(counter.point), packets - before.get(counter, 0)
        if dropped > 0 and (end or not counter.answers):
            yield counter.counted(dropped, end.cure if end else None)

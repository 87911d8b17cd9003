"""One burst, from the question to the answer: predict, generate, read the kernel while all is held, close, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv4Address
from math import inf
import time
from typing import get_args

from lab.errors import KernelError, UsageError
from lab.first_refusal import first_to_refuse
from lab.free_ports import first_turn
from lab.kernel.generator import Event, Generator, generator
from lab.kernel.namespaces import Namespaces
from lab.kernel.nft import flush_sets
from lab.kernel.state import Record
from lab.observe.limiters import held_sources, read
from lab.observe.readings import Reading
from lab.plan.objects import FleetPlan, Limiter, LimiterKind, Plan, ServerPlan
from lab.predict import choose, predict
from lab.result import BurstResult, assemble
from lab.topology import Topology
from traffic.result import EngineResult
from traffic.spec import Arrivals, BurstSpec, Engine, SynSchedule

__all__ = ["Burst", "Progress", "run_burst"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05
_LONGEST_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What is asked for; None is the topology's first function or server, and for the rate all at once."""

    connections: int
    engine: Engine
    function: str | None
    server: str | None
    rate_per_s: float | None
    hold_s: float
    connect_timeout_s: float
    syn_schedule: SynSchedule
    leave_open: bool

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        if self.connections < 1:
            raise UsageError(f"-n {self.connections}: a burst has at least one connection")
        if not 0 < self.connect_timeout_s <= _LONGEST_S:
            raise UsageError(f"--connect-timeout {self.connect_timeout_s}: seconds, up to {_LONGEST_S:,}")
        if not 0 <= self.hold_s <= _LONGEST_S:
            raise UsageError(f"--hold {self.hold_s}: seconds, up to {_LONGEST_S:,}")
        if self.rate_per_s is not None and not 0 < self.rate_per_s < inf:
            raise UsageError(f"--rate {self.rate_per_s}: invocations per second, more than 0")


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


def run_burst(
    record: Record, plan: Plan, topology: Topology, wanted: Burst, progress: Callable[[Progress], None]
) -> BurstResult:
    """Run it; the connections are closed when this returns or raises, unless they were to be left open."""
    fleet, server = _fleet(plan, wanted), _server(plan, wanted)
    turns = _turns(fleet, wanted)
    limiters = _on_the_way(plan, fleet, server)
    with record.alone() as alone, Namespaces() as namespaces:
        if not alone:
            raise UsageError(f"another burst is running in lab {plan.lab}; wait for it, or use another lab")
        _forget_refusals(namespaces, limiters)
        before = read(namespaces, limiters)
        turn = _first_turn(namespaces, fleet, turns, before)
        spec = _spec(fleet, server, wanted, turn * len(fleet.paths))
        generating = generator(namespaces[fleet.namespace], spec.to_json(), record.logs / "burst.log")
        try:
            seen, after = _observe(generating, namespaces, before, wanted, progress)
        except BaseException:
            _await_free_slots(namespaces, before, dict.fromkeys(get_args(LimiterKind), 0))
            raise
        if not wanted.leave_open:
            _await_free_slots(namespaces, before, _half_open(seen, after))
    return assemble(
        plan.lab,
        wanted.engine,
        seen,
        readings=after,
        held_before=before,
        prediction=predict(
            topology, wanted.connections, function=fleet.function, server=server.name, in_use=_in_use(before)
        ),
        first_to_refuse=first_to_refuse(after, spec, _eni_addresses(plan)),
    )


def _observe(
    generating: AbstractContextManager[Generator],
    namespaces: Namespaces,
    before: Sequence[Reading],
    wanted: Burst,
    progress: Callable[[Progress], None],
) -> tuple[EngineResult, list[Reading]]:
    """Generate, and read the kernel while everything is held: the clients' account and the kernel's."""
    with generating as running:
        seen = _connected(running, wanted, progress)
        after = _since(before, read(namespaces, [each.limiter for each in before]))
        _hold(running, wanted, seen, progress)
        _finish(running, wanted, seen, progress)
    return seen, after


def _fleet(plan: Plan, wanted: Burst) -> FleetPlan:
    name = choose((fleet.function for fleet in plan.fleets), wanted.function, "function")
    return next(fleet for fleet in plan.fleets if fleet.function == name)


def _server(plan: Plan, wanted: Burst) -> ServerPlan:
    name = choose((server.name for server in plan.servers), wanted.server, "server")
    return next(server for server in plan.servers if server.name == name)


def _turns(fleet: FleetPlan, wanted: Burst) -> int:
    """How many connections each ENI is given at most; UsageError if its environments have no ports for so many."""
    turns = -(-wanted.connections // len(fleet.paths))
    if turns > _room(fleet):
        room = _room(fleet) * len(fleet.paths)
        raise UsageError(f"-n {wanted.connections}: the fleet of {fleet.function} has room for {room:,} connections")
    return turns


def _room(fleet: FleetPlan) -> int:
    return min(path.environments for path in fleet.paths) * fleet.blocks.per_environment


def _first_turn(namespaces: Namespaces, fleet: FleetPlan, turns: int, before: Iterable[Reading]) -> int:
    """Begin with ports and environments that hold no slot of the function's ENIs; out of rounds, with the first."""
    used = [each.limiter for each in before if each.limiter.kind == "hyperplane_eni" and each.in_use]
    turn = first_turn(fleet.blocks, fleet.paths, held_sources(namespaces, used))
    return turn if turn + turns <= _room(fleet) else 0


def _on_the_way(plan: Plan, fleet: FleetPlan, server: ServerPlan) -> tuple[Limiter, ...]:
    """The function's ENIs and, for this destination, the NAT gateways' Elastic IPs."""
    enis = {path.eni for path in fleet.paths}
    return tuple(
        limiter
        for limiter in plan.limiters
        if (limiter.kind == "hyperplane_eni" and limiter.node in enis)
        or (limiter.destination == server.name and limiter.protocol == "tcp")
    )


def _forget_refusals(namespaces: Namespaces, limiters: Iterable[Limiter]) -> None:
    """Start anew with telling refused connections apart: this burst may use the last one's ports."""
    places = {(each.namespace, each.table, (each.refused, each.first_refused)) for each in limiters}
    for namespace, table, sets in sorted(places):
        flush_sets(namespaces[namespace], table, sets)


def _in_use(readings: Iterable[Reading]) -> Callable[[str], int]:
    used: dict[str, int] = {}
    for each in readings:
        used[each.limiter.node] = used.get(each.limiter.node, 0) + each.in_use
    return lambda node: used.get(node, 0)


def _eni_addresses(plan: Plan) -> dict[str, IPv4Address]:
    return {node.name: IPv4Address(node.addresses[0]) for node in plan.nodes if node.kind == "hyperplane_eni"}


def _spec(fleet: FleetPlan, server: ServerPlan, wanted: Burst, first: int) -> BurstSpec:
    return BurstSpec(
        interface=fleet.interface,
        mac=fleet.mac,
        resolver_address=fleet.resolver_address,
        resolver_mac=fleet.resolver_mac,
        paths=fleet.paths,
        blocks=fleet.blocks,
        hostname=server.hostname,
        port=server.port,
        connections=wanted.connections,
        first_connection=first,
        connect_timeout_s=wanted.connect_timeout_s,
        syn_schedule=wanted.syn_schedule,
        arrivals=Arrivals(wanted.rate_per_s),
        engine=wanted.engine,
    )


def _connected(running: Generator, wanted: Burst, progress: Callable[[Progress], None]) -> EngineResult:
    """Listen until every invocation has its outcome."""
    for event in running.events():
        if event["event"] == "progress":
            progress(_progress(event))
        elif event["event"] == "connected":
            return EngineResult.from_json(event["result"])
        elif event["event"] == "error":
            raise KernelError(f"the traffic generator could not start: {event['message']}")
    raise KernelError(f"the traffic generator ended before its {wanted.connections:,} connections had an outcome")


def _progress(event: Event) -> Progress:
    return Progress(
        phase="connecting",
        t_s=event["t_s"],
        offered=event["offered"],
        answered=event["answered"],
        established=event["established"],
        timed_out=event["timed_out"],
        settled=event["established"] + event["timed_out"] + event["refused"] + event["reset"],
    )


def _hold(running: Generator, wanted: Burst, seen: EngineResult, progress: Callable[[Progress], None]) -> None:
    start = time.monotonic()
    while (held_s := time.monotonic() - start) < wanted.hold_s:
        running.require_alive()
        progress(_stage("holding", held_s, seen))
        time.sleep(min(0.2, wanted.hold_s - held_s))


def _finish(running: Generator, wanted: Burst, seen: EngineResult, progress: Callable[[Progress], None]) -> None:
    progress(_stage("leaving" if wanted.leave_open else "closing", 0.0, seen))
    running.tell("leave" if wanted.leave_open else "close")
    for _ in running.events():
        pass


def _stage(phase: str, t_s: float, seen: EngineResult) -> Progress:
    return Progress(phase, t_s, seen.offered, seen.dns.answered, seen.tcp.established, seen.tcp.timed_out, seen.offered)


def _since(before: Iterable[Reading], now: Iterable[Reading]) -> list[Reading]:
    """Readings whose refusals are this burst's."""
    return [each.since(earlier) for each, earlier in zip(now, before, strict=True)]


def _half_open(seen: EngineResult, after: Iterable[Reading]) -> dict[str, int]:
    """By kind of limiter, connections that it let pass and that were never answered further on.

    They keep their slots for the half-open timeout, whatever their clients do.
    """
    refused = dict.fromkeys(get_args(LimiterKind), 0)
    for each in after:
        refused[each.limiter.kind] += each.refused_connections
    behind_enis = seen.tcp.timed_out - refused["hyperplane_eni"]
    return {"hyperplane_eni": behind_enis, "nat_gateway": behind_enis - refused["nat_gateway"]}


def _await_free_slots(namespaces: Namespaces, before: Iterable[Reading], half_open: Mapping[str, int]) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    With a port hold that may take longer than anybody wants to wait for; the deadline is short.
    """
    allowed = {each.limiter: each.in_use + max(half_open[each.limiter.kind], 0) for each in before}
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while any(each.in_use > allowed[each.limiter] for each in read(namespaces, allowed)):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)

"""Both accounts of a burst put together, its clients' and the kernel's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lab.burst.disagreements import connections_seen, disagreements
from lab.burst.endings import by_clients, by_kernel
from lab.burst.functions import functions_of
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.burst.result import BurstResult, EnvironmentDescriptors, LimitResult, PredictedResult
from lab.capacity.predict import Prediction
from lab.nodes.resolver.model import Resolver
from lab.observe.drops import DroppedPackets
from lab.observe.readings import Reading
from lab.paths.leg import DeadEnd
from lab.schema.drops import DropCount
from traffic.result import TcpCount

__all__ = ["assemble", "drops_between", "limit_result"]


def assemble(lab: str, load: Load, resolver: Resolver, prediction: Prediction, observation: Observation) -> BurstResult:
    """Put both accounts of a burst together, and say where they differ."""
    clients, first, readings = observation.clients, observation.first_to_refuse, observation.readings
    kernel, ended = observation.counted, observation.ended
    closed_at_once = observation.refused_by("close")
    tcp = _until_closed(observation, closed_at_once)
    # An invocation without a request had succeeded with its handshake; one with a request has failed already.
    invocations, failed = clients.invocations, closed_at_once if load.requests == 0 else 0
    before = {reading.limiter: reading for reading in observation.readings_before}
    turned_away = any(reading.refused_packets for reading in readings if reading.limiter.answers)
    lost = turned_away or clients.tcp.timed_out or (resolver.behind_eni and clients.dns.failed)
    return BurstResult(
        lab=lab,
        engine=load.engine,
        protocol=load.protocol,
        offered=clients.offered,
        invocations=replace(invocations, served=invocations.served - failed, failed=invocations.failed + failed),
        dns=clients.dns,
        tcp=tcp,
        requests=clients.requests,
        drop_threshold=_drop_threshold(observation),
        limits=tuple(
            limit_result(reading, before.get(reading.limiter), observation.took_s)
            for reading in readings
            if reading.appeared
        ),
        stops=tuple(observation.stops),
        impairments=tuple(observation.impairments),
        # A SYN that was refused and then succeeded is a retransmission, not a drop.
        bottleneck=first.limiter.kind if first and lost else _out_of_ports(observation),
        predicted=PredictedResult(
            established=prediction.established,
            drop_threshold=prediction.drop_threshold,
            bottleneck=prediction.bottleneck,
            emfile=prediction.emfile,
            unknown=prediction.unknown,
        ),
        latency=clients.latency,
        timing=clients.timing,
        series=clients.series,
        tracking=tuple(observation.tracking),
        incidents=tuple(observation.incidents),
        lost=tuple(observation.lost),
        disagreements=tuple(disagreements(load, resolver, observation)),
        resolver=resolver.location,
        questions=clients.questions,
        questions_each=load.look_up.questions,
        ports_not_found={kind: packets for kind, packets in observation.ports_not_found.items() if packets},
        endings=by_kernel(kernel) if kernel else by_clients(tcp, ended, load.close),
        functions=tuple(
            functions_of(observation.invokers, clients, prediction.functions, closed_at_once=bool(closed_at_once))
        ),
        beside=observation.others,
        tls=clients.tls,
        source=observation.source,
        descriptors=_descriptors(load, resolver, observation),
        packets=tuple(observation.packets),
    )


def _out_of_ports(observation: Observation) -> str | None:
    """The kind of a client whose ports were all in use; what a limit refuses has had one, and came before."""
    return observation.source.kind if observation.source and observation.clients.tcp.without_port else None


def _until_closed(observation: Observation, turned_away: int) -> TcpCount:
    """With what servers and NAT nodes ended while the others were held; those turned away are not established."""
    tcp, reset = observation.clients.tcp, observation.reset
    established = tcp.established + tcp.reset - reset - turned_away
    return replace(tcp, established=established, reset=reset, closed_by_server=observation.closed_by_server)


def _descriptors(load: Load, resolver: Resolver, observation: Observation) -> EnvironmentDescriptors | None:
    if observation.descriptors is None:
        return None
    each, seen = load.connections_per_environment, connections_seen(load, resolver, observation)
    if observation.source and observation.source.rooms:
        each = -(-load.connections // observation.source.addresses)
    return EnvironmentDescriptors(observation.descriptors, each, seen)


def _drop_threshold(observation: Observation) -> int | None:
    """How many connections of this burst were held when the first was lost.

    The clients count those without an answer; one that a full limiter answers came when that held all it may.
    """
    first, clients = observation.first_to_refuse, observation.clients
    if first is None or not first.limiter.answers:
        if clients.drop_threshold is None and clients.tcp.without_port and observation.source:
            return observation.source.room
        return clients.drop_threshold
    before = (reading.in_use for reading in observation.readings_before if reading.limiter == first.limiter)
    return first.limiter.limit - sum(before)


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


def limit_result(reading: Reading, before: Reading | None, took_s: float) -> LimitResult:
    """What a limiter did between two readings, `took_s` apart; `before` has what it held at the first."""
    limiter, first = reading.limiter, reading.first_refusal
    return LimitResult(
        node=limiter.node,
        kind=limiter.kind,
        limit=limiter.limit,
        peak=reading.in_use,
        dropped_packets=reading.refused_packets,
        dropped_connections=reading.refused_connections,
        eip=limiter.eip,
        client=limiter.client,
        destination=limiter.destination,
        address=limiter.address,
        when_full=limiter.when_full,
        fill=reading.fill,
        before=before.fill if before else None,
        refused_before=before.refused_connections if before else 0,
        first_refusal_s=round(took_s - first.age_s, 3) if first and reading.refused_packets else None,
        spills_over=limiter.spills_over,
        of=limiter.of,
    )

"""The explanation as a value: of a lab that is up, by what the kernel says now; of a run, by its record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from lab.burst.endings import NodeEndings, node_endings
from lab.burst.lacking import Lacking
from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.diagnosis import cloudwatch, commands, live, words
from lab.diagnosis.cloudwatch import NodeMetrics
from lab.diagnosis.commands import Measurement
from lab.diagnosis.evidence import of_live_lab
from lab.diagnosis.findings import find
from lab.diagnosis.limits import LimitAccount, RefusalHistory, in_order, of_readings, of_results
from lab.diagnosis.parts import Found, SourcePart, part_of_source
from lab.diagnosis.remedies import Remedy
from lab.diagnosis.verdict import judge
from lab.impair.faults import Impairment
from lab.kernel.open_files import FullProcess
from lab.nodes.proposals import Question, Threshold
from lab.observe.host_ports import PortsInUse
from lab.observe.limits import limits_of
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.paths.leg import DeadEnd
from lab.paths.routes import paths
from lab.plan.objects import DropCounter, Plan
from lab.schema.drops import DropCount
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.spec import Protocol

__all__ = ["Explanation", "LabNow", "of_lab", "of_run", "questions_of"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why connections were lost, or that none were."""

    lab: str
    run: str | None
    """The run that is explained; None is the lab as it is now."""
    at_s: float
    """Unix time of the last numbers."""
    began_s: float | None
    """When the run began; None for a lab that is up."""
    cause: str
    """A key of `lab.diagnosis.findings.CAUSES`."""
    headline: str
    details: tuple[str, ...]
    """Further sentences below the headline."""
    refusing: tuple[LimitAccount, ...]
    """Limits that refused, the first one first."""
    others: tuple[LimitAccount, ...]
    """Limits that refused nothing, whose free slots are reported as headroom."""
    drops: tuple[DropCount, ...]
    """What was dropped whatever the limits."""
    impairments: tuple[Impairment, ...]
    evidence: tuple[Measurement, ...]
    metrics: tuple[NodeMetrics, ...]
    """CloudWatch's metrics of the nodes that it has metrics of."""
    blind_spot: str
    parts: tuple[SourcePart, ...]
    """What each source met, and what would help it; the first is the one that was asked for, or refused first."""

    @property
    def question(self) -> Question:
        """The first source, and the server that the remedies are for."""
        return self.parts[0].question

    @property
    def threshold(self) -> Threshold:
        """Of the first source."""
        return self.parts[0].threshold

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """Of the first source."""
        return self.parts[0].remedies

    @property
    def advice(self) -> tuple[str, ...]:
        """Of the first source."""
        return self.parts[0].advice

    def to_json(self) -> dict[str, Any]:
        """The document of `lab why --json`."""
        return {
            "schema": SCHEMA,
            "lab": self.lab,
            "run": self.run,
            "at_s": self.at_s,
            "cause": self.cause,
            "headline": self.headline,
            "details": list(self.details),
            "limits": [_limit(account) for account in (*self.refusing, *self.others)],
            "barriers": [asdict(drop) for drop in self.drops],
            "impairments": [
                {"node": impairment.node, "interface": impairment.interface, "set": str(impairment.faults)}
                | {"dropped_packets": impairment.dropped_packets}
                for impairment in self.impairments
            ],
            "evidence": [asdict(measurement) for measurement in self.evidence],
            "cloudwatch": {
                "nat_gateways": {shown.node: dict(shown.values) for shown in self.metrics},
                "blind_spot": self.blind_spot,
            },
            **self.parts[0].to_json(),
            "functions": [{"cause": part.cause, "headline": part.headline, **part.to_json()} for part in self.parts],
        }


def _limit(account: LimitAccount) -> dict[str, Any]:
    first = account.limit.first
    return {
        "node": first.node,
        "kind": first.kind,
        "client": first.client,
        "destination": first.destination,
        "address": first.address,
        "protocol": first.protocol,
        "eips": [limiter.eip for limiter in account.limit.limiters if limiter.eip],
        "limit": account.limit.size,
        "held": account.held,
        "fill": asdict(account.fill) if account.fill else None,
        "free": account.free,
        "most_held": account.most_held,
        "refused_connections": account.connections,
        "refused_packets": account.packets,
        "first_refusal_s": account.began_s,
        "last_refusal_s": account.last_s,
        "recently_refused_packets": account.recent_packets,
    }


# ── A lab that is up ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LabNow:
    """All that is known of a lab that is up; `samples` are those since `up`, the last one taken now."""

    plan: Plan
    topology: Topology
    readings: tuple[Reading, ...]
    samples: Iterable[Sample]
    dropped: Mapping[DropCounter, int]
    impairments: tuple[Impairment, ...] = ()
    lost: tuple[str, ...] = ()
    """What of the plan is gone, down or stopped."""
    full_processes: tuple[FullProcess, ...] = ()
    """Processes that have as many descriptors open as they may."""
    lacking: Lacking | None = None
    """The descriptors that the last burst lacked."""
    full_ports: tuple[PortsInUse, ...] = ()
    """Addresses of clients that have all ephemeral ports in use."""


def of_lab(now: LabNow, source: str | None = None, server: str | None = None) -> Explanation:
    """Why a lab that is up refuses connections; a source and a server if one asks for theirs."""
    limits = limits_of(reading.limiter for reading in now.readings)
    history = RefusalHistory(limits)
    for sample in now.samples:
        history.see(sample)
    accounts = [account for account in of_readings(limits, now.readings, history) if account.counts]
    refusing = tuple(in_order(accounts))
    question = _question(now, refusing, source, server)
    last = history.last or Sample(0.0, {})
    ended = tuple(node_endings(now.plan.nat_nodes, Sample(0.0, {}), last))
    seen = of_live_lab(
        *(accounts, refusing, tuple(_drops(now)), now.impairments, now.lost),
        node_endings=ended,
        full_processes=now.full_processes,
        lacking=now.lacking,
        full_ports=now.full_ports,
    )
    finding = find(seen)
    advice = words.remedies(finding) if finding.cause in words.NO_ROOM_HELPS else ()
    told = Found(finding.cause, words.headline(finding), advice)
    questions = dict.fromkeys((question, *(_holders(refusing, question) if source is None else ())))
    metrics = tuple(cloudwatch.metrics(now.plan.nat_nodes, None, [last]))
    return Explanation(
        lab=now.plan.lab,
        run=None,
        at_s=last.at_s,
        began_s=None,
        cause=finding.cause,
        headline=words.headline(finding),
        details=(*live.of_limits(finding), *live.circumstances(seen)),
        refusing=refusing,
        others=tuple(account for account in accounts if not account.refused),
        drops=seen.drops,
        impairments=now.impairments,
        evidence=tuple(_measured(now, refusing, accounts, last, ended)),
        metrics=metrics,
        blind_spot=cloudwatch.blind_spot(seen.full, metrics),
        parts=tuple(part_of_source(now.topology, asked, told) for asked in questions),
    )


def _holders(refusing: Iterable[LimitAccount], question: Question) -> Iterator[Question]:
    """The same for other functions whose connections hold slots of limits that refused."""
    for account in refusing:
        for holder in account.fill.holders if account.fill else ():
            yield replace(question, source=holder.function)


def _question(now: LabNow, refusing: Sequence[LimitAccount], source: str | None, server: str | None) -> Question:
    """The source and server that the first limit refused, unless told; or the client that has no port left."""
    topology = now.topology
    servers = [known.name for known in topology.servers]
    first = refusing[0].limit.first if refusing else None
    if server is None and first is not None and first.destination in servers:
        server = first.destination
    if source is None and first is not None:
        through = (
            caller.name
            for caller in topology.sources
            if any(first.place in path.nodes for path in paths(topology, caller.name, server or servers[0]))
        )
        source = _source_of(now, first.place) or next(through, None)
    if source is None and first is None and now.full_ports:
        source = next(client.name for client in topology.clients if client.node == now.full_ports[0].node)
    protocol: Protocol = "udp" if first is not None and first.protocol == "udp" else "tcp"
    return Question(source or topology.sources[0].name, server or servers[0], protocol)


def _source_of(now: LabNow, node: str) -> str | None:
    """The source whose connection a node refused first: by the environment's address, or by its ENI's."""
    firsts = (reading.first_refusal for reading in now.readings if reading.limiter.place == node)
    source = next((first.source for first in firsts if first), None)
    if source is None:
        return None
    enis = {known.name for known in now.plan.nodes if str(source) in known.addresses}
    for fleet in now.plan.fleets:
        if any(path.has(source) or path.eni in enis for path in fleet.paths):
            return fleet.source
    return None


def _drops(now: LabNow) -> Iterator[DropCount]:
    """What was dropped since `up` whatever the limits, with what would have let it pass."""
    cures = {end.point: end.cure for end in _dead_ends(now.topology)}
    for counter, packets in now.dropped.items():
        if packets:
            yield counter.counted(packets, cures.get(counter.point))


def _dead_ends(topology: Topology) -> Iterator[DeadEnd]:
    for source in topology.sources:
        for server in topology.servers:
            for path in paths(topology, source.name, server.name):
                yield from filter(None, (path.dead_end, path.doubt))


def _measured(
    now: LabNow,
    refusing: Sequence[LimitAccount],
    accounts: Sequence[LimitAccount],
    last: Sample,
    ended: Iterable[NodeEndings],
) -> Iterator[Measurement]:
    """Measurements of the limits that refused, or of all limits where none did."""
    nodes = {node.node: node for node in now.plan.nat_nodes}
    for account in refusing or accounts:
        yield from commands.of_limit(account, None)
        yield from commands.of_half_open(account)
    for place in dict.fromkeys(account.limit.first.place for account in refusing):
        yield from commands.of_packets(nodes[place], last)
    for account in refusing[:1]:
        yield commands.live(account.limit)
    for endings in ended:
        if endings.reset:
            yield from commands.of_node_endings(nodes[endings.node], endings)
    for node in now.plan.nat_nodes:
        if cloudwatch.is_metered(node.kind):
            yield from commands.of_metered_node(node, last)
    yield from (commands.of_drop(counter, packets) for counter, packets in now.dropped.items() if packets)
    namespaces = {node.name: node.namespace for node in now.plan.nodes}
    yield from (commands.of_impairment(impairment, namespaces) for impairment in now.impairments)
    yield from map(commands.of_full_process, now.full_processes)
    if now.lacking:
        yield commands.of_lacking(now.lacking, now.plan.lab)


# ── A run ───────────────────────────────────────────────────────────────────────────────────────────────────


def of_run(
    result: BurstResult,
    load: Load,
    topology: Topology,
    *,
    nodes: Sequence[NatNode],
    limiters: Sequence[Limiter],
    samples: Sequence[Sample],
    began_s: float,
    run: str | None = None,
) -> Explanation:
    """Why a burst's connections were lost; commands show the numbers in that lab while it is up.

    `nodes` and `limiters` are those of the lab, `samples` those from just before the burst until it was over.
    """
    verdict = judge(result)
    accounts = [account for account in of_results(limiters, result, samples) if account.counts]
    refusing = tuple(in_order(accounts))
    metrics = tuple(cloudwatch.metrics(nodes, samples[0] if samples else None, samples))
    return Explanation(
        lab=result.lab,
        run=run,
        at_s=samples[-1].at_s if samples else began_s + result.timing.duration_s,
        began_s=began_s,
        cause=verdict.cause,
        headline=verdict.headline,
        details=(*verdict.explanation, *verdict.of_functions),
        refusing=refusing,
        others=tuple(account for account in accounts if not account.refused),
        drops=result.stops,
        impairments=result.impairments,
        evidence=tuple(_measured_in_run(nodes, samples, refusing or accounts)),
        metrics=metrics,
        blind_spot=cloudwatch.blind_spot([account.state for account in refusing], metrics),
        parts=tuple(
            part_of_source(topology, question, verdict.on(question.source)) for question in questions_of(load, topology)
        ),
    )


def questions_of(load: Load, topology: Topology) -> list[Question]:
    """Each source of a burst, and its server."""
    server = load.server or topology.servers[0].name
    sources = tuple(load.sources) or (topology.sources[0].name,)
    return [Question(source, server, load.protocol) for source in sources]


def _measured_in_run(
    nodes: Sequence[NatNode], samples: Sequence[Sample], accounts: Sequence[LimitAccount]
) -> Iterator[Measurement]:
    """Counters as they were when the burst was over, before its connections were closed."""
    if not samples:
        return
    by_name = {node.node: node for node in nodes}
    ended = node_endings(nodes, Sample(0.0, {}), samples[-1])
    for endings in ended:
        if endings.reset:
            yield from commands.of_node_endings(by_name[endings.node], endings)
    fullest = max(samples, key=lambda sample: sum(sum(node.held.values()) for node in sample.nodes.values()))
    for account in accounts:
        connections, packets, _ = commands.of_limit(account, samples[-1])
        yield from (connections, packets)
        yield list(commands.of_limit(account, fullest))[-1]
    for place in dict.fromkeys(account.limit.first.place for account in accounts):
        yield from commands.of_packets(by_name[place], samples[-1])

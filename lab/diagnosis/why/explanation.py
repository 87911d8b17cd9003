"""The explanation as a value: of a lab that is up, by what the kernel says now; of a run, by its record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lab.diagnosis.verdict import Verdict, barrier, judge
from lab.diagnosis.why import cloudwatch, evidence
from lab.diagnosis.why.cloudwatch import GatewayMetrics
from lab.diagnosis.why.evidence import Evidence
from lab.diagnosis.why.limits import Course, LimitAccount, in_order, of_readings, of_results
from lab.diagnosis.why.remedies import Remedy, remedies
from lab.diagnosis.why.thresholds import Question, Threshold, threshold
from lab.impair.faults import Impairment
from lab.observe.limits import limits_of
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.paths.ways import DeadEnd, ways
from lab.plan.objects import DropCounter, Plan
from lab.runs import Run
from lab.schema.drops import DropCount
from lab.topology import Topology
from traffic.spec import Protocol

__all__ = ["Explanation", "LabNow", "of_lab", "of_run", "question_of"]

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
    """Of a run: when it began."""
    headline: str
    details: tuple[str, ...]
    """A sentence each."""
    refusing: tuple[LimitAccount, ...]
    """Limits that refused, the first one first."""
    others: tuple[LimitAccount, ...]
    """Those that did not: the headroom elsewhere."""
    stops: tuple[DropCount, ...]
    impairments: tuple[Impairment, ...]
    evidence: tuple[Evidence, ...]
    gateways: tuple[GatewayMetrics, ...]
    blind_spot: str
    question: Question
    """Whose connections the remedies are for."""
    threshold: Threshold
    remedies: tuple[Remedy, ...]

    def to_json(self) -> dict[str, Any]:
        """The document of `lab why --json`."""
        return {
            "schema": SCHEMA,
            "lab": self.lab,
            "run": self.run,
            "at_s": self.at_s,
            "headline": self.headline,
            "details": list(self.details),
            "limits": [_limit(each) for each in (*self.refusing, *self.others)],
            "barriers": [asdict(each) for each in self.stops],
            "impairments": [
                {"node": each.node, "interface": each.interface, "set": str(each.faults)}
                | {"dropped_packets": each.dropped_packets}
                for each in self.impairments
            ],
            "evidence": [asdict(each) for each in self.evidence],
            "cloudwatch": {
                "nat_gateways": {each.node: dict(each.values) for each in self.gateways},
                "blind_spot": self.blind_spot,
            },
            "function": self.question.function,
            "server": self.question.server,
            "threshold": asdict(self.threshold),
            "remedies": [_remedy(each) for each in self.remedies],
        }


def _limit(account: LimitAccount) -> dict[str, Any]:
    first = account.limit.first
    return {
        "node": first.node,
        "kind": first.kind,
        "destination": first.destination,
        "protocol": first.protocol,
        "eips": [each.eip for each in account.limit.limiters if each.eip],
        "limit": account.limit.size,
        "held": account.held,
        "free": account.free,
        "most_held": account.most_held,
        "refused_connections": account.connections,
        "refused_packets": account.packets,
        "first_refusal_s": account.began_s,
        "last_refusal_s": account.last_s,
        "recently_refused_packets": account.recent_packets,
    }


def _remedy(remedy: Remedy) -> dict[str, Any]:
    return {
        "what": remedy.what,
        "change": remedy.change,
        "effect": remedy.effect,
        "threshold_before": remedy.threshold_before,
        "threshold_after": remedy.threshold_after,
        "binds_after": remedy.binds_after,
        "sentence": remedy.sentence,
    }


# ── A lab that is up ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LabNow:
    """All that is known of a lab that is up; `samples` are those since `up`, the last one of now."""

    plan: Plan
    topology: Topology
    readings: tuple[Reading, ...]
    samples: Iterable[Sample]
    dropped: Mapping[DropCounter, int]
    impairments: tuple[Impairment, ...] = ()
    lost: tuple[str, ...] = ()
    """What it should have and has not."""


def of_lab(now: LabNow, function: str | None = None, server: str | None = None) -> Explanation:
    """Why a lab that is up refuses connections; a function and a server if one asks for theirs."""
    limits = limits_of(each.limiter for each in now.readings)
    course = Course(limits)
    for sample in now.samples:
        course.see(sample)
    accounts = [each for each in of_readings(limits, now.readings, course) if each.counts]
    refusing = tuple(in_order(accounts))
    question = _question(now, refusing, function, server)
    stops = tuple(_stops(now))
    last = course.last or Sample(0.0, {})
    gateways = tuple(cloudwatch.metrics(now.plan.nat_nodes, None, [last]))
    return Explanation(
        lab=now.plan.lab,
        run=None,
        at_s=last.at_s,
        began_s=None,
        headline=_headline(now, refusing, stops),
        details=tuple(_details(now, refusing, stops)),
        refusing=refusing,
        others=tuple(each for each in accounts if not each.refused),
        stops=stops,
        impairments=now.impairments,
        evidence=tuple(_evidence(now, refusing, accounts, last)),
        gateways=gateways,
        blind_spot=cloudwatch.blind_spot(refusing, gateways),
        question=question,
        threshold=threshold(now.topology, question),
        remedies=remedies(now.topology, question.function, question.server, question.protocol),
    )


def _question(now: LabNow, refusing: Sequence[LimitAccount], function: str | None, server: str | None) -> Question:
    """The function and server that the first limit refused, unless told."""
    topology = now.topology
    servers = [each.name for each in topology.servers]
    first = refusing[0].limit.first if refusing else None
    if server is None and first is not None and first.destination in servers:
        server = first.destination
    if function is None and first is not None:
        through = (
            each.name
            for each in topology.functions
            if any(first.place in way.nodes for way in ways(topology, each.name, server or servers[0]))
        )
        function = _function_of(now, first.place) or next(through, None)
    protocol: Protocol = "udp" if first is not None and first.protocol == "udp" else "tcp"
    return Question(function or topology.functions[0].name, server or servers[0], protocol)


def _function_of(now: LabNow, node: str) -> str | None:
    """Whose connection a node refused first, if it saw the environment's own address, as an ENI does."""
    firsts = (each.first_refusal for each in now.readings if each.limiter.place == node)
    source = next((each.source for each in firsts if each), None)
    for fleet in now.plan.fleets:
        for path in fleet.paths:
            if source and path.first_address <= source < path.first_address + 2 * path.environments:
                return fleet.function
    return None


def _stops(now: LabNow) -> Iterator[DropCount]:
    """What was dropped since `up` whatever the limits, with what would have let it pass."""
    cures = {end.point: end.cure for end in _dead_ends(now.topology)}
    for counter, packets in now.dropped.items():
        if packets:
            yield counter.counted(packets, cures.get(counter.point))


def _dead_ends(topology: Topology) -> Iterator[DeadEnd]:
    for function in topology.functions:
        for server in topology.servers:
            for way in ways(topology, function.name, server.name):
                yield from filter(None, (way.dead_end, way.doubt))


def _headline(now: LabNow, refusing: Sequence[LimitAccount], stops: Sequence[DropCount]) -> str:
    """What comes first: a barrier, whatever the limits; then the limit that refused first; then what is broken."""
    if walls := [each for each in stops if each.kind != "dns_quota"]:
        return barrier(max(walls, key=lambda each: each.dropped_packets)).headline
    if refusing:
        return _reached(refusing[0])
    if stops:
        return barrier(stops[0]).headline
    if now.lost:
        return f"No limit reached, and the lab has lost {', '.join(now.lost)}"
    if now.impairments:
        nodes = dict.fromkeys(each.node for each in now.impairments)
        return f"No limit reached, and somebody has put faults on the way: {', '.join(nodes)}"
    return "No limit reached: nothing was refused, no barrier dropped a packet, nothing is impaired"


def _reached(account: LimitAccount) -> str:
    first = account.limit.first
    if first.kind == "hyperplane_eni":
        to = f" to {first.destination}" if first.destination else ""
        return f"Hyperplane ENI connection limit reached: {first.node}, {account.limit.size:,} connections{to}"
    if first.kind == "nat_gateway":
        eips = len(account.limit.limiters)
        addresses = f"{eips} Elastic IP{'s' if eips > 1 else ''}"
        return (
            f"NAT gateway port exhaustion: {first.node} with {addresses}, {first.limit:,} connections each to "
            f"{first.destination}"
        )
    return f"Load balancer's limit reached: {first.node}, {account.limit.size:,} connections to {first.destination}"


def _details(now: LabNow, refusing: Sequence[LimitAccount], stops: Sequence[DropCount]) -> Iterator[str]:
    """What the headline leaves out."""
    for stop in stops:
        verdict: Verdict = barrier(stop)
        yield f"{verdict.headline}: {stop.dropped_packets:,} packets dropped."
        yield from verdict.explanation
        yield from verdict.remedies
    for each in now.impairments:
        dropped = f"{each.dropped_packets:,} packets dropped"
        yield f"Impaired: {each.node} {each.interface}, {each.faults}; {dropped}. To clear: lab impair --clear."
    if now.lost and (refusing or stops or now.impairments):
        yield f"The lab has lost {', '.join(now.lost)}."


def _evidence(
    now: LabNow, refusing: Sequence[LimitAccount], accounts: Sequence[LimitAccount], last: Sample
) -> Iterator[Evidence]:
    """Of what refused, or else of all that did not."""
    nodes = {each.node: each for each in now.plan.nat_nodes}
    for account in refusing or accounts:
        yield from evidence.of_limit(account, None)
    for place in dict.fromkeys(each.limit.first.place for each in refusing):
        yield from evidence.of_packets(nodes[place], last)
    for account in refusing[:1]:
        yield evidence.live(account.limit)
    for node in now.plan.nat_nodes:
        if node.kind == "nat_gateway":
            yield from evidence.of_gateway(node, last)
    yield from (evidence.of_barrier(each, packets) for each, packets in now.dropped.items() if packets)
    namespaces = {each.name: each.namespace for each in now.plan.nodes}
    yield from (evidence.of_impairment(each, namespaces) for each in now.impairments)


# ── A run ───────────────────────────────────────────────────────────────────────────────────────────────────


def of_run(run: Run) -> Explanation:
    """Why a burst's connections were lost, by its record; commands show the numbers in that lab while it is up."""
    verdict = judge(run.result)
    accounts = [each for each in of_results(run.limiters, run.result, run.samples) if each.counts]
    refusing = tuple(in_order(accounts))
    question = question_of(run)
    before = run.samples[0] if run.samples else None
    gateways = tuple(cloudwatch.metrics(run.nodes, before, run.samples))
    return Explanation(
        lab=run.result.lab,
        run=run.id,
        at_s=run.samples[-1].at_s if run.samples else run.began_s + run.result.timing.duration_s,
        began_s=run.began_s,
        headline=verdict.headline,
        details=verdict.explanation,
        refusing=refusing,
        others=tuple(each for each in accounts if not each.refused),
        stops=run.result.stops,
        impairments=(),
        evidence=tuple(_evidence_of_run(run, refusing or accounts)),
        gateways=gateways,
        blind_spot=cloudwatch.blind_spot(refusing, gateways),
        question=question,
        threshold=threshold(run.topology, question),
        remedies=remedies(run.topology, question.function, question.server, question.protocol),
    )


def question_of(run: Run) -> Question:
    """Whose connections a burst was made of."""
    functions, servers = run.topology.functions, run.topology.servers
    return Question(run.load.function or functions[0].name, run.load.server or servers[0].name, run.load.protocol)


def _evidence_of_run(run: Run, accounts: Sequence[LimitAccount]) -> Iterator[Evidence]:
    """Counters as they were when the burst was over, before its connections were closed."""
    if not run.samples:
        return
    fullest = max(run.samples, key=lambda each: sum(sum(node.held.values()) for node in each.nodes.values()))
    for account in accounts:
        connections, packets, _ = evidence.of_limit(account, run.samples[-1])
        yield from (connections, packets)
        yield list(evidence.of_limit(account, fullest))[-1]
    nodes = {each.node: each for each in run.nodes}
    for place in dict.fromkeys(each.limit.first.place for each in accounts):
        yield from evidence.of_packets(nodes[place], run.samples[-1])

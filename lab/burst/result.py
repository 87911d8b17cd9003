"""What a burst showed: typed for Python, and the JSON document of `lab burst --json` (schema 1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from lab.burst.load import Load
from lab.capacity.predict import Prediction
from lab.nodes.resolver.model import Resolver
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking
from traffic.result import (
    DnsCount,
    EngineResult,
    InvocationCount,
    Latency,
    RequestCount,
    Sample,
    TcpCount,
    Timing,
)
from traffic.sighting import Sighting

__all__ = ["BurstResult", "LimitResult", "PredictedResult", "StopResult", "assemble"]

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LimitResult:
    """One limiter during one burst, in the kernel's numbers."""

    node: str
    kind: str
    limit: int
    peak: int
    """Connections that held a slot when the last invocation had its outcome; of a load over time, the most seen."""
    dropped_packets: int
    """SYNs, retransmissions included; and questions, where the name server is behind the ENI."""
    dropped_connections: int
    eip: str | None = None
    destination: str | None = None


@dataclass(frozen=True, slots=True)
class StopResult:
    """What dropped packets during one burst though no limit was reached: a missing route, a firewall's rule."""

    node: str
    kind: str
    """`no_route`, `security_group`, `network_acl` or `dns_quota`."""
    name: str
    """The subnet, security groups or network ACL that it belongs to; of a quota, how much it allows."""
    dropped_packets: int
    direction: str | None = None
    """Of a network ACL: whether `egress` or `ingress` dropped them."""
    answers: bool = False
    """Whether they were the server's answers; their connections held every slot on the way."""
    cure: str | None = None
    """The rule that would have let them pass, in the topology's words."""


@dataclass(frozen=True, slots=True)
class PredictedResult:
    """What arithmetic said beforehand."""

    established: int | None
    drop_threshold: int | None
    bottleneck: str | None


@dataclass(frozen=True, slots=True)
class BurstResult:
    """One burst: the clients' account (`dns`, `tcp` …), the kernel's (`limits`), and whether they agree."""

    lab: str
    engine: str
    protocol: str
    offered: int
    invocations: InvocationCount
    dns: DnsCount
    tcp: TcpCount
    """Connections; with UDP flows, which are established when the server has answered their first datagram."""
    requests: RequestCount
    drop_threshold: int | None
    limits: tuple[LimitResult, ...]
    stops: tuple[StopResult, ...]
    bottleneck: str | None
    predicted: PredictedResult
    latency: Latency
    timing: Timing
    series: tuple[Sample, ...]
    tracking: tuple[Tracking, ...]
    """Slots and conntrack entries that are left when what was closed has gone; empty if nothing was closed."""
    incidents: tuple[str, ...]
    """What of the lab has ended while the burst went on."""
    disagreements: tuple[str, ...]
    """Where the clients' account and the kernel's differ, in words; empty when they agree."""
    resolver: Literal["service_vpc", "vpc"] = "service_vpc"
    """Where the name server is: in the VPC it is behind the ENI."""
    ports_not_found: dict[str, int] = field(default_factory=dict)
    """Kind of node → SYNs that it admitted, and for which the kernel's search then found no port (nf_nat_core.c).

    They come again; a NAT gateway counts them as ErrorPortAllocation, too.
    """
    packets: tuple[Sighting, ...] = ()
    """Of the scapy engine: every packet at every place, in the order of time."""

    def to_json(self) -> dict[str, Any]:
        """The document of `lab burst --json`; flows over UDP are under `udp`, with the fields of `tcp`."""
        document = {"schema": SCHEMA, **asdict(self)}
        if self.protocol == "udp":
            document["udp"] = document.pop("tcp")
        if self.engine != "scapy":
            del document["packets"]
        return document


def assemble(
    lab: str,
    load: Load,
    seen: EngineResult,
    *,
    readings: Sequence[Reading],
    held_before: Sequence[Reading],
    prediction: Prediction,
    first_to_refuse: Reading | None,
    stops: Sequence[StopResult] = (),
    ports_not_found: Mapping[str, int] = MappingProxyType({}),
    resolver: Resolver | None = None,
    tracking: Sequence[Tracking] = (),
    incidents: Sequence[str] = (),
    packets: Sequence[Sighting] = (),
) -> BurstResult:
    """Put both accounts together; `readings` count refusals from the start of the burst."""
    resolver = resolver or Resolver()
    lost = seen.tcp.timed_out or (resolver.behind_eni and seen.dns.failed)
    return BurstResult(
        lab=lab,
        engine=load.engine,
        protocol=load.protocol,
        offered=seen.offered,
        invocations=seen.invocations,
        dns=seen.dns,
        tcp=seen.tcp,
        requests=seen.requests,
        drop_threshold=seen.drop_threshold,
        limits=tuple(_limit(each) for each in readings if each.appeared),
        stops=tuple(stops),
        # A SYN that was refused and then succeeded is a retransmission, not a drop.
        bottleneck=first_to_refuse.limiter.kind if first_to_refuse and lost else None,
        predicted=PredictedResult(prediction.established, prediction.drop_threshold, prediction.bottleneck),
        latency=seen.latency,
        timing=seen.timing,
        series=seen.series,
        tracking=tuple(tracking),
        incidents=tuple(incidents),
        disagreements=tuple(
            _disagreements(
                load,
                seen,
                _Kernel(readings, held_before, stops, tracking, sum(ports_not_found.values()), resolver.counts_sources),
            )
        ),
        resolver=resolver.location,
        ports_not_found={kind: n for kind, n in ports_not_found.items() if n},
        packets=tuple(packets),
    )


def _limit(reading: Reading) -> LimitResult:
    limiter = reading.limiter
    return LimitResult(
        node=limiter.node,
        kind=limiter.kind,
        limit=limiter.limit,
        peak=reading.in_use,
        dropped_packets=reading.refused_packets,
        dropped_connections=reading.refused_connections,
        eip=limiter.eip,
        destination=limiter.destination,
    )


@dataclass(frozen=True, slots=True)
class _Kernel:
    """The kernel's account of a burst."""

    readings: Sequence[Reading]
    held_before: Sequence[Reading]
    stops: Sequence[StopResult]
    tracking: Sequence[Tracking]
    ports_not_found: int
    questions: bool
    """Whether what was dropped may have been questions."""


def _disagreements(load: Load, seen: EngineResult, kernel: _Kernel) -> Iterator[str]:
    """Compare what clients saw with what the kernel counted; each pair of numbers has one meaning."""
    for what, told, counted, found in _accounts(load, seen, kernel):
        if told != found:
            yield f"clients: {told:,} {what}; kernel: {found:,} {counted}"
    if seen.ring.dropped:
        yield f"the generator's own ring lost {seen.ring.dropped:,} frames"
    for each in kernel.tracking:
        if each.difference:
            yield f"{each.node}, when all was closed: {each.slots:,} slots, {each.conntrack:,} conntrack entries"


def _accounts(load: Load, seen: EngineResult, kernel: _Kernel) -> Iterator[tuple[str, int, str, int]]:
    readings, stops = kernel.readings, kernel.stops
    tcp, syns = seen.tcp, "SYNs" if load.protocol == "tcp" else "first datagrams"
    unanswered, ever_unanswered = tcp.unanswered_syns, tcp.ever_unanswered
    if kernel.questions:
        syns = f"{syns} and questions"
        unanswered += seen.unanswered.questions
        ever_unanswered += seen.unanswered.invocations
    lost = sum(each.refused_packets for each in readings) + kernel.ports_not_found
    lost += sum(each.dropped_packets for each in stops if not each.answers)
    answers = sum(each.dropped_packets for each in stops if each.answers)
    # A kernel repeats SYN-ACKs that nobody acknowledges (tcp_synack_retries, ip-sysctl.rst), so of answers that are
    # dropped some belong to no SYN of this burst.
    found = min(max(unanswered, lost), lost + answers)
    counted = f"{syns}{' and answers' if answers else ''} dropped on the way"
    yield f"{syns} that were never answered", unanswered, counted, found
    # A port that is used again is the same connection to the kernel, and slots come and go.
    if load.over_time:
        return
    refused = sum(each.refused_connections for each in readings)
    what = f"connections with {syns} that were never answered"
    if not stops:  # what a barrier stops is counted by packets only
        # A SYN without a port is one of a connection that may, or may not, have been refused before.
        refused = min(max(ever_unanswered, refused), refused + kernel.ports_not_found)
        yield what, ever_unanswered, "connections refused by a limiter", refused
    # Connections whose answers were dropped hold a slot, too.
    if answers or not any(each.limiter.kind == "nat_gateway" for each in readings):
        return
    held = _without_ended(_held(readings, "nat_gateway") - _held(kernel.held_before, "nat_gateway"), tcp)
    yield "connections established", tcp.established + tcp.half_open, "connections that hold a NAT gateway's slot", held


def _without_ended(held: int, tcp: TcpCount) -> int:
    """Slots held by more than have just been refused or reset: those are taken until the set's collector comes by."""
    more = held - tcp.established - tcp.half_open
    return held - min(max(more, 0), tcp.refused + tcp.reset)


def _held(readings: Sequence[Reading], kind: str) -> int:
    return sum(each.in_use for each in readings if each.limiter.kind == kind)

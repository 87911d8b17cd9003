"""What a burst showed: typed for Python, and the JSON document of `lab burst --json` (schema 1)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lab.burst.endings import Endings
from lab.burst.functions import FunctionResult
from lab.impair.faults import Impairment
from lab.observe.tracking import Tracking
from lab.schema.descriptors import DescriptorLimit
from lab.schema.drops import DropCount
from lab.slots.fill import Fill
from lab.slots.limiter import WhenFull, destination_text
from traffic.packet_record import PacketRecord
from traffic.result import (
    DnsCount,
    InvocationCount,
    Latency,
    RequestCount,
    Sample,
    TcpCount,
    Timing,
    TlsCount,
)

__all__ = ["BurstResult", "EnvironmentDescriptors", "LimitResult", "PredictedResult", "SourceResult"]

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
    address: str | None = None
    """Which of the server's addresses it is for, where each has a limit of its own."""
    when_full: WhenFull = "ignore"
    """What a connection met that it refused: no answer, a RST for its SYN, or a FIN after its handshake."""
    fill: Fill | None = None
    """What held its slots then; None in records of earlier versions."""
    before: Fill | None = None
    """What held slots when the burst began."""
    refused_before: int = 0
    """Connections that it had refused since `lab up` when the burst began."""
    first_refusal_s: float | None = None
    """Seconds from the reading `before` until its node first refused a connection; None if it refused none."""
    spills_over: bool = True
    """Whether a connection that finds it full is offered to those beside it."""
    of: str | None = None
    """The ENI beside which this one has appeared, and whose overflow it gets."""
    client: str | None = None
    """The node whose connections it is for; None counts those of all together."""

    @property
    def share(self) -> str | None:
        """What tells it from the other limits of its node to the same destination: a client, or an Elastic IP."""
        return self.client or self.eip

    @property
    def towards(self) -> str | None:
        """What the connections that it counted have for a destination, in words."""
        return destination_text(self.destination, self.address)


@dataclass(frozen=True, slots=True)
class PredictedResult:
    """What arithmetic said beforehand."""

    established: int | None
    drop_threshold: int | None
    bottleneck: str | None
    emfile: int | None = 0
    """Invocations without a descriptor."""
    unknown: str | None = None
    """Why the numbers are not known, where that has been said."""


@dataclass(frozen=True, slots=True)
class EnvironmentDescriptors:
    """How many files and sockets an environment, or a client, may have open, and how many connections had one."""

    each: DescriptorLimit
    connections_per_environment: int
    """How many each environment, or each address of a client, makes."""
    connections_seen: int | None
    """Connections whose first SYN came to the first nodes on the way, by their own count; None where that is not known:
    outside the VPC, of flows over UDP, where other packets are counted with them, and of loads over time."""


@dataclass(frozen=True, slots=True)
class SourceResult:
    """What opened the connections of a burst."""

    kind: str
    """Its node kind: `fleet`, of a function, or `client`."""
    name: str
    """Its name in the topology."""
    node: str
    rooms: tuple[int, ...] | None = None
    """Of a client: for how many connections each of its addresses had ephemeral ports left when the burst began.

    All of its addresses to the server's first address, then to its second one …; over UDP to all of them together."""
    addresses: int = 1
    """Of a client: how many it has."""

    @property
    def room(self) -> int:
        """How many connections a client had ports for when the first one found none; they take turns."""
        rooms = self.rooms or ()
        return min((room * len(rooms) + turn for turn, room in enumerate(rooms)), default=0)


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
    """Connections; with UDP flows, which are established when the server has answered their first datagram.

    Those that a full server closed at once are not among the established.
    """
    requests: RequestCount
    drop_threshold: int | None
    limits: tuple[LimitResult, ...]
    stops: tuple[DropCount, ...]
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
    questions: int = 0
    """Packets with a question to the name server, repetitions included."""
    questions_each: int = 1
    """Packets that a look-up asks at once: 2 with A and AAAA (`--resolver-schedule`)."""
    impairments: tuple[Impairment, ...] = ()
    """Faults set by `lab impair` that dropped packets meanwhile, each with how many."""
    ports_not_found: dict[str, int] = field(default_factory=dict)
    """Kind of node → SYNs that it admitted, and for which the kernel's search then found no port (nf_nat_core.c).

    They come again; a NAT gateway counts them as ErrorPortAllocation, too.
    """
    endings: Endings = field(default_factory=Endings)
    """Who ended connections: the client, the server, or a NAT node that had forgotten them."""
    functions: tuple[FunctionResult, ...] = ()
    """Each function's part; empty in records of earlier versions."""
    beside: int = 0
    """Other bursts that were under way meanwhile and met the same limits: those held `peak` together."""
    tls: TlsCount | None = None
    """TLS handshakes; None where there were none."""
    source: SourceResult | None = None
    """What opened the connections; None in records of earlier versions."""
    descriptors: EnvironmentDescriptors | None = None
    """None where they were not limited."""
    lost: tuple[str, ...] = ()
    """What of the lab was gone, down or stopped when the burst began, or by its end: it leads the verdict."""
    packets: tuple[PacketRecord, ...] = ()
    """Every packet at every place, in the order of time; empty but with the scapy engine."""

    @property
    def emfile(self) -> int:
        """Invocations whose environment had no descriptor left."""
        return self.dns.emfile + self.tcp.emfile

    def to_json(self) -> dict[str, Any]:
        """The document of `lab burst --json`; flows over UDP are under `udp`, with the fields of `tcp`."""
        document = {"schema": SCHEMA, **asdict(self)}
        if self.protocol == "udp":
            document["udp"] = document.pop("tcp")
        if self.engine != "scapy":
            del document["packets"]
        return document

"""What is known of a burst when it is over, by its clients and by the kernel. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.burst.endings import Counted
from lab.burst.functions import Invoker, fleets_of
from lab.burst.result import SourceResult
from lab.impair.faults import Impairment
from lab.kernel.generator_events import Ended
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking
from lab.schema.descriptors import DescriptorLimit
from lab.schema.drops import DropCount
from lab.slots.limiter import WhenFull
from traffic.packet_record import PacketRecord
from traffic.result import EngineResult, FleetCount

__all__ = ["Observation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What is known of a burst when it is over: its clients' account, and the kernel's."""

    clients: EngineResult
    readings: Sequence[Reading]
    """Readings of the limiters when the last invocation had its outcome; refusals count from the start of the burst."""
    readings_before: Sequence[Reading] = ()
    descriptors: DescriptorLimit | None = None
    first_turns: Sequence[int] = ()
    """The turn (`traffic.spec.PortBlocks`) of the first connections of each source."""
    asking_before: int = 0
    """Connections to the name server over TCP that one source had already, where those have a limit."""
    others: int = 0
    """Bursts that were under way beside this one, at nodes of its own: refusals are then this burst's alone."""
    took_s: float = 0.0
    """Between the two readings."""
    first_to_refuse: Reading | None = None
    stops: Sequence[DropCount] = ()
    impairments: Sequence[Impairment] = ()
    """The faults that dropped packets meanwhile, each with how many."""
    refused_twice: int = 0
    """Connections that an ENI refused and let in later, and that a limit behind it refused then."""
    ports_not_found: Mapping[str, int] = field(default_factory=dict)
    ways_differ: bool = False
    """Whether some connections leave the VPCs by one kind of node and some by another."""
    tracking: Sequence[Tracking] = ()
    ended: Ended = field(default_factory=Ended)
    """The clients' account of connections that had ended when they began to close the others."""
    counted: Counted | None = None
    """The kernel's; None where no NAT node is on the way."""
    invokers: Sequence[Invoker] = ()
    """The functions that invoke, in the order in which they take turns."""
    incidents: Sequence[str] = ()
    lost: Sequence[str] = ()
    """What of the lab was gone, down or stopped when it began, or by its end."""
    packets: Sequence[PacketRecord] = ()
    source: SourceResult | None = None
    slots_of_closed: int = 0
    """Of a client with real sockets: ports of closed ones whose slots were held still when the burst began."""

    def beside(self, kind: str) -> tuple[FleetCount, ...]:
        """Counts of the functions whose connections cross no node of this kind, where others' do."""
        counts = zip(self.invokers, fleets_of(self.clients), strict=False)
        return tuple(count for invoker, count in counts if kind not in invoker.kinds) if self.clients.fleets else ()

    @property
    def reset(self) -> int:
        """Connections that a RST had ended before the clients began to close the others."""
        return max(self.clients.tcp.reset, self.ended.reset)

    @property
    def closed_by_server(self) -> int:
        """Connections that the server had closed before that."""
        return max(self.clients.tcp.closed_by_server, self.ended.closed_by_server)

    def refused_by(self, answer: WhenFull) -> int:
        """Packets of new connections that got this answer of a full limiter; after one a client sends no second SYN."""
        return sum(reading.refused_packets for reading in self.readings if reading.limiter.when_full == answer)

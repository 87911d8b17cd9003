"""What was observed of a burst, or of a lab that is up: the numbers from which findings are made. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lab.burst.endings import NodeEndings
from lab.burst.lacking import Lacking
from lab.burst.observing import Seen
from lab.burst.result import BurstResult, LimitResult
from lab.diagnosis.drops import drops_questions
from lab.diagnosis.limits import LimitAccount, full_eips, leading
from lab.impair.faults import Impairment
from lab.kernel.open_files import FullProcess
from lab.nodes.diagnosis import LimitState
from lab.observe.host_ports import PortsInUse
from lab.schema.drops import DropCount
from lab.slots.fill import Fill

__all__ = ["Evidence", "of_burst", "of_live_lab", "of_seen"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Limits, drops, faults, and what became of the clients' connections where that is known."""

    limits: tuple[LimitState, ...]
    leading: tuple[LimitState, ...]
    """The limits that refused first, all of one kind: losses are attributed to them."""
    drops: tuple[DropCount, ...]
    """What was dropped whatever the limits."""
    clients: BurstResult | None = None
    """The clients' account; None for a lab that is up, where no burst reports it."""
    ports_not_found: Mapping[str, int] = field(default_factory=dict)
    """Kind of node → SYNs that it admitted, and for which the kernel's search then found no port."""
    impairments: tuple[Impairment, ...] = ()
    """Faults that `lab impair` has set on the path; of a burst, those that dropped packets meanwhile, and how many."""
    lost_parts: tuple[str, ...] = ()
    """What of the lab is gone, down or stopped: connections fail for want of it, whatever limits say."""
    full_processes: tuple[FullProcess, ...] = ()
    """Of a lab that is up: processes in it that have as many descriptors open as they may."""
    lacking: Lacking | None = None
    """Of a lab that is up: the descriptors that the last burst lacked."""
    refused_since: int = 0
    """Packets that limits have refused since that burst was over."""
    full_ports: tuple[PortsInUse, ...] = ()
    """Of a lab that is up: addresses of clients that have all ephemeral ports in use."""
    node_endings: tuple[NodeEndings, ...] = ()
    """NAT nodes that reset connections without an entry, or whose idle timeout ended some."""

    @property
    def idle(self) -> tuple[NodeEndings, ...]:
        """Those of them whose idle timeout cost a connection: it was reset when used again, or an answer was dropped.

        Whether a client waited for an answer is known of a burst only: of a lab that is up, dropped packets of servers
        alone are no evidence of a loss.
        """
        reset = tuple(node for node in self.node_endings if node.reset_as_idle)
        waits = self.clients and self.clients.requests.answered < self.clients.requests.sent
        if reset or not waits:
            return reset
        return tuple(node for node in self.node_endings if node.idle_timeouts and node.dropped_packets)

    @property
    def unnoticed(self) -> tuple[NodeEndings, ...]:
        """Those that forgot idle connections which nobody has used since, as far as a burst's clients tell."""
        if self.clients is None:
            return ()
        return tuple(node for node in self.node_endings if node.unnoticed and node not in self.idle)

    @property
    def dropped_connections(self) -> tuple[DropCount, ...]:
        """Drops of packets of connections."""
        return tuple(drop for drop in self.drops if not drops_questions(drop))

    @property
    def dropped_questions(self) -> tuple[DropCount, ...]:
        """Drops of questions to the name server."""
        return tuple(drop for drop in self.drops if drops_questions(drop))

    @property
    def dropped_by_faults(self) -> int:
        """Packets that faults dropped."""
        return sum(fault.dropped_packets for fault in self.impairments)

    @property
    def refused_connections(self) -> int:
        """Connections that any limit refused, each counted once."""
        return sum(limit.refused_connections for limit in self.limits)

    @property
    def full(self) -> tuple[LimitState, ...]:
        """Limits that refused at least one connection or question."""
        return tuple(limit for limit in self.limits if limit.refused_packets)

    def families(self, limits: Iterable[LimitState]) -> tuple[LimitState, ...]:
        """These limits, and those whose overflow they get."""
        families = {limit.family for limit in limits}
        return tuple(limit for limit in self.limits if limit.family in families)

    def of_kind(self, kind: str) -> tuple[LimitState, ...]:
        """The limits of one kind of node."""
        return tuple(limit for limit in self.limits if limit.kind == kind)

    def without_port(self, kind: str) -> int:
        """Packets for which nodes of a kind had no slot, or for which the kernel's search found no port."""
        return sum(limit.refused_packets for limit in self.of_kind(kind)) + self.ports_not_found.get(kind, 0)


def of_burst(result: BurstResult) -> Evidence:
    """The evidence of a burst: the clients' account and the kernel's."""
    groups: dict[tuple[str | None, ...], list[LimitResult]] = {}
    for limit in result.limits:
        groups.setdefault((limit.node, limit.client, limit.towards), []).append(limit)
    # A burst of SYNs alone leaves connections half-open because it was asked to: those are as good as established.
    earlier_only = bool(result.tcp.half_open)
    states = [_state(group, earlier_only=earlier_only) for group in groups.values()]
    limits = _with_overflow(states, earlier_only=earlier_only)
    return Evidence(
        limits=limits,
        leading=tuple(limit for limit in limits if limit.kind == result.bottleneck and limit.refused_packets),
        drops=result.stops,
        clients=result,
        ports_not_found=result.ports_not_found,
        impairments=result.impairments,
        lost_parts=result.lost,
        node_endings=result.endings.nodes,
    )


def of_seen(seen: Seen) -> Evidence:
    """The evidence of whatever went on in a lab: by the kernel alone; the kind of limit that refused first leads."""
    groups: dict[tuple[str | None, ...], list[LimitResult]] = {}
    for limit in seen.limits:
        groups.setdefault((limit.node, limit.client, limit.towards), []).append(limit)
    limits = _with_overflow([_state(group, earlier_only=False) for group in groups.values()])
    first = min(
        (limit for limit in seen.limits if limit.first_refusal_s is not None),
        key=lambda limit: limit.first_refusal_s or 0.0,
        default=None,
    )
    return Evidence(
        limits=limits,
        leading=tuple(limit for limit in limits if first and limit.kind == first.kind and limit.refused_packets),
        drops=seen.stops,
        impairments=seen.impairments,
        lost_parts=seen.lost,
        node_endings=seen.endings,
    )


def _with_overflow(states: Sequence[LimitState], *, earlier_only: bool = False) -> tuple[LimitState, ...]:
    """Limits; where one gets the overflow of another, a half-open slot of either was room for it."""
    limits = list(states)
    for family in {limit.family for limit in limits}:
        members = [index for index, limit in enumerate(limits) if limit.family == family]
        fills = [fill for index in members if (fill := limits[index].fill)]
        if len(members) == 1 or len(fills) < len(members):
            continue
        slots = sum(fill.half_open_earlier if earlier_only else fill.half_open_slots for fill in fills)
        rest = max(0, sum(limits[index].unserved for index in members) - slots)
        for index in members:
            anyway = min(rest, limits[index].unserved)
            limits[index], rest = replace(limits[index], unserved_anyway=anyway), rest - anyway
    return tuple(limits)


def _state(results: Sequence[LimitResult], *, earlier_only: bool) -> LimitState:
    """The Elastic IPs of a NAT gateway share a limit for each destination, unless its clients have their own."""
    first, fills = results[0], [_fill_at_refusal(limit) for limit in results]
    return LimitState(
        node=first.node,
        kind=first.kind,
        limit=first.limit,
        eips=sum(limit.eip is not None for limit in results),
        client=first.client,
        destination=first.destination,
        held=sum(limit.peak for limit in results),
        refused_packets=sum(limit.dropped_packets for limit in results),
        refused_connections=sum(limit.dropped_connections for limit in results),
        when_full=first.when_full,
        fill=Fill.sum(fills),
        before=Fill.sum(limit.before for limit in results),
        unserved=sum(limit.dropped_connections for limit in results),
        unserved_anyway=_unserved_anyway(results, fills, earlier_only=earlier_only),
        refused_before=sum(limit.refused_before for limit in results),
        full_eips=full_eips((limit.eip, limit.spills_over, limit.dropped_packets) for limit in results),
        of=first.of,
        address=first.address,
    )


def _unserved_anyway(results: Sequence[LimitResult], fills: Sequence[Fill | None], *, earlier_only: bool) -> int | None:
    """How many would have found no slot either if half-open connections, or only earlier ones, held none.

    Elastic IPs that do not spill over have room for their own connections alone.
    """
    if any(fill is None for fill in fills):
        return None
    missing = [
        limit.dropped_connections - (fill.half_open_earlier if earlier_only else fill.half_open_slots)
        for limit, fill in zip(results, fills, strict=True)
        if fill
    ]
    return max(0, sum(missing)) if results[0].spills_over else sum(max(0, number) for number in missing)


def _fill_at_refusal(limit: LimitResult) -> Fill | None:
    """What held its slots, with half-open connections that did when it first refused, and have expired since.

    A client that was refused may wait for longer than those have left.
    """
    if limit.fill is None or limit.before is None or limit.first_refusal_s is None:
        return limit.fill
    still = {destination.to: destination.earlier for destination in limit.fill.half_open}
    expired = [
        replace(before, slots=gone, earlier=gone, free_s=0)
        for before in limit.before.half_open
        if (gone := before.slots - still.get(before.to, 0)) > 0 and limit.first_refusal_s < before.sure_s
    ]
    return Fill.sum([limit.fill, Fill(0, tuple(expired))])


def of_live_lab(
    accounts: Sequence[LimitAccount],
    refusing: Sequence[LimitAccount],
    drops: tuple[DropCount, ...],
    impairments: tuple[Impairment, ...],
    lost_parts: tuple[str, ...],
    *,
    node_endings: tuple[NodeEndings, ...] = (),
    full_processes: tuple[FullProcess, ...] = (),
    lacking: Lacking | None = None,
    full_ports: tuple[PortsInUse, ...] = (),
) -> Evidence:
    """The evidence of a lab that is up; `refusing` are the limits that refused, in the order in which they are told."""
    limits = _with_overflow([account.state for account in accounts])
    return Evidence(
        limits=limits,
        leading=tuple(limits[accounts.index(account)] for account in leading(refusing)),
        drops=drops,
        impairments=impairments,
        lost_parts=lost_parts,
        full_processes=full_processes,
        lacking=lacking,
        refused_since=sum(account.packets for account in accounts) - lacking.refused_packets if lacking else 0,
        full_ports=full_ports,
        node_endings=node_endings,
    )

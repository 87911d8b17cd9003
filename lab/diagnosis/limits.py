"""What became of each limit of a lab: held, refused, since when. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.burst.result import BurstResult, LimitResult
from lab.nodes.diagnosis import LimitState
from lab.observe.limits import Limit, limits_of
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.slots.fill import Fill
from lab.slots.limiter import Limiter

__all__ = [
    "RECENT_S",
    "LimitAccount",
    "RefusalHistory",
    "full_eips",
    "in_order",
    "leading",
    "of_readings",
    "of_results",
]

RECENT_S = 10.0
"""A refusal is taken to go on if the last was within this time: SYNs are repeated after 1, 2, 4 and 8 s (classic)."""
_PAUSE_S = 90.0
"""After a longer pause a refusal counts as a new beginning: a client's last two SYNs are 64 s apart (ip-sysctl.rst)."""


# ── Over time ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Refusals:
    """When one limit refused, up to the last sample seen."""

    packets: int
    began_s: float | None = None
    quiet_s: float | None = None
    """The last sample before it began: long before, if no samples were taken meanwhile; None if there is none."""
    last_s: float | None = None
    most_held: int = 0
    lately: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many more packets were refused, within `RECENT_S`."""
    _before_s: float | None = None
    """The last sample seen."""

    def see(self, at_s: float, packets: int, held: int) -> None:
        self.most_held = max(self.most_held, held)
        if packets > self.packets:
            if self.last_s is None or at_s - self.last_s > _PAUSE_S:
                self.began_s, self.quiet_s = at_s, self._before_s
            self.last_s = at_s
            self.lately.append((at_s, packets - self.packets))
        self.packets, self._before_s = packets, at_s
        while self.lately and self.lately[0][0] < at_s - RECENT_S:
            self.lately.popleft()


class RefusalHistory:
    """When a lab's limits refused, told by samples one after the other; it keeps none of them."""

    def __init__(self, limits: Iterable[Limit], before: Sample | None = None) -> None:
        """What was refused `before` does not count; without it, all does."""
        self._refusals = {limit: _Refusals(limit.packets(before) if before else 0) for limit in limits}
        self.last: Sample | None = before

    def see(self, sample: Sample) -> None:
        """Take in the next sample."""
        self.last = sample
        for limit, refusals in self._refusals.items():
            refusals.see(sample.at_s, limit.packets(sample), limit.held(sample))

    def of(self, limit: Limit) -> _Refusals:
        """The refusals of one limit."""
        return self._refusals[limit]


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LimitAccount:
    """What became of one limit."""

    limit: Limit
    held: int
    """Now; of a run, at its peak."""
    connections: int
    """Connections refused, each counted once."""
    packets: int
    """Refused SYNs and datagrams, repetitions included."""
    most_held: int
    began_s: float | None = None
    """Unix time of the first refusal since a long pause; None if there was none, or none is on record."""
    last_s: float | None = None
    """Unix time of the last one."""
    recent_packets: int = 0
    """Refused within `RECENT_S` before the last sample."""
    fill: Fill | None = None
    """What holds its slots now; of a run, what did at its peak."""
    unserved: int = 0
    """Connections that found no slot while it was filled so."""
    full: bool = False
    """Whether it has no slot for some connection or other now; of a run it is not known."""
    full_eips: tuple[str, ...] = ()
    """The Elastic IPs that refused, where others did not (`LimitState`)."""

    @property
    def refused(self) -> bool:
        """Whether it refused any packet."""
        return self.packets > 0

    @property
    def free(self) -> int:
        """Slots that no connection holds."""
        return max(0, self.limit.size - self.held)

    @property
    def counts(self) -> bool:
        """Whether it is worth telling: UDP has limits of its own that most labs never touch."""
        return self.limit.first.protocol != "udp" or bool(self.held or self.packets)

    @property
    def state(self) -> LimitState:
        """The same without times, for the sentences of its node kind."""
        first = self.limit.first
        return LimitState(
            node=first.node,
            kind=first.kind,
            limit=first.limit,
            eips=sum(limiter.eip is not None for limiter in self.limit.limiters),
            client=first.client,
            destination=first.destination,
            held=self.held,
            refused_packets=self.packets,
            refused_connections=self.connections,
            when_full=first.when_full,
            fill=self.fill,
            unserved=self.unserved,
            unserved_anyway=max(0, self.unserved - self.fill.half_open_slots) if self.fill else None,
            full_eips=self.full_eips,
            of=first.of,
            protocol=first.protocol,
            address=first.address,
        )


def full_eips(refusals: Iterable[tuple[str | None, bool, int]]) -> tuple[str, ...]:
    """Those that refused packets of the Elastic IPs that share a limit: (address, whether it spills over, packets).

    Nothing where they spill over, since then all are full when one refuses, and nothing where all have refused.
    """
    shared = [(eip, packets) for eip, spills_over, packets in refusals if eip and not spills_over]
    full = tuple(eip for eip, packets in shared if packets)
    return full if len(full) < len(shared) else ()


def of_readings(
    limits: Iterable[Limit], readings: Iterable[Reading], history: RefusalHistory
) -> tuple[LimitAccount, ...]:
    """Accounts of a lab that is up: the readings tell what is held and refused, the history when it was refused."""
    by_limiter = {reading.limiter: reading for reading in readings}
    accounts = []
    for limit in limits:
        read = [by_limiter[limiter] for limiter in limit.limiters if limiter in by_limiter]
        if not read or not all(reading.appeared for reading in read):
            continue
        refusals, now_s = history.of(limit), history.last.at_s if history.last else None
        held = sum(reading.in_use for reading in read)
        accounts.append(
            LimitAccount(
                limit=limit,
                held=held,
                connections=sum(reading.refused_connections for reading in read),
                packets=sum(reading.refused_packets for reading in read),
                most_held=max(refusals.most_held, held),
                began_s=_began_s(read, refusals, now_s),
                last_s=refusals.last_s,
                recent_packets=sum(packets for _, packets in refusals.lately),
                fill=Fill.sum(reading.fill for reading in read),
                unserved=max(reading.refused_lately for reading in read),
                full=_is_full(read),
                full_eips=full_eips(
                    (reading.limiter.eip, reading.limiter.spills_over, reading.refused_packets) for reading in read
                ),
            )
        )
    return tuple(accounts)


def _is_full(readings: Sequence[Reading]) -> bool:
    full = [reading.in_use >= reading.limiter.limit for reading in readings]
    return all(full) if readings[0].limiter.spills_over else any(full)


def _began_s(readings: Sequence[Reading], refusals: _Refusals, now_s: float | None) -> float | None:
    """By the kernel's clock if it tells of the refusal that samples tell of: one after the last that knew of none."""
    first = readings[0].first_refusal
    if first is None or now_s is None or not any(reading.refused_packets for reading in readings):
        return refusals.began_s
    exact_s = now_s - first.age_s
    if refusals.began_s is None:
        return exact_s
    earliest_s = -float("inf") if refusals.quiet_s is None else refusals.quiet_s
    same = earliest_s - _CLOCKS_APART_S <= exact_s <= refusals.began_s + _CLOCKS_APART_S
    return exact_s if same else refusals.began_s


_CLOCKS_APART_S = 1.0
"""The two are read one after the other."""


def of_results(limiters: Sequence[Limiter], result: BurstResult, samples: Sequence[Sample]) -> tuple[LimitAccount, ...]:
    """Accounts of a run: its result has the numbers, its samples the times."""
    of_protocol = [limiter for limiter in limiters if limiter.protocol in ("any", result.protocol)]
    by_limiter = dict(_matched(of_protocol, result.limits))
    limits = limits_of(by_limiter)
    history = RefusalHistory(limits, samples[0] if samples else None)
    for sample in samples:
        history.see(sample)
    accounts = []
    for limit in limits:
        results, refusals = [by_limiter[limiter] for limiter in limit.limiters], history.of(limit)
        peak = sum(one.peak for one in results)
        accounts.append(
            LimitAccount(
                limit=limit,
                held=peak,
                connections=sum(one.dropped_connections for one in results),
                packets=sum(one.dropped_packets for one in results),
                most_held=max(peak, refusals.most_held),
                began_s=refusals.began_s,
                last_s=refusals.last_s,
                recent_packets=sum(packets for _, packets in refusals.lately),
                fill=Fill.sum(one.fill for one in results),
                unserved=sum(one.dropped_connections for one in results),
                full_eips=full_eips((one.eip, one.spills_over, one.dropped_packets) for one in results),
            )
        )
    return tuple(accounts)


def _matched(limiters: Sequence[Limiter], results: Sequence[LimitResult]) -> Iterable[tuple[Limiter, LimitResult]]:
    """Results are in the order of limiters, without those whose ENI had not appeared."""
    left = iter(limiters)
    for result in results:
        wanted = (result.node, result.share, result.towards)
        limiter = next((one for one in left if (one.node, one.share, one.towards) == wanted), None)
        if limiter is not None:
            yield limiter, result


# ── Which one leads ─────────────────────────────────────────────────────────────────────────────────────────


def in_order(accounts: Iterable[LimitAccount]) -> list[LimitAccount]:
    """Those that refused: first those that did so last, of which the one leads that began; what was before comes after.

    A lab that has been cured of one limit runs into the next: that is what one asks about then.
    """
    refused = [account for account in accounts if account.refused]
    past = _past(refused)

    def rank(account: LimitAccount) -> tuple[bool, float]:
        began_s = account.began_s if account.began_s is not None else float("inf")
        return account in past, began_s

    return sorted(refused, key=rank)


def leading(refused: Sequence[LimitAccount]) -> list[LimitAccount]:
    """The first limit in that order, and others of its kind that refuse at the same time."""
    past = _past(refused)
    return [
        account
        for account in refused
        if account.limit.first.kind == refused[0].limit.first.kind and (account in past) == (refused[0] in past)
    ]


def _past(refused: Sequence[LimitAccount]) -> list[LimitAccount]:
    """Those that refused before others did: long before, or before the last burst, which has limits forget whom."""
    newest_s = max((account.last_s for account in refused if account.last_s is not None), default=0.0)
    some_remember = any(account.unserved for account in refused)
    return [
        account
        for account in refused
        if (some_remember and not account.unserved)
        or (account.last_s is not None and newest_s - account.last_s > RECENT_S)
    ]

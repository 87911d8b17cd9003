"""What became of each limit of a lab: held, refused, since when. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.burst.result import BurstResult, LimitResult
from lab.observe.limits import Limit, limits_of
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.slots.limiter import Limiter

__all__ = ["RECENT_S", "Course", "LimitAccount", "in_order", "of_readings", "of_results"]

RECENT_S = 10.0
"""What was refused so lately goes on: a SYN comes again after 1, 2, 4 and 8 s (classic schedule)."""
_PAUSE_S = 90.0
"""Who has refused nothing for longer has begun anew: a client's last two SYNs are 64 s apart (ip-sysctl.rst)."""


# ── Over time ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Refusals:
    """Of one limit, up to the last sample seen."""

    packets: int
    began_s: float | None = None
    quiet_s: float | None = None
    """The last sample before it began: long before, if nobody took samples meanwhile; None if there is none."""
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


class Course:
    """How a lab's refusals went, told by samples one after the other; it keeps none of them."""

    def __init__(self, limits: Iterable[Limit], before: Sample | None = None) -> None:
        """What was refused `before` does not count; without it, all does."""
        self._refusals = {each: _Refusals(each.packets(before) if before else 0) for each in limits}
        self.last: Sample | None = before

    def see(self, sample: Sample) -> None:
        """The next sample."""
        self.last = sample
        for limit, refusals in self._refusals.items():
            refusals.see(sample.at_s, limit.packets(sample), limit.held(sample))

    def of(self, limit: Limit) -> _Refusals:
        """One limit's."""
        return self._refusals[limit]


# ── Accounts ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LimitAccount:
    """What became of one limit."""

    limit: Limit
    held: int
    """Now; of a run, at its peak."""
    connections: int
    """Refused, each counted once."""
    packets: int
    """Refused SYNs and datagrams, repetitions included."""
    most_held: int
    began_s: float | None = None
    """Unix time of the first refusal since a long pause; None if there was none, or none is on record."""
    last_s: float | None = None
    """Unix time of the last one."""
    recent_packets: int = 0
    """Refused within `RECENT_S` before the last sample."""

    @property
    def refused(self) -> bool:
        """Whether it refused anything."""
        return self.packets > 0

    @property
    def free(self) -> int:
        """Slots that are left."""
        return max(0, self.limit.size - self.held)

    @property
    def counts(self) -> bool:
        """Whether it is worth telling: UDP has limits of its own that most labs never touch."""
        return self.limit.first.protocol != "udp" or bool(self.held or self.packets)


def of_readings(limits: Iterable[Limit], readings: Iterable[Reading], course: Course) -> tuple[LimitAccount, ...]:
    """Of a lab that is up; limits whose ENI has not appeared are left out."""
    by_limiter = {each.limiter: each for each in readings}
    accounts = []
    for limit in limits:
        found = [by_limiter[each] for each in limit.limiters if each in by_limiter]
        if not found or not all(each.appeared for each in found):
            continue
        refusals, now_s = course.of(limit), course.last.at_s if course.last else None
        accounts.append(
            LimitAccount(
                limit=limit,
                held=sum(each.in_use for each in found),
                connections=sum(each.refused_connections for each in found),
                packets=sum(each.refused_packets for each in found),
                most_held=max(refusals.most_held, sum(each.in_use for each in found)),
                began_s=_began_s(found, refusals, now_s),
                last_s=refusals.last_s,
                recent_packets=sum(packets for _, packets in refusals.lately),
            )
        )
    return tuple(accounts)


def _began_s(readings: Sequence[Reading], refusals: _Refusals, now_s: float | None) -> float | None:
    """By the kernel's clock if it tells of the refusal that samples tell of: one after the last that knew of none."""
    first = readings[0].first_refusal
    if first is None or now_s is None or not any(each.refused_packets for each in readings):
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
    """Of a run: its result has the numbers, its samples the times."""
    of_protocol = [each for each in limiters if each.protocol in ("any", result.protocol)]
    by_limiter = dict(_matched(of_protocol, result.limits))
    limits = limits_of(by_limiter)
    course = Course(limits, samples[0] if samples else None)
    for sample in samples:
        course.see(sample)
    accounts = []
    for limit in limits:
        found, refusals = [by_limiter[each] for each in limit.limiters], course.of(limit)
        peak = sum(each.peak for each in found)
        accounts.append(
            LimitAccount(
                limit=limit,
                held=peak,
                connections=sum(each.dropped_connections for each in found),
                packets=sum(each.dropped_packets for each in found),
                most_held=max(peak, refusals.most_held),
                began_s=refusals.began_s,
                last_s=refusals.last_s,
                recent_packets=sum(packets for _, packets in refusals.lately),
            )
        )
    return tuple(accounts)


def _matched(limiters: Sequence[Limiter], results: Sequence[LimitResult]) -> Iterable[tuple[Limiter, LimitResult]]:
    """Results are in the order of limiters, without those whose ENI had not appeared."""
    left = iter(limiters)
    for result in results:
        wanted = (result.node, result.eip, result.destination)
        found = next((each for each in left if (each.node, each.eip, each.destination) == wanted), None)
        if found is not None:
            yield found, result


def in_order(accounts: Iterable[LimitAccount]) -> list[LimitAccount]:
    """Those that refused: first those that did so last, of which the one leads that began; what was before comes after.

    A lab that has been cured of one limit runs into the next: that is what one asks about then.
    """
    refused = [each for each in accounts if each.refused]
    newest_s = max((each.last_s for each in refused if each.last_s is not None), default=0.0)

    def rank(each: LimitAccount) -> tuple[bool, float]:
        is_past = each.last_s is not None and newest_s - each.last_s > RECENT_S
        return is_past, each.began_s if each.began_s is not None else float("inf")

    return sorted(refused, key=rank)

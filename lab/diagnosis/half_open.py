"""Half-open connections that hold a limiter's slots, in words: how many, to whom, since when, and what helps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.nodes.diagnosis import LimitState, connections, words_for
from lab.nodes.registry import kind_of
from lab.slots.fill import Fill

__all__ = ["beside_a_limit", "explanation", "headline", "held_before", "left_by_silence", "remedies"]


def headline(finding: Finding) -> str:
    """How many slots of which limiters, and to whom."""
    fill, size = _fill(finding.limits), sum(limit.size for limit in finding.limits)
    slots = f"{fill.half_open_slots:,} of the {size:,} slots of {', '.join(finding.nodes)}"
    return f"Half-open connections to {_to(fill)} hold {slots}"


def explanation(finding: Finding) -> Iterator[str]:
    """Which of them are of this burst, how many connections they cost, why they were not answered."""
    limits, fill = finding.limits, _fill(finding.limits)
    unserved = sum(limit.unserved for limit in limits)
    slots = fill.half_open_slots
    nodes = ", ".join(finding.nodes)
    yield f"{nodes} refused {connections(unserved)}, and with {_those(slots)} free would have refused none."
    if finding.evidence.clients:
        yield _whose(fill)
    if free_s := _free_s(fill):
        yield f"{_they_are(slots)} free again within {free_s:,} s, if no further SYN comes."
    else:
        yield "Their slots have become free since."
    yield (
        f"A connection whose SYN is not answered keeps its slot for {_timeout_s(fill)} after its last SYN, and a full "
        f"{kind_of(limits[0].kind).words} drops SYNs to {limits[0].destination or 'every server'}."
    )
    refusers = list(_refusers(finding.evidence, limits, fill))
    yield from (f"{node} {refused}: their SYNs came no further." for node, refused in refusers)
    if not refusers:
        yield "No limit behind it refused their SYNs: they were lost on the way, or the server is silent."
    yield from held_before(limits)


def remedies(finding: Finding) -> Iterator[str]:
    """What keeps slots free, and what does not."""
    fill = _fill(finding.limits)
    servers = _to(fill)
    for node in dict(_refusers(finding.evidence, finding.limits, fill)):
        yield f"Give {node} room for more: each SYN that it refuses leaves a half-open connection here."
    yield f"See why SYNs to {servers} are not answered, and repair that: the server, or what is on the way to it."
    yield f"A circuit breaker: stop connecting to {servers} while it does not answer, for each SYN takes a slot."
    yield (
        "Connect time-outs of a few seconds and fewer SYN retries (net.ipv4.tcp_syn_retries): "
        f"each further SYN keeps the slot for another {_timeout_s(fill)}."
    )
    yield (
        "`half_open_timeout` in the topology is how long; AWS publishes no number, and the default of 120 s is Linux's."
    )
    more = words_for(finding.limits).more_room
    yield f"Not {more}: half-open connections fill that as well, only later."
    yield "In the lab, `lab reset` and `lab burst --fresh` forget them."


def beside_a_limit(finding: Finding) -> Iterator[str]:
    """Where a limit is the cause: what half-open connections added to it, and what was held before."""
    families = finding.evidence.families(finding.limits)
    half_open = [limit for limit in families if limit.fill and limit.fill.half_open]
    if refused := sum(limit.unserved for limit in half_open):
        fill = _fill(half_open)
        rest = sum(limit.unserved_anyway or 0 for limit in half_open)
        names, slots = ", ".join(limit.node for limit in half_open), fill.half_open_slots
        yield (
            f"Of the slots of {names}, {_were(f'{slots:,}', slots)} half-open, to {_to(fill)}: with {_those(slots)} "
            f"free, {rest:,} would have been refused instead of {refused:,}."
        )
    yield from held_before(finding.limits)


def left_by_silence(finding: Finding) -> Iterator[str]:
    """Which slots half-open connections hold although no limit was reached."""
    for limit in finding.evidence.limits:
        if limit.fill and limit.fill.half_open:
            slots = limit.fill.half_open_slots
            yield (
                f"{slots:,} of the {limit.size:,} slots of {limit.node} {'is' if slots == 1 else 'are'} half-open, to "
                f"{_to(limit.fill)}: free again within {_free_s(limit.fill):,} s."
            )


def _fill(limits: Iterable[LimitState]) -> Fill:
    return Fill.sum(limit.fill for limit in limits) or Fill(0)


def _to(fill: Fill) -> str:
    """The servers, that with the most slots first."""
    return " and ".join(destination.to for destination in fill.half_open)


def _free_s(fill: Fill) -> int:
    return max(destination.free_s for destination in fill.half_open)


def _timeout_s(fill: Fill) -> str:
    return f"{fill.half_open[0].timeout_s:,} s"


def _whose(fill: Fill) -> str:
    """Which of them are left from before the burst."""
    earlier, own = fill.half_open_earlier, fill.half_open_slots - fill.half_open_earlier
    if not own:
        return f"{_they_are(earlier)} left from before this burst."
    if not earlier:
        return f"{_they_are(own)} of this burst."
    return f"{earlier:,} of them {'is' if earlier == 1 else 'are'} left from before this burst, {own:,} of this burst."


def _refusers(evidence: Evidence, limits: Sequence[LimitState], fill: Fill) -> Iterator[tuple[str, str]]:
    """Nodes behind these that refused SYNs to the same servers, by the kernel's counters, and how many."""
    kind, servers = limits[0].kind, {destination.to for destination in fill.half_open}
    earlier, own = fill.half_open_earlier, fill.half_open_slots - fill.half_open_earlier
    for limit in evidence.limits:
        if limit.kind == kind or limit.destination not in servers:
            continue
        now = limit.refused_connections if own or evidence.clients is None else 0
        before = limit.refused_before if earlier else 0
        if now or before:
            when = "since `lab up`" if before or evidence.clients is None else "in this burst"
            yield limit.node, f"refused {connections(now + before)} to {limit.destination} {when}"


def held_before(limits: Iterable[LimitState]) -> Iterator[str]:
    """What earlier bursts, or other programs, had left when the burst began."""
    held = [f"{limit.node} {limit.before.text}" for limit in limits if limit.before and limit.before.text]
    if held:
        yield f"When the burst began, these were held already: {'; '.join(held)}."


def _were(subject: str, number: int) -> str:
    return f"{subject} {'was' if number == 1 else 'were'}"


def _they_are(number: int) -> str:
    return "It is" if number == 1 else "They are"


def _those(slots: int) -> str:
    return "that slot" if slots == 1 else "those slots"

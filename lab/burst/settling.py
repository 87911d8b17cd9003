"""After a burst: waiting until the slots of what was closed are free, and which slots are not freed by closing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
import time

from lab.burst.spec import Participants
from lab.kernel.netns import Namespaces
from lab.observe.limiters import read
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking, track
from lab.slots.limiter import Limiter
from traffic.result import EngineResult

__all__ = ["StillTaken", "await_free_slots", "settle", "still_taken"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class StillTaken:
    """Slots of this burst that are not free when its connections are closed: half-open connections, and questions."""

    at_most: Mapping[Limiter, int] = field(default_factory=dict)
    """Limiter → so many more than before, those of half-open connections; and of questions, where they cross ENIs."""
    in_enis: int | None = None
    """Where questions cross ENIs: of all ENIs together, what was there before included."""


def settle(
    namespaces: Namespaces, participants: Participants, before: Iterable[Reading], remaining: StillTaken
) -> tuple[Tracking, ...]:
    """Wait until what was closed is free; what slots and conntrack still hold then."""
    if participants.load.protocol == "tcp":  # a flow over UDP ends when it has been idle for long enough
        await_free_slots(namespaces, participants, before, remaining)
    places = {limiter.place for limiter in participants.limiters}
    limiters = [limiter for limiter in participants.plan.limiters if limiter.place in places]
    deadline_s = time.monotonic() + _SLOTS_FREE_WITHIN_S
    tracking = track(namespaces, limiters)
    while any(node.difference for node in tracking) and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)
        tracking = track(namespaces, limiters)
    return tracking


def await_free_slots(
    namespaces: Namespaces, participants: Participants, before: Iterable[Reading], remaining: StillTaken | None = None
) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    The deadline is short: with a long port hold the slots stay taken long after the connections are closed.
    """
    remaining = remaining or StillTaken()
    allowed = {reading.limiter: reading.in_use + remaining.at_most.get(reading.limiter, 0) for reading in before}
    most_in_enis = float("inf") if remaining.in_enis is None else remaining.in_enis
    deadline_s = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while time.monotonic() < deadline_s:
        now = read(namespaces, allowed)
        if all(reading.in_use <= allowed[reading.limiter] for reading in now) and (
            _in_enis(participants, now) <= most_in_enis
        ):
            return
        time.sleep(_POLL_S)


def still_taken(participants: Participants, clients: EngineResult, readings: Sequence[Reading]) -> StillTaken:
    """What is still taken; `readings` are those when the last invocation had its outcome.

    Half-open connections that clients were answered (`syn_only`) are closed with the others.
    """
    behind_eni = participants.asks_through_enis
    at_most = {
        reading.limiter: min(reading.fill.half_open_slots - reading.fill.half_open_earlier, clients.tcp.timed_out)
        + (clients.dns.asked if behind_eni and reading.limiter.place in participants.gateways else 0)
        for reading in readings
        if reading.fill
    }
    return StillTaken(at_most, _in_enis(participants, readings) - clients.tcp.open if behind_eni else None)


def _in_enis(participants: Participants, readings: Iterable[Reading]) -> int:
    return sum(reading.in_use for reading in readings if reading.limiter.place in participants.gateways)

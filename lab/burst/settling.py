"""After a burst: waiting until the slots of what was closed are free, and which slots are not freed by closing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import time

from lab.burst.spec import Participants
from lab.kernel.netns import Namespaces
from lab.observe.limiters import read
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking, track
from lab.paths.path import Path
from lab.slots.limiter import Limiter
from traffic.result import EngineResult

__all__ = ["StillTaken", "await_free_slots", "settle", "still_taken"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class StillTaken:
    """Slots of this burst that are not free when its connections are closed: half-open connections, and questions."""

    at_most: Mapping[Limiter, int] = field(default_factory=dict)
    """Limiter → at most so many slots, taken by unanswered connections that it let pass, and by questions."""
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
    namespaces: Namespaces, participants: Participants, before: Iterable[Reading], remaining: StillTaken
) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    The deadline is short: with a long port hold the slots stay taken long after the connections are closed.
    """
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
    """What both accounts say is still taken; `readings` are those when the last invocation had its outcome."""
    held = _in_enis(participants, readings) - clients.tcp.open
    behind_eni = participants.topology.service_vpc.resolver.behind_eni
    return StillTaken(dict(_at_most(participants, clients, readings)), held if behind_eni else None)


def _in_enis(participants: Participants, readings: Iterable[Reading]) -> int:
    return sum(reading.in_use for reading in readings if reading.limiter.place in participants.gateways)


def _at_most(
    participants: Participants, clients: EngineResult, readings: Sequence[Reading]
) -> Iterator[tuple[Limiter, int]]:
    behind_eni = participants.topology.service_vpc.resolver.behind_eni
    unanswered = clients.tcp.timed_out + (clients.unanswered.invocations if behind_eni else 0)
    stopped = [
        (path, _stopped(participants, number, clients, readings))
        for number, path in enumerate(participants.paths)
        if path.dead_end
    ]
    refused_by_enis = _refused(reading for reading in readings if reading.limiter.place in participants.gateways)
    for limiter in (reading.limiter for reading in readings):
        is_eni = limiter.place in participants.gateways
        alike = () if is_eni else (other for other in readings if other.limiter.kind == limiter.kind)
        elsewhere = sum(connections for path, connections in stopped if not _holds(limiter, path))
        questions = clients.dns.asked if behind_eni and is_eni else 0
        yield limiter, max(0, unanswered - refused_by_enis - _refused(alike) - elsewhere) + questions


def _stopped(participants: Participants, number: int, clients: EngineResult, readings: Iterable[Reading]) -> int:
    """Connections that the dead end of path `number` stopped: those that took it in their turn, less refused ones."""
    gateway = participants.paths[number].gateway
    took_it = -((number - clients.tcp.attempted) // len(participants.paths))
    return took_it - _refused(reading for reading in readings if reading.limiter.place == gateway)


def _refused(readings: Iterable[Reading]) -> int:
    return sum(reading.refused_connections for reading in readings)


def _holds(limiter: Limiter, path: Path) -> bool:
    """Whether connections that come to the dead end of a path hold a slot of a limiter."""
    return limiter.place in {hop.node for hop in path.reached}

"""After a burst: what may still hold slots, and waiting for the rest to be free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
import time

from lab.burst.scene import Scene
from lab.kernel.namespaces import Namespaces
from lab.observe.limiters import read
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking, track
from lab.paths.ways import Way
from lab.slots.limiter import Limiter
from traffic.result import EngineResult

__all__ = ["Lasting", "await_free_slots", "lasting", "nothing_lasts", "settle"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Lasting:
    """What keeps its slots whatever clients do: half-open connections, and questions, which nobody closes."""

    half_open: Callable[[Limiter], int]
    """Limiter → connections that it let pass and that were never answered further on, and questions, at most."""
    in_enis: int | None = None
    """Where questions cross ENIs: slots that all ENIs together still hold when what is open has been closed."""


nothing_lasts = Lasting(lambda _: 0)
"""Of a burst that came to nothing."""


def lasting(scene: Scene, seen: EngineResult, after: Sequence[Reading]) -> Lasting:
    """As far as the clients' account and the limiters' tell; `after` is when the last invocation had its outcome."""
    behind_eni = scene.topology.service_vpc.resolver.behind_eni
    held = sum(each.in_use for each in after if each.limiter.kind == "hyperplane_eni")
    return Lasting(_half_open(scene, seen, after), held - seen.tcp.open if behind_eni else None)


def _half_open(scene: Scene, seen: EngineResult, after: Sequence[Reading]) -> Callable[[Limiter], int]:
    behind_eni = scene.topology.service_vpc.resolver.behind_eni
    lost = seen.tcp.timed_out + (seen.unanswered.invocations if behind_eni else 0)
    ended = [(way, _ended(scene, number, seen, after)) for number, way in enumerate(scene.ways) if way.dead_end]

    def waiting(limiter: Limiter) -> int:
        kinds = {"hyperplane_eni", limiter.kind}
        refused = sum(each.refused_connections for each in after if each.limiter.kind in kinds)
        elsewhere = sum(connections for way, connections in ended if not _holds(limiter, way))
        questions = seen.dns.asked if behind_eni and limiter.kind == "hyperplane_eni" else 0
        return max(0, lost - refused - elsewhere) + questions

    return waiting


def _ended(scene: Scene, number: int, seen: EngineResult, after: Iterable[Reading]) -> int:
    """Connections that its dead end stopped, of those that took way `number` in their turn."""
    taking = -((number - seen.tcp.attempted) // len(scene.ways))
    return taking - sum(each.refused_connections for each in after if _is_gateway(each.limiter, scene.ways[number]))


def _is_gateway(limiter: Limiter, way: Way) -> bool:
    return (limiter.of or limiter.node) == way.gateway


def _holds(limiter: Limiter, way: Way) -> bool:
    """Whether connections that come to the dead end of a way hold a slot of a limiter."""
    return (limiter.of or limiter.node) in {hop.node for hop in way.reached}


def settle(namespaces: Namespaces, scene: Scene, before: Iterable[Reading], lasting: Lasting) -> tuple[Tracking, ...]:
    """Wait until what was closed is free; what slots and conntrack still hold then."""
    if scene.load.protocol == "tcp":  # a flow over UDP ends when it has been idle for long enough
        await_free_slots(namespaces, before, lasting)
    places = {each.place for each in scene.limiters}
    wanted = [each for each in scene.plan.limiters if each.place in places]
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while True:
        found = track(namespaces, wanted)
        if all(each.difference == 0 for each in found) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_S)


def await_free_slots(namespaces: Namespaces, before: Iterable[Reading], lasting: Lasting) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    With a port hold that may take longer than anybody wants to wait for; the deadline is short.
    """
    allowed = {each.limiter: each.in_use + lasting.half_open(each.limiter) for each in before}
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while not _are_free(read(namespaces, allowed), allowed, lasting):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def _are_free(now: Sequence[Reading], allowed: Mapping[Limiter, int], lasting: Lasting) -> bool:
    if any(each.in_use > allowed[each.limiter] for each in now):
        return False
    held = sum(each.in_use for each in now if each.limiter.kind == "hyperplane_eni")
    return lasting.in_enis is None or held <= lasting.in_enis

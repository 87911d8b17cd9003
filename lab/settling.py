"""After a burst: what may still hold slots, and waiting for the rest to be free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import time

from lab.kernel.namespaces import Namespaces
from lab.observe.limiters import read
from lab.observe.readings import Reading
from lab.observe.tracking import Tracking, track
from lab.plan.objects import Limiter
from lab.scene import Scene
from lab.topology.ways import Way
from traffic.result import EngineResult

__all__ = ["HalfOpen", "await_free_slots", "half_open", "no_half_open", "settle"]

_SLOTS_FREE_WITHIN_S = 5.0
_POLL_S = 0.05
HalfOpen = Callable[[Limiter], int]
"""Limiter → connections that it let pass and that were never answered further on.

They keep their slots for the half-open timeout, whatever their clients do; and so do questions, for the idle timeout.
"""


def no_half_open(_: Limiter) -> int:
    """Of a burst that came to nothing."""
    return 0


def half_open(scene: Scene, seen: EngineResult, after: Sequence[Reading]) -> HalfOpen:
    """As far as the clients' account and the limiters' tell."""
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
    if way.reached and limiter.node == way.reached.node:
        return True
    return _is_gateway(limiter, way) and way.dead_end is not None and way.dead_end.node != way.gateway


def settle(
    namespaces: Namespaces, scene: Scene, before: Iterable[Reading], half_open: HalfOpen
) -> tuple[Tracking, ...]:
    """Wait until what was closed is free; what slots and conntrack still hold then."""
    if scene.load.protocol == "tcp":  # a flow over UDP ends when it has been idle for long enough
        await_free_slots(namespaces, before, half_open)
    places = {each.place for each in scene.limiters}
    wanted = [each for each in scene.plan.limiters if each.place in places]
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while True:
        found = track(namespaces, wanted)
        if all(each.difference == 0 for each in found) or time.monotonic() > deadline:
            return found
        time.sleep(_POLL_S)


def await_free_slots(namespaces: Namespaces, before: Iterable[Reading], half_open: HalfOpen) -> None:
    """Wait until what was closed is free, so that the next burst starts where this one did.

    With a port hold that may take longer than anybody wants to wait for; the deadline is short.
    """
    allowed = {each.limiter: each.in_use + half_open(each.limiter) for each in before}
    deadline = time.monotonic() + _SLOTS_FREE_WITHIN_S
    while any(each.in_use > allowed[each.limiter] for each in read(namespaces, allowed)):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)

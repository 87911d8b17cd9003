"""The functions whose invocations a burst is made of: which are due, which get a connection, which are throttled.

Invocations take turns: number `i` is one of function `i % F`, and so is connection `i`. A function's own limit, its
reserved concurrency, is AWS's: what comes while so many are under way is throttled (429 TooManyRequestsException), gets
no environment, and asks and connects to nothing. https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from traffic.arrivals import arrived, arrives_s, environments
from traffic.clients.free_list import FreeList
from traffic.clients.state import UNDER_WAY, State

if TYPE_CHECKING:
    from traffic.clients.state import Connections, Indices
    from traffic.spec import BurstSpec

__all__ = ["Caller", "Invocations", "callers_of", "in_turn"]


@dataclass(frozen=True, slots=True)
class Invocations:
    """What became of some invocations of a function that were due."""

    warm: Indices
    """Connections that are used again."""
    cold: Indices
    """Connections that are to be made."""
    throttled: int
    without_port: int = 0
    """Of a host that is no function: those for which it has no ephemeral port left."""


class Caller:
    """One function of a burst: its invocations, and the connections that they have."""

    def __init__(self, spec: BurstSpec, place: int, connections: Connections) -> None:
        fleet = spec.fleets[place]
        self._spec, self._connections = spec, connections
        self._place, self._of, self._most = place, len(spec.fleets), fleet.reserved_concurrency
        self._offered = spec.share(spec.offered, place)
        self._free = FreeList(spec.share(spec.connections, place), len(fleet.paths), spec.rest_s)
        self._idle: list[int] = []
        self._begun = 0
        self._live = 0
        """Connections that its environments have now, in whatever state."""
        self._admitted = 0
        self.lacks_connections = False
        """Whether invocations wait for a connection, or for an environment."""

    # Beginning

    def due(self, now_s: float) -> int:
        """How many invocations have come and not begun."""
        come = arrived(self._spec.arrivals, now_s)
        come = self._offered if come == inf else min(self._offered, self._spec.share(int(come), self._place))
        return max(come - self._begun, 0)

    def numbers(self, count: int) -> Indices:
        """The numbers of its next invocations among those of all functions."""
        return (self._begun + np.arange(count)) * self._of + self._place

    def begin(self, count: int, now_s: float) -> Invocations:
        """Begin so many that are due, as far as there are connections for those that are not throttled."""
        throttled = int(max(count - self._room(), 0))
        wanted = count - throttled
        warm = self._warm(wanted)
        cold = self._free.take(min(wanted - len(warm), self._growth_left(now_s)), now_s) * self._of + self._place
        made, without_port = len(warm) + len(cold), 0
        if self._spec.fleets[self._place].host is not None:
            without_port = wanted - made
            wanted = made
        self.lacks_connections = made < wanted
        throttled = 0 if self.lacks_connections else throttled  # those come later
        self._begun += made + throttled + without_port
        self._admitted += made
        self._live += len(cold)
        return Invocations(warm, cold, throttled, without_port)

    def _room(self) -> float:
        """How many more may be under way; of those that come at once, all are there before the first has ended."""
        if self._most is None:
            return inf
        return max(self._most - (self._admitted if self._spec.arrivals.per_s is None else self._under_way()), 0)

    def _under_way(self) -> int:
        """Invocations that have a connection which is not idle."""
        return int(np.count_nonzero(UNDER_WAY[self._connections.state[self._place :: self._of]]))

    def _growth_left(self, now_s: float) -> int:
        growth = self._spec.growth
        if growth is None:
            return self._offered
        connections = environments(growth, now_s) * self._spec.blocks.per_environment
        return max(int(connections) - self._live, 0)

    def _warm(self, limit: int) -> Indices:
        """Takes idle connections, the one that was used last first."""
        taken: list[int] = []
        states = self._connections.state
        while len(taken) < limit and self._idle:
            index = self._idle.pop()
            if states[index] == State.IDLE:
                states[index] = State.ESTABLISHED  # the list may have it twice
                taken.append(index)
        return np.array(taken, np.int64)

    def next_arrival_s(self) -> float:
        """When its next invocation comes; infinity if none does, or if the next tick is to try again."""
        if self.lacks_connections or self._begun >= self._offered:
            return inf
        return arrives_s(self._spec.arrivals, self._begun * self._of + self._place)

    # Ending

    def idle(self, indices: Indices) -> None:
        """These connections are idle: another invocation may use them."""
        self._idle.extend(indices.tolist())
        if len(self._idle) > 2 * len(self._connections):  # mostly connections that are not idle any more
            idle = self._connections.in_state(State.IDLE)
            self._idle = idle[idle % self._of == self._place].tolist()

    def release(self, indices: Indices, now_s: float, *, unused: bool = False) -> None:
        """These connections have ended: their rest begins, unless they were `unused`: no packet was sent."""
        self._live -= len(indices)
        if unused:
            self._free.give_back(indices // self._of)
        else:
            self._free.release(indices // self._of, now_s)


def callers_of(spec: BurstSpec, connections: Connections) -> tuple[Caller, ...]:
    """The functions of a burst, in the order in which they take turns."""
    return tuple(Caller(spec, place, connections) for place in range(len(spec.fleets)))


def in_turn(callers: tuple[Caller, ...], limit: int, now_s: float) -> list[int]:
    """How many of the next invocations, at most `limit`, are each function's."""
    due = [min(caller.due(now_s), limit) for caller in callers]
    if len(callers) == 1 or sum(due) <= limit:
        return due
    numbers = [caller.numbers(count) for caller, count in zip(callers, due, strict=True)]
    last = np.sort(np.concatenate(numbers))[limit - 1]
    return [int(np.count_nonzero(mine <= last)) for mine in numbers]

"""How far a burst without end comes on a topology, and what stops it: predictions only, no number of its own. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from lab.capacity.predict import InUse, Prediction, predict
from lab.nodes.proposals import Question, Threshold
from lab.paths.path import Scope
from lab.paths.routes import paths
from lab.topology import Topology

__all__ = ["shared_threshold", "threshold"]

_ENDLESS = 1 << 40
"""More connections than any topology carries."""


def _nothing(_: Scope) -> int:
    return 0


def threshold(topology: Topology, question: Question, in_use: InUse = _nothing) -> Threshold:
    """The threshold of a burst without end, as `lab.capacity.predict` has it."""
    endless = _predicted(topology, question, _ENDLESS, in_use)
    if endless.unknown or endless.drop_threshold is None:
        met = endless.throttled and not endless.unknown
        at_once = topology.source(question.source).at_once if met else None
        return Threshold(None, unknown=endless.unknown, throttled_beyond=at_once)
    at = endless.drop_threshold
    turns = len(paths(topology, question.source, question.server, question.protocol))
    kind = _predicted(topology, question, at + 1, in_use).bottleneck
    soon = _predicted(topology, question, at + turns, in_use)
    nodes = tuple(load.node for load in soon.limiters if load.refused and load.kind == kind)
    return Threshold(at, kind, nodes, dead_end=None if kind else next(iter(endless.dead_ends), None))


def shared_threshold(topology: Topology, question: Question, sharers: Sequence[str]) -> Threshold:
    """The most connections that a source holds after each of the sharers has opened as many to the same server.

    What limits refuse of the sharers' connections is not held: two that fill one ENI hold its limit together.
    """
    alone = threshold(topology, question)
    if alone.held is None:
        return alone
    low, high = 0, alone.held + 1  # it holds `low` beside the sharers, and not `high`
    while high - low > 1:
        middle = (low + high) // 2
        beside = _threshold_beside(topology, question, sharers, middle)
        if beside.held is None:
            return beside
        low, high = (middle, high) if beside.held >= middle else (low, middle)
    beyond = _threshold_beside(topology, question, sharers, low + 1)
    if beyond.held is None:
        return beyond
    hold = sum(_opened(topology, question, sharers, low).established.values())
    return replace(beyond, held=low, sharers_hold=hold)


def _threshold_beside(topology: Topology, question: Question, sharers: Sequence[str], connections: int) -> Threshold:
    """The threshold of a source after each of the sharers has opened so many connections."""
    opened = _opened(topology, question, sharers, connections)
    if opened.unknown:
        return Threshold(None, unknown=opened.unknown)
    return threshold(topology, question, opened.slots.__getitem__)


class _Opened(NamedTuple):
    """What sources hold that have opened connections one after the other."""

    slots: Counter[Scope]
    """Slots taken of each limit, those of connections included that a limit behind it refused."""
    established: dict[str, int]
    """Source → its connections."""
    unknown: str | None = None


def _opened(topology: Topology, question: Question, sources: Iterable[str], connections: int) -> _Opened:
    slots, established = Counter[Scope](), dict[str, int]()
    for source in sources if connections else ():
        asked = replace(question, source=source)
        prediction = _predicted(topology, asked, connections, slots.__getitem__)
        if prediction.established is None:
            return _Opened(slots, established, prediction.unknown)
        slots.update({load.scope: load.admitted for load in prediction.limiters})
        established[source] = prediction.established
    return _Opened(slots, established)


def _predicted(topology: Topology, question: Question, connections: int, in_use: InUse) -> Prediction:
    return predict(
        topology,
        connections,
        source=question.source,
        server=question.server,
        protocol=question.protocol,
        in_use=in_use,
    )

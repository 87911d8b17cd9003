"""How far a burst without end comes on a topology, and what stops it: predictions only, no number of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lab.capacity.predict import InUse, Prediction, predict
from lab.nodes.proposals import Question, Threshold
from lab.paths.routes import paths
from lab.topology import Topology

__all__ = ["shared_threshold", "threshold"]

_ENDLESS = 1 << 40
"""More connections than any topology carries."""


def _nothing(_: str) -> int:
    return 0


def threshold(topology: Topology, question: Question, in_use: InUse = _nothing) -> Threshold:
    """The threshold of a burst without end, as `lab.capacity.predict` has it."""
    endless = _predicted(topology, question, _ENDLESS, in_use)
    if endless.unknown or endless.drop_threshold is None:
        return Threshold(None, unknown=endless.unknown)
    at = endless.drop_threshold
    turns = len(paths(topology, question.function, question.server, question.protocol))
    kind = _predicted(topology, question, at + 1, in_use).bottleneck
    soon = _predicted(topology, question, at + turns, in_use)
    nodes = tuple(load.node for load in soon.limiters if load.refused and load.kind == kind)
    return Threshold(at, kind, nodes, dead_end=None if kind else next(iter(endless.dead_ends), None))


def shared_threshold(topology: Topology, question: Question, others: Sequence[str]) -> Threshold:
    """The threshold while other functions hold as many connections to the same server as this one."""
    alone = threshold(topology, question)
    if alone.held is None:
        return alone
    low, high = 0, alone.held + 1  # it holds `low` beside the others, and not `high`
    while high - low > 1:
        middle = (low + high) // 2
        beside = threshold(topology, question, _held_by(topology, question, others, middle))
        low, high = (middle, high) if beside.held is None or beside.held >= middle else (low, middle)
    beside = threshold(topology, question, _held_by(topology, question, others, low + 1))
    return Threshold(low, beside.kind, beside.nodes, beside.unknown, beside.dead_end)


def _held_by(topology: Topology, question: Question, others: Sequence[str], connections: int) -> InUse:
    """What these functions hold of each limiter with so many connections each."""
    held: dict[str, int] = {}
    for function in others if connections else ():
        prediction = _predicted(topology, Question(function, question.server, question.protocol), connections, _nothing)
        for load in prediction.limiters:
            held[load.node] = held.get(load.node, 0) + load.admitted
    return lambda node: held.get(node, 0)


def _predicted(topology: Topology, question: Question, connections: int, in_use: InUse) -> Prediction:
    return predict(
        topology,
        connections,
        function=question.function,
        server=question.server,
        protocol=question.protocol,
        in_use=in_use,
    )

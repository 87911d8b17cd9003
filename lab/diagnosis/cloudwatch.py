"""What CloudWatch would show of the nodes that it has metrics of, in its metrics' names, and what it cannot show. Pure.

Which metrics tell of a limit is stated by its node kind (`lab.nodes.KIND.diagnosis`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.metrics import grown
from lab.metrics.numbers import LEVELS
from lab.nodes.diagnosis import LimitState, connections, limit_words, limiting_kinds, words_of
from lab.nodes.registry import kind_of
from lab.observe.samples import Sample
from lab.slots.counters import NatNode

__all__ = ["NodeMetrics", "blind_spot", "is_metered", "metrics"]


@dataclass(frozen=True, slots=True)
class NodeMetrics:
    """One node's metrics under CloudWatch's names."""

    node: str
    kind: str
    values: Mapping[str, int]
    """CloudWatch's name → the sum since `up`, or of a run; of active connections the most in the samples."""


def is_metered(kind: str) -> bool:
    """Whether a metric of CloudWatch's tells of the limit of this kind of node."""
    return bool((words := limit_words(kind)) and words.metrics)


def metrics(nodes: Sequence[NatNode], before: Sample | None, samples: Sequence[Sample]) -> Iterator[NodeMetrics]:
    """Metrics of each node that CloudWatch has metrics of; what was counted `before` is subtracted."""
    for node in nodes:
        known = [sample for sample in samples if node.node in sample.nodes]
        if is_metered(node.kind) and known:
            values = {name: _value(name, node.node, before, known) for name in words_of(node.kind).metrics}
            yield NodeMetrics(node.node, node.kind, values)


def _value(name: str, node: str, before: Sample | None, known: Sequence[Sample]) -> int:
    if name in LEVELS:
        return max(LEVELS[name](sample.nodes[node], ()) for sample in known)
    return grown(name, node, before, known[-1])


def blind_spot(reached: Sequence[LimitState], shown: Sequence[NodeMetrics]) -> str:
    """Sentences on the limits that no CloudWatch metric shows."""
    healthy = " and ".join(_health(shown))
    return " ".join(_unseen(reached, healthy))


def _unseen(reached: Sequence[LimitState], healthy: str) -> Iterator[str]:
    for kind, words in limiting_kinds().items():
        full = [limit for limit in reached if limit.kind == kind]
        nodes = ", ".join(dict.fromkeys(limit.node for limit in full))
        refused = connections(sum(limit.refused_connections for limit in full))
        told = words.blind_spot.format(healthy=healthy, nodes=nodes, connections=refused)
        if sentence := told if full else words.no_blind_spot:
            yield sentence


def _health(shown: Sequence[NodeMetrics]) -> Iterator[str]:
    """For each kind with a metric of its limit: whether that metric is above 0, or that there is no such node."""
    for kind, words in limiting_kinds().items():
        values = [node.values for node in shown if node.kind == kind]
        if not words.metric:
            continue
        if not values:
            yield f"there is no {kind_of(kind).words} to look at"
        elif any(value[words.metric] for value in values):
            yield f"{words.metric} tells of the {kind_of(kind).words} alone"
        else:
            yield f"{words.metric} is 0, so CloudWatch looks healthy"

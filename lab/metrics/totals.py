"""What a metric has come to between two samples, without periods: of a lab since `up`, of a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lab.metrics.folding import comparable
from lab.metrics.numbers import COUNTS
from lab.observe.samples import Sample

__all__ = ["grown", "total"]


def grown(metric: str, node: str, before: Sample | None, after: Sample) -> int:
    """How much a node has counted of a metric; from its making without an earlier sample, 0 if it is gone."""
    now = after.nodes.get(node)
    if now is None:
        return 0
    count, then = COUNTS[metric], before.nodes.get(node) if before is not None else None
    return max(0, count(now) - (count(comparable(then, now)) if then is not None else 0))


def total(metric: str, nodes: Iterable[str], samples: Sequence[Sample]) -> int | None:
    """What several nodes have counted of a metric, from the first sample to the last; None without samples."""
    if not samples:
        return None
    return sum(grown(metric, node, samples[0], samples[-1]) for node in nodes)

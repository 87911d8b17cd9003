"""What a metric is, and where each node kind states its own: `METRICS` in `lab.nodes.KIND.metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Literal

from lab.nodes.registry import KINDS

__all__ = ["REFUSED_PACKETS", "Metric", "metrics_of_all_kinds"]

REFUSED_PACKETS = "nft counters refused_packets_*"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one kind of node."""

    name: str
    unit: Literal["Count", "Bytes"]
    statistic: Literal["Maximum", "Minimum", "Sum"]
    """Which statistic of a period its points are; of AWS's metrics the one that AWS calls the most useful."""
    kind: str
    """The kind of the nodes that have it."""
    reported: bool
    """Whether AWS reports it."""
    meaning: str
    source: str
    """Which numbers of the kernel it is, in the node's namespace."""


@cache
def metrics_of_all_kinds() -> tuple[Metric, ...]:
    """All metrics: first those that AWS reports, each kind's in its own order."""
    modules = [f"lab.nodes.{kind.name}.metrics" for kind in KINDS]
    metrics: list[Metric] = [metric for name in modules if find_spec(name) for metric in import_module(name).METRICS]
    return tuple(sorted(metrics, key=lambda metric: not metric.reported))

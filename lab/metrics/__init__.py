"""What CloudWatch shows of a NAT gateway, under its names, and what it does not show of a Hyperplane ENI.

All of it is arithmetic on samples of kernel counters: nothing here reads a kernel, and nothing is made up.
"""

from __future__ import annotations

from lab.metrics.folding import Point, Series, fold, fold_last, since
from lab.metrics.table import METRICS, NOT_REPORTED, Metric
from lab.metrics.totals import grown, total

__all__ = ["METRICS", "NOT_REPORTED", "Metric", "Point", "Series", "fold", "fold_last", "grown", "since", "total"]

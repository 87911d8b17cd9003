"""The table of metrics: names, units and meanings as AWS has them, and which numbers of the kernel they are.

Names, units and statistics of NAT gateways: Amazon VPC user guide, "NAT gateway metrics and dimensions". AWS publishes
no metric of Hyperplane ENIs; those are the lab's own.
"""

from __future__ import annotations

from lab.nodes.metric import Metric, metrics_of_all_kinds

__all__ = ["METRICS", "NOT_REPORTED", "Metric"]

NOT_REPORTED = "not reported by AWS"
"""The note beside the lab's own metrics, wherever they are shown."""

METRICS = metrics_of_all_kinds()
"""All of them, in the order in which they are shown."""

"""Series as CloudWatch's GetMetricData answers: what reads the one reads the other.

The shape is that of the API (Amazon CloudWatch API Reference, "GetMetricData", "MetricDataResult"), the timestamps are
as the AWS CLI prints them (`cli_timestamp_format = iso8601`, its default).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
import re
from typing import Any

from lab.metrics.folding import Series
from lab.metrics.table import NOT_REPORTED

__all__ = ["get_metric_data"]


def get_metric_data(series: Iterable[Series]) -> dict[str, Any]:
    """The document; the newest values come first, as the API has them unless it is asked otherwise (ScanBy).

    What AWS does not report comes last, and its label says so.
    """
    ordered = sorted(series, key=lambda metric_series: not metric_series.metric.reported)
    return {"MetricDataResults": [_result(metric_series) for metric_series in ordered], "Messages": []}


def _result(series: Series) -> dict[str, Any]:
    return {
        "Id": _id(series),
        "Label": _label(series),
        "Timestamps": [datetime.fromtimestamp(point.start_s, UTC).isoformat() for point in reversed(series.points)],
        "Values": [point.value for point in reversed(series.points)],
        "StatusCode": "Complete",
    }


def _id(series: Series) -> str:
    """A small letter first, then letters, digits and underscores (MetricDataQuery, "Id"): `headroom_eni_private_a`."""
    name = series.metric.name
    return re.sub(r"\W", "_", f"{name[0].lower()}{name[1:]}_{series.node}", flags=re.ASCII)


def _label(series: Series) -> str:
    label = f"{series.node} {series.metric.name}"
    return label if series.metric.reported else f"{label} ({NOT_REPORTED})"

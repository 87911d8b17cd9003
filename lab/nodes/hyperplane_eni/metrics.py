"""What the lab counts of Hyperplane ENIs: AWS reports none of it."""

from __future__ import annotations

from lab.nodes.hyperplane_eni import KIND
from lab.nodes.metric import REFUSED_PACKETS, Metric

__all__ = ["METRICS"]

METRICS = (
    Metric(
        "Connections",
        "Count",
        "Maximum",
        KIND.name,
        reported=False,
        meaning="connections that hold a slot, TCP and UDP, open or half-open",
        source="nft sets of slots: their number of elements",
    ),
    Metric(
        "ConnectionsRefused",
        "Count",
        "Sum",
        KIND.name,
        reported=False,
        meaning="connections that found no slot, each once, however many SYNs it sent",
        source="nft counters refused_connections_*",
    ),
    Metric(
        "PacketsRefused",
        "Count",
        "Sum",
        KIND.name,
        reported=False,
        meaning="packets of new connections that found no slot: every SYN, and datagrams",
        source=REFUSED_PACKETS,
    ),
    Metric(
        "Headroom",
        "Count",
        "Minimum",
        KIND.name,
        reported=False,
        meaning="slots that are free; where each destination has a limit of its own, those of the fullest",
        source="nft sets of slots: their size less their number of elements",
    ),
)

"""What the lab counts of servers with a limit of connections.

RDS reports the first of a database, as DatabaseConnections.
"""

from __future__ import annotations

from lab.nodes.metric import Metric
from lab.nodes.server import KIND

__all__ = ["METRICS"]

METRICS = (
    Metric(
        "Connections",
        "Count",
        "Maximum",
        KIND.name,
        reported=False,
        meaning="TCP connections that the server keeps; of a database RDS reports it as DatabaseConnections",
        source="nft set connections: its number of elements",
    ),
    Metric(
        "ConnectionsRefused",
        "Count",
        "Sum",
        KIND.name,
        reported=False,
        meaning="connections that came when the server was full, each once, however many SYNs it sent",
        source="nft counter refused_connections_connections",
    ),
    Metric(
        "Headroom",
        "Count",
        "Minimum",
        KIND.name,
        reported=False,
        meaning="how many more connections the server would keep",
        source="nft set connections: its size less its number of elements",
    ),
)

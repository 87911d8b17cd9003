"""The table of metrics: names, units and meanings as AWS has them, and which numbers of the kernel they are.

Names, units and statistics of NAT gateways: Amazon VPC user guide, "NAT gateway metrics and dimensions". AWS publishes
no metric of Hyperplane ENIs; those are the lab's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["METRICS", "NOT_REPORTED", "Metric"]

NOT_REPORTED = "not reported by AWS"
"""What is said beside the lab's own metrics, wherever they are shown."""

_NAT, _ENI = "nat_gateway", "hyperplane_eni"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one kind of node."""

    name: str
    unit: Literal["Count", "Bytes"]
    statistic: Literal["Maximum", "Minimum", "Sum"]
    """Which statistic of a period its points are; of AWS's metrics the one that AWS calls the most useful."""
    kind: str
    """Of its nodes: `nat_gateway` or `hyperplane_eni`."""
    reported: bool
    """Whether AWS reports it."""
    meaning: str
    source: str
    """Which numbers of the kernel it is, in the node's namespace."""


_WAYS = (
    ("InFromSource", "received from clients in the VPC", "received", "inner"),
    ("OutToDestination", "sent to destinations", "sent", "outer"),
    ("InFromDestination", "received from destinations", "received", "outer"),
    ("OutToSource", "sent to clients in the VPC", "sent", "inner"),
)


def _bytes(way: str, meaning: str, column: str, interface: str) -> Metric:
    return Metric(
        f"Bytes{way}",
        "Bytes",
        "Sum",
        _NAT,
        reported=True,
        meaning=f"bytes {meaning}, from the IP header on",
        source=f"/proc/net/dev: bytes {column} by the {interface} interface, less 14 for each packet (Ethernet)",
    )


def _packets(way: str, meaning: str, column: str, interface: str) -> Metric:
    return Metric(
        f"Packets{way}",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning=f"packets {meaning}",
        source=f"/proc/net/dev: packets {column} by the {interface} interface",
    )


def _peak(what: str) -> Metric:
    return Metric(
        f"Peak{what}PerSecond",
        "Count",
        "Maximum",
        _NAT,
        reported=True,
        meaning=f"the highest 10-second average of {what.lower()} per second, received from both sides together",
        source=f"/proc/net/dev: received {what.lower()} of both interfaces, by windows of 10 s",
    )


_REFUSED = "nft counters refused_packets_*"

METRICS = (
    Metric(
        "ActiveConnectionCount",
        "Count",
        "Maximum",
        _NAT,
        reported=True,
        meaning="TCP connections that are established, neither closed nor fallen idle",
        source="nft counters connections_established and connections_closed, and conntrack entries marked active",
    ),
    Metric(
        "ConnectionAttemptCount",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning="TCP connections asked for: the initial SYN of each, not its retransmissions",
        source="nft counters connections_admitted, less connections_admitted_late, and refused_connections_*_tcp",
    ),
    Metric(
        "ConnectionEstablishedCount",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning="TCP connections whose handshake was completed, by whichever SYN",
        source="nft counter connections_established",
    ),
    Metric(
        "ErrorPortAllocation",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning="packets that found no source port for their destination: every SYN refused, and datagrams",
        source=f"{_REFUSED}; conntrack's insert_failed",
    ),
    Metric(
        "IdleTimeoutCount",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning="TCP connections forgotten after the idle timeout without a packet, not closed by FIN or RST",
        source="nft counters connections_established and connections_closed, and conntrack entries marked active",
    ),
    Metric(
        "PacketsDropCount",
        "Count",
        "Sum",
        _NAT,
        reported=True,
        meaning="packets received and neither forwarded nor answered, those without a port among them",
        source=f"{_REFUSED}, invalid_packets and other_packets; conntrack's drop",
    ),
    *(_bytes(*way) for way in _WAYS),
    *(_packets(*way) for way in _WAYS),
    _peak("Bytes"),
    _peak("Packets"),
    Metric(
        "Connections",
        "Count",
        "Maximum",
        _ENI,
        reported=False,
        meaning="connections that hold a slot, TCP and UDP, open or half-open",
        source="nft sets of slots: their number of elements",
    ),
    Metric(
        "ConnectionsRefused",
        "Count",
        "Sum",
        _ENI,
        reported=False,
        meaning="connections that found no slot, each once, however many SYNs it sent",
        source="nft counters refused_connections_*",
    ),
    Metric(
        "PacketsRefused",
        "Count",
        "Sum",
        _ENI,
        reported=False,
        meaning="packets of new connections that found no slot: every SYN, and datagrams",
        source=_REFUSED,
    ),
    Metric(
        "Headroom",
        "Count",
        "Minimum",
        _ENI,
        reported=False,
        meaning="slots that are free; where each destination has a limit of its own, those of the fullest",
        source="nft sets of slots: their size less their number of elements",
    ),
)
"""All of them, in the order in which they are shown."""

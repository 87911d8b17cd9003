"""The NAT gateway's metrics, as CloudWatch calls them (Amazon VPC user guide, "NAT gateway metrics")."""

from __future__ import annotations

from lab.nodes.metric import REFUSED_PACKETS, Metric
from lab.nodes.nat_gateway import KIND

__all__ = ["METRICS"]

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
        KIND.name,
        reported=True,
        meaning=f"bytes {meaning}, from the IP header on",
        source=f"/proc/net/dev: bytes {column} by the {interface} interface, less 14 for each packet (Ethernet)",
    )


def _packets(way: str, meaning: str, column: str, interface: str) -> Metric:
    return Metric(
        f"Packets{way}",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning=f"packets {meaning}",
        source=f"/proc/net/dev: packets {column} by the {interface} interface",
    )


def _peak(what: str) -> Metric:
    return Metric(
        f"Peak{what}PerSecond",
        "Count",
        "Maximum",
        KIND.name,
        reported=True,
        meaning=f"the highest 10-second average of {what.lower()} per second, received from both sides together",
        source=f"/proc/net/dev: received {what.lower()} of both interfaces, by windows of 10 s",
    )


METRICS = (
    Metric(
        "ActiveConnectionCount",
        "Count",
        "Maximum",
        KIND.name,
        reported=True,
        meaning="TCP connections that are established, neither closed nor fallen idle",
        source="nft counters connections_established and connections_closed, and conntrack entries marked active",
    ),
    Metric(
        "ConnectionAttemptCount",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning="TCP connections asked for: the initial SYN of each, not its retransmissions",
        source="nft counters connections_admitted, less connections_admitted_late, and refused_connections_*_tcp",
    ),
    Metric(
        "ConnectionEstablishedCount",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning="TCP connections whose handshake was completed, by whichever SYN",
        source="nft counter connections_established",
    ),
    Metric(
        "ErrorPortAllocation",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning="packets that found no source port for their destination: every SYN refused, and datagrams",
        source=f"{REFUSED_PACKETS}; conntrack's insert_failed",
    ),
    Metric(
        "IdleTimeoutCount",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning="TCP connections forgotten after the idle timeout without a packet, not closed by FIN or RST",
        source="nft counters connections_established and connections_closed, and conntrack entries marked active",
    ),
    Metric(
        "PacketsDropCount",
        "Count",
        "Sum",
        KIND.name,
        reported=True,
        meaning="packets received and neither forwarded nor answered, those without a port among them",
        source=f"{REFUSED_PACKETS}, invalid_packets and other_packets; conntrack's drop",
    ),
    *(_bytes(*way) for way in _WAYS),
    *(_packets(*way) for way in _WAYS),
    _peak("Bytes"),
    _peak("Packets"),
)

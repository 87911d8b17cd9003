"""Whose packet it is, and when it is reported: a tracker over places that are read one after the other."""

from __future__ import annotations

from traffic.engines.scapy.explain import NodeInterface
from traffic.engines.scapy.packets import Endpoint, Packet
from traffic.engines.scapy.tracker import Captured, Tracker
from traffic.packet_record import PacketRecord

FUNCTION = NodeInterface("fn-checkout", "svc", "fleet")
ENI_IN, ENI_OUT = (NodeInterface("eni-private-a", name, "hyperplane_eni") for name in ("svc", "vpc"))
CACHE, CLIENT_HERE, BEHIND_ENI = Endpoint("203.0.113.10", 443), Endpoint("100.65.0.0", 536), Endpoint("10.0.1.4", 536)


def syn(source: Endpoint = CLIENT_HERE, identification: int = 7) -> Packet:
    """A SYN to the cache."""
    return Packet("tcp", source, CACHE, identification, 44, "SYN")


def syn_ack(destination: Endpoint) -> Packet:
    """Its answer, which may bear any identification."""
    return Packet("tcp", CACHE, destination, 0, 44, "SYN-ACK")


class Reported:
    """A tracker and what it has reported."""

    def __init__(self) -> None:
        self.records: list[PacketRecord] = []
        self.tracker = Tracker(self.records.append)
        self.tracker.sent(4, syn())


def test_packets_are_known_on_both_sides_of_a_nat() -> None:
    """A SYN is known by its identification, and an answer by the client's address and port at that place."""
    reported = Reported()
    reported.tracker.captured(Captured(0.1, ENI_IN, leaving=False, packet=syn()))
    reported.tracker.captured(Captured(0.2, ENI_OUT, leaving=True, packet=syn(BEHIND_ENI)))
    reported.tracker.captured(Captured(0.3, ENI_OUT, leaving=False, packet=syn_ack(BEHIND_ENI)))
    reported.tracker.captured(Captured(0.4, ENI_IN, leaving=True, packet=syn_ack(CLIENT_HERE)))
    reported.tracker.report_until(1.0)
    assert [(record.connection, record.direction, record.meaning) for record in reported.records] == [
        (5, "in", "enters the Hyperplane ENI"),
        (5, "out", "translated to 10.0.1.4:536 by the Hyperplane ENI"),
        (5, "in", "enters the Hyperplane ENI"),
        (5, "out", "translated back to 100.65.0.0:536 by the Hyperplane ENI"),
    ]


def test_packets_are_known_on_both_sides_of_a_translated_destination() -> None:
    """An interface endpoint changes whom a packet is for, and back in the answer; both are said."""
    endpoint, known = Endpoint("10.0.1.5", 443), Endpoint("10.0.1.4", 536)
    inside, outside = (NodeInterface("vpce-cache", name, "interface_endpoint") for name in ("vpc", "inet"))
    reported = Reported()
    asked = Packet("tcp", known, endpoint, 7, 44, "SYN")
    reported.tracker.captured(Captured(0.1, inside, leaving=False, packet=asked))
    reported.tracker.captured(Captured(0.2, outside, leaving=True, packet=syn(known)))
    reported.tracker.captured(Captured(0.3, outside, leaving=False, packet=syn_ack(known)))
    reported.tracker.captured(
        Captured(0.4, inside, leaving=True, packet=Packet("tcp", endpoint, known, 0, 44, "SYN-ACK"))
    )
    reported.tracker.report_until(1.0)
    assert [record.meaning for record in reported.records] == [
        "enters the interface endpoint",
        "translated to 203.0.113.10:443 by the interface endpoint",
        "enters the interface endpoint",
        "translated back to 10.0.1.5:443 by the interface endpoint",
    ]


def test_others_are_not_told() -> None:
    """A packet that the engine has not sent, and one that answers nobody, are somebody else's."""
    reported = Reported()
    reported.tracker.captured(Captured(0.1, FUNCTION, leaving=True, packet=syn(identification=8)))
    reported.tracker.captured(Captured(0.2, FUNCTION, leaving=False, packet=syn_ack(BEHIND_ENI)))
    reported.tracker.report_until(1.0)
    assert reported.records == []


def test_order_of_time() -> None:
    """What is read later and was seen earlier is reported first; what is too young waits."""
    reported = Reported()
    reported.tracker.captured(Captured(0.2, ENI_IN, leaving=False, packet=syn()))
    reported.tracker.lost(4, 0.5)
    reported.tracker.captured(Captured(0.1, FUNCTION, leaving=True, packet=syn()))
    reported.tracker.report_until(0.1)
    assert [record.t_s for record in reported.records] == [0.1]
    reported.tracker.report_until(0.5)
    assert [(record.t_s, record.node, record.direction) for record in reported.records[1:]] == [
        (0.2, "eni-private-a", "in"),
        (0.5, "eni-private-a", "lost"),
    ]


def test_records_have_a_json_form() -> None:
    """An event `packet` is a record again."""
    reported = Reported()
    reported.tracker.captured(Captured(0.1, FUNCTION, leaving=True, packet=syn()))
    reported.tracker.report_until(1.0)
    (record,) = reported.records
    assert PacketRecord.from_json({"event": "packet", **record.to_json()}) == record
    assert (record.source, record.destination, record.length) == ("100.65.0.0:536", "203.0.113.10:443", 44)

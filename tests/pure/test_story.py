"""What packets mean, in the words of the table of `lab burst --engine scapy`: conversations told packet by packet."""

from __future__ import annotations

from typing import Any

import pytest

from traffic.engines.scapy.dissected import Dns, Endpoint, Packet
from traffic.engines.scapy.story import CLIENT, SERVER, Place, Side, Sight, Story

FUNCTION = Place("fn-checkout", "svc", "fleet")
RESOLVER = Place("resolver", "svc", "resolver")
ENI_IN = Place("eni-private-a", "svc", "hyperplane_eni")
ENI_OUT = Place("eni-private-a", "vpc", "hyperplane_eni")
NAT_IN = Place("natgw", "vpc", "nat_gateway")
NAT_OUT = Place("natgw", "inet", "nat_gateway")
SERVER_PLACE = Place("srv-cache", "inet", "server")

CLIENT_HERE = Endpoint("100.65.0.0", 536)
BEHIND_ENI = Endpoint("10.0.1.4", 536)
BEHIND_NAT = Endpoint("198.51.100.1", 1024)
CACHE = Endpoint("203.0.113.10", 443)

QUESTION = Dns(1, is_answer=False, name="cache.example.com")
ANSWER = Dns(1, is_answer=True, name="cache.example.com", address="203.0.113.10")
NO_ANSWER = Dns(1, is_answer=True, name="cache.example.com")


def sight(side: Side, place: Place, flags: str, client: Endpoint = CLIENT_HERE, **more: Any) -> Sight:
    """A packet at a place; it leaves unless it is said to come in."""
    source, destination = (client, CACHE) if side == CLIENT else (CACHE, client)
    t_s, leaving = more.pop("t_s", 0.0), more.pop("leaving", True)
    protocol: Any = "udp" if flags in ("DNS", "UDP") else "tcp"
    return Sight(t_s, place, leaving, side, Packet(protocol, source, destination, 1, 44, flags, **more))


def said(side: Side, flags: str, t_s: float = 0.0, **more: Any) -> Sight:
    """A packet where it begins its way."""
    place = FUNCTION if side == CLIENT else RESOLVER if flags == "DNS" else SERVER_PLACE
    return sight(side, place, flags, t_s=t_s, **more)


def told(*sights: Sight) -> list[str]:
    """What a story says of them, one after the other."""
    story = Story()
    return [story.tell(each) for each in sights]


def test_a_whole_conversation() -> None:
    """Question, handshake, request, goodbye: a sentence each."""
    assert told(
        said(CLIENT, "DNS", dns=QUESTION),
        said(SERVER, "DNS", dns=ANSWER),
        said(CLIENT, "SYN"),
        said(SERVER, "SYN-ACK"),
        said(CLIENT, "ACK"),
        said(CLIENT, "PSH-ACK", payload_bytes=43),
        said(SERVER, "PSH-ACK", payload_bytes=118),
        said(CLIENT, "ACK"),
        said(CLIENT, "FIN-ACK"),
        said(SERVER, "FIN-ACK", sequence=0xFFFFFFFF),
        said(CLIENT, "ACK", acknowledgement=0),
    ) == [
        "asks the resolver for cache.example.com",
        "the resolver answers 203.0.113.10: DNS works",
        "connection request",
        "accepted",
        "handshake complete: established",
        "request",
        "response",
        "acknowledged",
        "goodbye",
        "goodbye as well",
        "both have said goodbye: closed",
    ]


def test_a_request_that_nobody_answers() -> None:
    """Each SYN after the first says how much later it comes, which shows the doubling."""
    assert told(
        said(CLIENT, "SYN"), said(CLIENT, "SYN", 1.04), said(CLIENT, "SYN", 3.01), said(CLIENT, "SYN", 3.21)
    ) == [
        "connection request",
        "connection request again, 1 s later: nobody answered",
        "connection request again, 2 s later: nobody answered",
        "connection request again, 0.2 s later: nobody answered",
    ]


def test_half_close() -> None:
    """The last request is answered after the goodbye; its acknowledgement is not the end, that of the FIN is."""
    assert told(
        said(CLIENT, "SYN"),
        said(SERVER, "SYN-ACK"),
        said(CLIENT, "ACK"),
        said(CLIENT, "FIN-PSH-ACK", payload_bytes=43),
        said(SERVER, "PSH-ACK", sequence=1, payload_bytes=118),
        said(SERVER, "FIN-ACK", sequence=119),
        said(CLIENT, "ACK", acknowledgement=119),
        said(CLIENT, "ACK", acknowledgement=120),
    )[3:] == [
        "last request and goodbye in one: half-closed",
        "response",
        "goodbye as well",
        "acknowledged",
        "both have said goodbye: closed",
    ]


@pytest.mark.parametrize(
    ("before", "last", "meaning"),
    [
        ([], said(SERVER, "DNS", dns=NO_ANSWER), "the resolver answers once more"),
        ([said(CLIENT, "DNS", dns=QUESTION)], said(SERVER, "DNS", dns=NO_ANSWER), "the resolver knows no address of …"),
        ([said(CLIENT, "DNS", dns=QUESTION)], said(CLIENT, "DNS", 1.0, dns=QUESTION), "asks the resolver again, 1 s …"),
        ([said(CLIENT, "SYN")], said(SERVER, "RST-ACK"), "refused: the server takes no connections"),
        ([said(CLIENT, "SYN"), said(SERVER, "SYN-ACK")], said(SERVER, "RST"), "reset by the server"),
        ([said(CLIENT, "SYN"), said(SERVER, "SYN-ACK")], said(CLIENT, "RST-ACK"), "reset: ends the connection …"),
        ([said(CLIENT, "SYN"), said(SERVER, "SYN-ACK")], said(CLIENT, "SYN", 1.0), "connection request again, 1 s …"),
        ([said(CLIENT, "SYN"), said(SERVER, "RST-ACK")], said(CLIENT, "SYN", 5.0), "connection request"),
        (
            [said(CLIENT, "SYN"), said(SERVER, "SYN-ACK"), said(CLIENT, "ACK")],
            said(SERVER, "ACK", payload_bytes=6),
            "more of the response",
        ),
        ([], said(CLIENT, "UDP"), "first datagram"),
        ([said(CLIENT, "UDP")], said(CLIENT, "UDP", 1.0), "first datagram again, 1 s later: nobody answered"),
        ([said(CLIENT, "UDP")], said(SERVER, "UDP"), "answered"),
        ([said(CLIENT, "UDP"), said(SERVER, "UDP")], said(CLIENT, "UDP"), "request"),
        ([], said(SERVER, "FIN-ACK"), "out of turn"),
    ],
)
def test_what_else_may_happen(before: list[Sight], last: Sight, meaning: str) -> None:
    """What a packet means depends on what was said before."""
    found = told(*before, last)[-1]
    assert found == meaning or (meaning.endswith("…") and found.startswith(meaning.removesuffix("…")))


def test_the_way_through_both_nats() -> None:
    """A SYN enters, is translated, and arrives; its answer is translated back."""
    assert told(
        sight(CLIENT, FUNCTION, "SYN"),
        sight(CLIENT, ENI_IN, "SYN", leaving=False),
        sight(CLIENT, ENI_OUT, "SYN", BEHIND_ENI),
        sight(CLIENT, NAT_IN, "SYN", BEHIND_ENI, leaving=False),
        sight(CLIENT, NAT_OUT, "SYN", BEHIND_NAT),
        sight(CLIENT, SERVER_PLACE, "SYN", BEHIND_NAT, leaving=False),
        sight(SERVER, SERVER_PLACE, "SYN-ACK", BEHIND_NAT),
        sight(SERVER, NAT_OUT, "SYN-ACK", BEHIND_NAT, leaving=False),
        sight(SERVER, NAT_IN, "SYN-ACK", BEHIND_ENI),
        sight(SERVER, FUNCTION, "SYN-ACK", leaving=False),
    ) == [
        "connection request",
        "enters the Hyperplane ENI",
        "translated to 10.0.1.4:536 by the Hyperplane ENI",
        "enters the NAT gateway",
        "translated to 198.51.100.1:1024 by the NAT gateway",
        "arrives at the server",
        "accepted",
        "enters the NAT gateway",
        "translated back to 10.0.1.4:536 by the NAT gateway",
        "arrives at the function",
    ]


@pytest.mark.parametrize(
    ("last", "meaning"),
    [
        (
            sight(CLIENT, ENI_IN, "SYN", leaving=False),
            "last seen entering eni-private-a; it never left: dropped there",
        ),
        (sight(CLIENT, ENI_OUT, "SYN"), "last seen leaving eni-private-a; nobody got it: lost on the link"),
        (sight(CLIENT, SERVER_PLACE, "SYN", leaving=False), "last seen arriving at srv-cache; nobody there answered"),
        (sight(CLIENT, FUNCTION, "SYN"), "last seen leaving fn-checkout; nobody got it: lost on the link"),
    ],
)
def test_where_it_was_lost(last: Sight, meaning: str) -> None:
    """A conversation that nobody answered ends where it was last seen."""
    story = Story()
    story.tell(last)
    assert story.lost() == meaning


def test_nobody_saw_anything() -> None:
    """Of a conversation without a packet there is nothing to say."""
    assert Story().lost() is None

"""What packets mean, in the words of the table of `lab burst --engine scapy`: conversations told packet by packet."""

from __future__ import annotations

from typing import Any

import pytest

from traffic.engines.scapy.explain import CLIENT, SERVER, Explainer, NodeInterface, Observation, Side
from traffic.engines.scapy.packets import Dns, Endpoint, Packet

FUNCTION = NodeInterface("fn-checkout", "svc", "fleet")
RESOLVER = NodeInterface("resolver", "svc", "resolver")
ENI_IN = NodeInterface("eni-private-a", "svc", "hyperplane_eni")
ENI_OUT = NodeInterface("eni-private-a", "vpc", "hyperplane_eni")
NAT_IN = NodeInterface("natgw", "vpc", "nat_gateway")
NAT_OUT = NodeInterface("natgw", "inet", "nat_gateway")
SERVER_PLACE = NodeInterface("srv-cache", "inet", "server")

CLIENT_HERE = Endpoint("100.65.0.0", 536)
BEHIND_ENI = Endpoint("10.0.1.4", 536)
BEHIND_NAT = Endpoint("198.51.100.1", 1024)
CACHE = Endpoint("203.0.113.10", 443)

QUESTION = Dns(1, is_answer=False, name="cache.example.com")
ANSWER = Dns(1, is_answer=True, name="cache.example.com", address="203.0.113.10")
NO_ANSWER = Dns(1, is_answer=True, name="cache.example.com")


def observation(
    side: Side, interface: NodeInterface, flags: str, client: Endpoint = CLIENT_HERE, **more: Any
) -> Observation:
    """A packet at a place; it leaves unless it is said to come in."""
    source, destination = (client, CACHE) if side == CLIENT else (CACHE, client)
    t_s, leaving = more.pop("t_s", 0.0), more.pop("leaving", True)
    protocol: Any = "udp" if flags in ("DNS", "UDP") else "tcp"
    return Observation(t_s, interface, leaving, side, Packet(protocol, source, destination, 1, 44, flags, **more))


def sent(side: Side, flags: str, t_s: float = 0.0, **more: Any) -> Observation:
    """A packet where it begins its way."""
    place = FUNCTION if side == CLIENT else RESOLVER if flags == "DNS" else SERVER_PLACE
    return observation(side, place, flags, t_s=t_s, **more)


def explained(*observations: Observation) -> list[str]:
    """What an explainer says of them, one after the other."""
    explainer = Explainer()
    return [explainer.explain(observed) for observed in observations]


def test_a_whole_conversation() -> None:
    """Question, handshake, request, goodbye: a sentence each."""
    assert explained(
        sent(CLIENT, "DNS", dns=QUESTION),
        sent(SERVER, "DNS", dns=ANSWER),
        sent(CLIENT, "SYN"),
        sent(SERVER, "SYN-ACK"),
        sent(CLIENT, "ACK"),
        sent(CLIENT, "PSH-ACK", payload_bytes=43),
        sent(SERVER, "PSH-ACK", payload_bytes=118),
        sent(CLIENT, "ACK"),
        sent(CLIENT, "FIN-ACK"),
        sent(SERVER, "FIN-ACK", sequence=0xFFFFFFFF),
        sent(CLIENT, "ACK", acknowledgement=0),
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


def test_a_server_that_closes_first() -> None:
    """The client's FIN is the answer to the server's."""
    assert explained(
        sent(CLIENT, "SYN"),
        sent(SERVER, "SYN-ACK"),
        sent(CLIENT, "ACK"),
        sent(SERVER, "FIN-ACK", sequence=1),
        sent(CLIENT, "FIN-ACK", acknowledgement=2),
        sent(SERVER, "ACK"),
    )[3:] == ["the server says goodbye first", "goodbye as well", "acknowledged"]


def test_a_request_that_nobody_answers() -> None:
    """Each SYN after the first says how much later it comes, which shows the doubling."""
    assert explained(
        sent(CLIENT, "SYN"), sent(CLIENT, "SYN", 1.04), sent(CLIENT, "SYN", 3.01), sent(CLIENT, "SYN", 3.21)
    ) == [
        "connection request",
        "connection request again, 1 s later: no answer came",
        "connection request again, 2 s later: no answer came",
        "connection request again, 0.2 s later: no answer came",
    ]


def test_half_close() -> None:
    """The last request is answered after the goodbye; its acknowledgement is not the end, that of the FIN is."""
    assert explained(
        sent(CLIENT, "SYN"),
        sent(SERVER, "SYN-ACK"),
        sent(CLIENT, "ACK"),
        sent(CLIENT, "FIN-PSH-ACK", payload_bytes=43),
        sent(SERVER, "PSH-ACK", sequence=1, payload_bytes=118),
        sent(SERVER, "FIN-ACK", sequence=119),
        sent(CLIENT, "ACK", acknowledgement=119),
        sent(CLIENT, "ACK", acknowledgement=120),
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
        ([], sent(SERVER, "DNS", dns=NO_ANSWER), "the resolver answers once more"),
        ([sent(CLIENT, "DNS", dns=QUESTION)], sent(SERVER, "DNS", dns=NO_ANSWER), "the resolver knows no address of …"),
        ([sent(CLIENT, "DNS", dns=QUESTION)], sent(CLIENT, "DNS", 1.0, dns=QUESTION), "asks the resolver again, 1 s …"),
        ([sent(CLIENT, "SYN")], sent(SERVER, "RST-ACK"), "refused: the server takes no connections"),
        ([sent(CLIENT, "SYN"), sent(SERVER, "SYN-ACK")], sent(SERVER, "RST"), "reset by the server"),
        ([sent(CLIENT, "SYN"), sent(SERVER, "SYN-ACK")], sent(CLIENT, "RST-ACK"), "reset: ends the connection …"),
        ([sent(CLIENT, "SYN"), sent(SERVER, "SYN-ACK")], sent(CLIENT, "SYN", 1.0), "connection request again, 1 s …"),
        ([sent(CLIENT, "SYN"), sent(SERVER, "RST-ACK")], sent(CLIENT, "SYN", 5.0), "connection request"),
        (
            [sent(CLIENT, "SYN"), sent(SERVER, "SYN-ACK"), sent(CLIENT, "ACK")],
            sent(SERVER, "ACK", payload_bytes=6),
            "more of the response",
        ),
        ([], sent(CLIENT, "UDP"), "first datagram"),
        ([sent(CLIENT, "UDP")], sent(CLIENT, "UDP", 1.0), "first datagram again, 1 s later: no answer came"),
        ([sent(CLIENT, "UDP")], sent(SERVER, "UDP"), "answered"),
        ([sent(CLIENT, "UDP"), sent(SERVER, "UDP")], sent(CLIENT, "UDP"), "request"),
        ([], sent(SERVER, "FIN-ACK"), "out of turn"),
    ],
)
def test_what_else_may_happen(before: list[Observation], last: Observation, meaning: str) -> None:
    """What a packet means depends on what was said before."""
    explanation = explained(*before, last)[-1]
    assert explanation == meaning or (meaning.endswith("…") and explanation.startswith(meaning.removesuffix("…")))


def test_the_way_through_both_nats() -> None:
    """A SYN enters, is translated, and arrives; its answer is translated back."""
    assert explained(
        observation(CLIENT, FUNCTION, "SYN"),
        observation(CLIENT, ENI_IN, "SYN", leaving=False),
        observation(CLIENT, ENI_OUT, "SYN", BEHIND_ENI),
        observation(CLIENT, NAT_IN, "SYN", BEHIND_ENI, leaving=False),
        observation(CLIENT, NAT_OUT, "SYN", BEHIND_NAT),
        observation(CLIENT, SERVER_PLACE, "SYN", BEHIND_NAT, leaving=False),
        observation(SERVER, SERVER_PLACE, "SYN-ACK", BEHIND_NAT),
        observation(SERVER, NAT_OUT, "SYN-ACK", BEHIND_NAT, leaving=False),
        observation(SERVER, NAT_IN, "SYN-ACK", BEHIND_ENI),
        observation(SERVER, FUNCTION, "SYN-ACK", leaving=False),
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
            observation(CLIENT, ENI_IN, "SYN", leaving=False),
            "last seen entering eni-private-a; it never left: dropped there",
        ),
        (observation(CLIENT, ENI_OUT, "SYN"), "last seen leaving eni-private-a; it arrived nowhere: lost on the link"),
        (
            observation(CLIENT, SERVER_PLACE, "SYN", leaving=False),
            "last seen arriving at srv-cache; no answer left there",
        ),
        (observation(CLIENT, FUNCTION, "SYN"), "last seen leaving fn-checkout; it arrived nowhere: lost on the link"),
    ],
)
def test_where_it_was_lost(last: Observation, meaning: str) -> None:
    """A conversation that nobody answered ends where it was last seen."""
    explainer = Explainer()
    explainer.explain(last)
    assert explainer.lost() == meaning


def test_nobody_saw_anything() -> None:
    """Of a conversation without a packet there is nothing to say."""
    assert Explainer().lost() is None

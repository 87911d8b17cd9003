"""Connections that somebody else than their client ended: each cause, told from those that look alike."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from lab.burst.endings import Endings, NodeEndings
from lab.diagnosis.verdict import judge
from lab.diagnosis.words import NO_ROOM_HELPS
from tests.support.bursts import ENI_A, burst_result, eips, reading, seen, with_tcp
from traffic.result import InvocationCount, RequestCount

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.diagnosis.verdict import Verdict

NAT = NodeEndings("natgw", "nat_gateway", reset=3, idle_timeouts=3, idle_timeout_s=350, first_reset_s=351.26)
ENI = replace(NAT, node="eni-private-a", kind="hyperplane_eni")


def ended(endings: Endings, served: int = 7, answered: int = 7, **tcp: Any) -> BurstResult:
    """Ten invocations, whose connections ended so."""
    clients = replace(
        with_tcp(seen(10), **tcp),
        invocations=InvocationCount(10, served, 10 - served, 0),
        requests=RequestCount(10, answered),
    )
    return replace(burst_result(clients, reading(ENI_A, 10), reading(eips(1)[0], 10)), endings=endings)


def whole(verdict: Verdict) -> str:
    """All that it says."""
    return "\n".join((verdict.headline, *verdict.explanation, *verdict.remedies))


RESET: dict[str, Any] = {"established": 7, "reset": 3}


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (ended(Endings(nodes=(NAT,)), **RESET), "idle_timeout"),
        (ended(Endings(nodes=(replace(NAT, reset=0, dropped_packets=3),))), "idle_timeout"),
        (ended(Endings(nodes=(replace(NAT, reset=0, dropped_packets=3),)), 10, 10), "no_limit"),
        (ended(Endings(nodes=(replace(NAT, reset=0),)), 10, 10), "no_limit"),
        (ended(Endings(nodes=(replace(NAT, idle_timeouts=0),)), **RESET), "unknown_connections"),
        (ended(Endings(reset_by_server=3), **RESET), "reset_by_server"),
        (ended(Endings(closed_by_server=3), closed_by_server=3), "closed_by_server"),
        (ended(Endings(closed_by_server=10), 10, 10, closed_by_server=10, open=0), "no_limit"),
        (ended(Endings(nodes=(NAT,)), established=2, reset=3, timed_out=5), "silence"),
    ],
)
def test_causes(result: BurstResult, cause: str) -> None:
    """Who sent the RST or FIN, and whether it cost an answer, decides; not what the client saw."""
    assert judge(result).cause == cause


def test_an_idle_time_out() -> None:
    """Which node, when, how many, what CloudWatch shows, what helps, and what does not."""
    verdict = judge(ended(Endings(nodes=(NAT,)), **RESET))
    assert verdict.headline == "Idle time-out of natgw: 3 connections forgotten, and reset when their clients went on"
    text = whole(verdict)
    for told in (
        "natgw: 3 connections fell idle and were reset when they were used again, the first one 351.3 s after",
        "IdleTimeoutCount of natgw rises by 3",
        "The server sent no RST.",
        "more often than every 350 s",
        "What does not help: reuse of connections",
    ):
        assert told in text
    assert verdict.cause in NO_ROOM_HELPS


def test_an_idle_time_out_of_an_eni() -> None:
    """No metric shows it."""
    text = whole(judge(ended(Endings(nodes=(ENI,)), **RESET)))
    assert "No CloudWatch metric shows it" in text
    assert "IdleTimeoutCount" not in text


def test_one_of_several_idle_connections() -> None:
    """What fell idle and what was reset are two numbers; one connection is a singular."""
    node = replace(NAT, reset=1)
    text = whole(judge(ended(Endings(nodes=(node,)), 9, 9, established=9, reset=1)))
    assert "1 connection forgotten, and reset when its client went on" in text
    assert "3 connections fell idle; 1 of them was reset when it was used again" in text


def test_resets_for_two_reasons() -> None:
    """A node that reset more connections than fell idle has told of both."""
    text = whole(judge(ended(Endings(nodes=(replace(NAT, reset=5),)), **RESET)))
    assert "natgw reset 2 connections that it did not know, and not because they were idle" in text


def test_a_server_that_answers_and_closes() -> None:
    """All connections were established, none is any more, and nothing is wrong."""
    verdict = judge(ended(Endings(closed_by_server=10), 10, 10, closed_by_server=10, open=0))
    assert verdict.headline.startswith("No limit reached: all 10 connections were established")
    assert "The server closed 10 connections with a FIN before their clients did." in verdict.explanation


def test_resets_of_a_server_beside_a_limit_that_was_waited_out() -> None:
    """What failed is the server's doing; a limit that cost nobody a connection is told beside it."""
    full = reading(ENI_A, 10, 4, 2)
    result = burst_result(with_tcp(seen(12), established=9, reset=3, established_at_syn=(7, 2)), full, first=full)
    verdict = judge(replace(result, endings=Endings(reset_by_server=3)))
    assert verdict.cause == "reset_by_server"
    assert verdict.headline == "A limit was reached and waited out, and the server reset 3 connections"


def test_endings_by_the_server_beside_a_limit() -> None:
    """The limit is the headline; connections that the server closed are told below it."""
    full = reading(ENI_A, 10, 4, 2)
    result = replace(burst_result(seen(10, 2), full, first=full), endings=Endings(closed_by_server=7))
    assert "The server closed 7 connections with a FIN before their clients did." in judge(result).explanation


UNUSED = replace(NAT, reset=0, first_reset_s=None)
"""It forgot 3 connections, and nobody has gone on with them."""


def test_connections_that_fell_idle_are_not_established_at_the_same_time() -> None:
    """Clients that send nothing do not notice that a NAT node has forgotten their connections; the kernel tells."""
    verdict = judge(ended(Endings(nodes=(UNUSED,)), 10, 10))
    assert verdict.cause == "no_limit"
    assert "at the same time" not in verdict.headline
    assert "natgw forgot 3 connections that had no packet for 350 s: the slots are free" in whole(verdict)


def test_slots_that_idle_connections_gave_up() -> None:
    """Those that waited for a slot got one of a connection that fell idle, not of one that was closed."""
    full = reading(ENI_A, 10, 4, 2)
    waited = with_tcp(seen(12), established_at_syn=(10, 2))
    verdict = judge(replace(burst_result(waited, full, first=full), endings=Endings(nodes=(UNUSED,))))
    assert verdict.cause == "waited_out"
    assert "others fell idle and were forgotten before" in whole(verdict)
    assert "closed" not in whole(verdict)


def test_an_idle_time_out_beside_a_limit() -> None:
    """The limit is the headline, and the idle time-out is told below it."""
    full = reading(ENI_A, 10, 4, 2)
    result = burst_result(seen(10, 2), full, first=full)
    verdict = judge(replace(result, endings=Endings(nodes=(replace(NAT, reset=1, idle_timeouts=1),))))
    assert verdict.cause == "limit"
    assert "natgw: 1 connection fell idle and was reset when it was used again" in whole(verdict)


def test_a_record_from_before_endings_were_counted() -> None:
    """It does not say who reset a connection."""
    assert "3 connections were reset; by whom is not on record." in whole(judge(ended(Endings(), **RESET)))

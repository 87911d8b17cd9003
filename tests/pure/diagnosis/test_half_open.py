"""Half-open connections that hold slots: when they are the cause of refusals, and what is said of them then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.diagnosis.evidence import of_burst
from lab.diagnosis.findings import find
from lab.diagnosis.verdict import Verdict, judge
from lab.observe.readings import Reading
from lab.slots.fill import Fill, HalfOpen
from lab.slots.limiter import Limiter
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen, with_tcp
from tests.support.tiny_lab import explained, limiters
from traffic.result import EngineResult

SMALL_A, SMALL_B = (replace(each, limit=20) for each in (ENI_A, ENI_B))
NAT = replace(eips(1)[0], limit=30)


def half_open(slots: int, earlier: int = 0, to: str = "cache") -> tuple[HalfOpen, ...]:
    """So many to one server, some of them left from before."""
    return (HalfOpen(to, slots, oldest_s=12, free_s=108, timeout_s=120, earlier=earlier),)


def refusing(limiter: Limiter, refused: int, slots: int, earlier: int = 0, to: str = "cache") -> Reading:
    """A limiter that is full, and what it refused while so many of its slots were half-open."""
    fill = Fill(limiter.limit - slots, half_open(slots, earlier, to) if slots else ())
    return replace(reading(limiter, limiter.limit, refused, refused), fill=fill)


def cause(*readings: Reading, clients: EngineResult | None = None) -> str:
    """Why a burst lost connections whose limiters are so, the first of which refused first."""
    clients = clients or seen(10, sum(each.refused_connections for each in readings))
    return find(of_burst(burst_result(clients, *readings, first=readings[0]))).cause


def verdict(*readings: Reading, before: tuple[Reading, ...] = ()) -> Verdict:
    """The verdict on such a burst."""
    clients = seen(10, sum(each.refused_connections for each in readings))
    return judge(burst_result(clients, *readings, first=readings[0], held_before=before))


def said(of: Verdict) -> str:
    """How it explains itself."""
    return " ".join(of.explanation)


# ── When they are the cause ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("refused", "slots", "is_it"),
    [(5, 5, "half_open_slots"), (5, 4, "limit"), (1, 20, "half_open_slots"), (21, 20, "limit"), (5, 0, "limit")],
)
def test_counterfactual(refused: int, slots: int, is_it: str) -> None:
    """They are the cause where each connection that was refused would have had the slot of one that was half-open."""
    assert cause(refusing(SMALL_A, refused, slots)) == is_it


def test_each_limiter_by_itself() -> None:
    """Slots that are free in one ENI are no room in another."""
    assert cause(refusing(SMALL_A, 1, 9), refusing(SMALL_B, 2, 1)) == "limit"


def test_elastic_ips_share() -> None:
    """An Elastic IP spills over to the next one, so what is half-open in both is room for both."""
    first, second = (replace(each, limit=30) for each in eips(2))
    assert cause(refusing(first, 6, 2), refusing(second, 0, 4)) == "half_open_slots"


def test_elastic_ips_without_spill_over() -> None:
    """What is half-open in one is no room for connections that were given to another."""
    first, second = (replace(each, limit=30, spills_over=False) for each in eips(2))
    assert cause(refusing(first, 6, 2), refusing(second, 0, 4)) == "limit"
    assert cause(refusing(first, 2, 2), refusing(second, 4, 4)) == "half_open_slots"


def grown(refused: int, slots: int) -> Reading:
    """An ENI that has appeared beside `SMALL_A`, and gets its overflow."""
    return refusing(replace(SMALL_A, node="eni-private-a-2", of=SMALL_A.node), refused, slots)


@pytest.mark.parametrize(
    ("first", "second", "is_it"),
    [((0, 6), (2, 1), "half_open_slots"), ((0, 1), (3, 1), "limit"), ((4, 4), (2, 2), "half_open_slots")],
)
def test_an_eni_that_has_appeared(first: tuple[int, int], second: tuple[int, int], is_it: str) -> None:
    """It refuses what found no slot in either: a half-open slot of the first was room for it as well."""
    readings = refusing(SMALL_A, *first), grown(*second)
    lost = first[0] + second[0]
    of = judge(burst_result(seen(10, lost), *readings, first=readings[1]))
    assert of.cause == is_it
    if is_it == "half_open_slots":
        slots = first[1] + second[1]
        assert (
            of.headline
            == f"Half-open connections to cache hold {slots} of the 40 slots of eni-private-a, eni-private-a-2"
        )
        assert f"refused {lost} connections, and with those slots free would have refused none" in said(of)


def test_a_nat_gateway_that_refused_first() -> None:
    """What it refuses is half-open in the ENI; the first cause is its own limit."""
    assert cause(refusing(NAT, 10, 0), refusing(SMALL_A, 2, 10)) == "limit"


@pytest.mark.parametrize(("earlier", "is_it"), [(0, "limit"), (4, "limit"), (5, "half_open_slots")])
def test_syns_alone(earlier: int, is_it: str) -> None:
    """A burst of SYNs alone is asked to leave connections half-open: only those of others count."""
    clients = with_tcp(seen(0, 5), half_open=15, attempted=20)
    assert cause(refusing(SMALL_A, 5, 20, earlier), clients=clients) == is_it


@pytest.mark.parametrize(
    ("first_refusal_s", "is_it"), [(0.1, "half_open_slots"), (106.9, "half_open_slots"), (107, "limit")]
)
def test_expired_since(first_refusal_s: float, is_it: str) -> None:
    """Those that were there at the first refusal count, also if they expired while clients still waited.

    Their last SYN was 12 to 13 s ago and the timeout is 120 s: for 107 s after the reading all of them are there.
    """
    result = burst_result(seen(10, 5), reading(SMALL_A, 20, 5, 5), first=reading(SMALL_A, 20, 5, 5))
    limits = [
        replace(limit, fill=Fill(20), before=Fill(0, half_open(5, 5)), first_refusal_s=first_refusal_s)
        for limit in result.limits
    ]
    assert find(of_burst(replace(result, limits=tuple(limits)))).cause == is_it


def test_expired_in_part() -> None:
    """Of five that were there, two are still: all five count, and none twice."""
    result = burst_result(seen(10, 5), reading(SMALL_A, 20, 5, 5), first=reading(SMALL_A, 20, 5, 5))
    limit = replace(
        result.limits[0], fill=Fill(18, half_open(2, 2)), before=Fill(0, half_open(5, 5)), first_refusal_s=0
    )
    (state,) = of_burst(replace(result, limits=(limit,))).limits
    assert state.fill is not None
    assert (state.fill.half_open_slots, state.fill.half_open_earlier) == (5, 5)


def test_a_record_without_fills() -> None:
    """A record of an earlier version does not tell them apart, and so the limit is the cause."""
    assert cause(reading(SMALL_A, 20, 5, 5)) == "limit"


# ── In words ────────────────────────────────────────────────────────────────────────────────────────────────


def test_headline() -> None:
    """To whom they are, how many slots they hold, of which limiters."""
    told = verdict(refusing(SMALL_A, 5, 5), refusing(SMALL_B, 5, 6, to="store")).headline
    assert told == "Half-open connections to store and cache hold 11 of the 40 slots of eni-private-a, eni-private-b"


@pytest.mark.parametrize(
    ("slots", "earlier", "told"),
    [
        (5, 5, "They are left from before this burst."),
        (1, 1, "It is left from before this burst."),
        (5, 0, "They are of this burst."),
        (5, 1, "1 of them is left from before this burst, 4 of this burst."),
    ],
)
def test_whose_they_are(slots: int, earlier: int, told: str) -> None:
    """Those of this burst are told from those of earlier ones."""
    assert told in verdict(refusing(SMALL_A, 1, slots, earlier)).explanation


def test_refused_behind_it() -> None:
    """A NAT gateway that refused SYNs before is why their connections are half-open."""
    nat = reading(NAT, 10)
    of = verdict(refusing(SMALL_A, 5, 5, 5), nat, before=(reading(NAT, 0, 40, 10),))
    assert "natgw refused 10 connections to cache since `lab up`: their SYNs came no further." in of.explanation
    assert of.remedies[0].startswith("Give natgw room for more")


def test_refused_before_and_not_to_blame() -> None:
    """What a NAT gateway refused before this burst has not made a connection of this burst half-open."""
    of = verdict(refusing(SMALL_A, 5, 5), reading(NAT, 10), before=(reading(NAT, 0, 40, 10),))
    assert "natgw" not in said(of).partition("CloudWatch")[0]
    assert "the server is silent" in said(of)


def test_no_subnet() -> None:
    """More room is named as what does not help."""
    remedies = verdict(refusing(SMALL_A, 5, 5)).remedies
    assert [text for text in remedies if "subnet" in text] == [
        "Not another subnet: half-open connections fill that as well, only later."
    ]
    assert any("half_open_timeout" in text for text in remedies)


def test_beside_a_limit() -> None:
    """Where the limit is the cause, the verdict says how many would have been refused without them."""
    told = said(verdict(refusing(SMALL_A, 9, 5), refusing(SMALL_B, 3, 0)))
    assert "with those slots free, 4 would have been refused instead of 9" in told


def test_beside_a_limit_that_has_refused_none_lately() -> None:
    """What is half-open now has cost nobody a slot, and nothing is said of what would have been."""
    eni = limiters("eni-private-a")[0]
    told = explained(replace(reading(eni, 2, 6, 12), fill=Fill(0, half_open(2))))
    assert told.cause == "limit"
    assert "would have been refused" not in " ".join(told.details)


def test_held_before() -> None:
    """What was held when the burst began is named, whatever the cause is."""
    before = replace(reading(SMALL_A, 3), fill=Fill(3))
    told = said(verdict(refusing(SMALL_A, 9, 0), before=(before,)))
    assert "When the burst began, these were held already: eni-private-a 3 established." in told


def test_silence() -> None:
    """Connections that nobody answered and no limit refused: the slots that they hold are named."""
    eni = replace(reading(SMALL_A, 12), fill=Fill(0, half_open(12)))
    told = said(judge(burst_result(seen(0, 12), eni)))
    assert "12 of the 20 slots of eni-private-a are half-open, to cache: free again within 108 s." in told


def test_waited_for_another_eni() -> None:
    """Clients that waited until another ENI appeared beside the full one: nobody closed anything."""
    full, appeared = refusing(SMALL_A, 2, 0), replace(grown(0, 0), in_use=2)
    of = judge(burst_result(with_tcp(seen(22), established_at_syn=(20, 2)), full, appeared, first=full))
    assert of.cause == "waited_out"
    assert "No connection timed out: another Hyperplane ENI appeared before" in said(of)


def test_waited_out() -> None:
    """Clients that waited until half-open connections from before were forgotten: those are named with the others."""
    before = replace(reading(SMALL_A, 20), fill=Fill(0, half_open(20, 20)))
    full = replace(reading(SMALL_A, 20, 20, 20), fill=Fill(20))
    of = judge(burst_result(seen(20), full, held_before=(before,)))
    assert of.cause == "waited_out"
    assert "half-open ones from before this burst forgotten" in said(of)
    assert "eni-private-a 20 half-open to cache" in said(of)


# ── A lab that is up ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("lately", "is_it"), [(5, True), (6, False), (0, False)])
def test_live(lately: int, is_it: bool) -> None:  # noqa: FBT001
    """Of a lab that is up, what was refused lately is held against what is half-open now, not all since `up`."""
    eni = limiters("eni-private-a")[0]
    full = replace(reading(eni, 20, 90, 90), fill=Fill(15, half_open(5)), refused_lately=lately)
    explanation = explained(full)
    assert explanation.cause == ("half_open_slots" if is_it else "limit")
    assert bool(explanation.advice) == is_it

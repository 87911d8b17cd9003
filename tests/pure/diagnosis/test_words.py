"""Findings in words: which limit was reached, in singular and plural, and that every cause has words."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import lab
from lab.diagnosis.drops import CAUSES as DROPS
from lab.diagnosis.findings import CAUSES
from lab.diagnosis.verdict import judge
from lab.diagnosis.words import WORDS
from lab.impair.faults import Faults, Impairment
from lab.nodes.build import build
from lab.nodes.diagnosis import limiting_kinds
from lab.slots.limiter import Limiter
from tests.support.bursts import ENI_A, ENI_B, burst_result, eips, reading, seen
from tests.support.topologies import SHIPPED, shipped

ENDPOINT = replace(eips(1, "vpce-cache", limit=300)[0], kind="interface_endpoint", eip=None)


def headline(*full: Limiter) -> str:
    """Of a burst in which these limits were reached, the first of them first."""
    readings = [reading(limiter, limiter.limit, 4, 2) for limiter in full]
    return judge(burst_result(seen(100, 2 * len(full)), *readings, first=readings[0])).headline


@pytest.mark.parametrize(
    ("full", "told"),
    [
        ((ENI_A,), "Hyperplane ENI connection limit reached: eni-private-a, 65,000 connections"),
        (
            (ENI_A, ENI_B),
            "Hyperplane ENI connection limit reached: eni-private-a, eni-private-b, 65,000 connections each",
        ),
        ((replace(ENI_A, limit=1),), "Hyperplane ENI connection limit reached: eni-private-a, 1 connection"),
        (
            (replace(ENI_A, destination="cache"), replace(ENI_B, destination="cache")),
            "Hyperplane ENI connection limit reached: eni-private-a, eni-private-b, 65,000 connections each to cache",
        ),
        (
            (replace(ENI_A, destination="cache"), replace(ENI_A, destination="store")),
            (
                "Hyperplane ENI connection limit reached: eni-private-a, 65,000 connections to cache; "
                "eni-private-a, 65,000 connections to store"
            ),
        ),
        (eips(1), "NAT gateway port exhaustion: natgw with 1 Elastic IP, 55,000 connections to cache"),
        (eips(2), "NAT gateway port exhaustion: natgw with 2 Elastic IPs, 55,000 connections each to cache"),
        (
            (*eips(1, "nat-a"), *eips(2, "nat-b")),
            (
                "NAT gateway port exhaustion: nat-a with 1 Elastic IP, 55,000 connections to cache; "
                "nat-b with 2 Elastic IPs, 55,000 connections each to cache"
            ),
        ),
        ((ENDPOINT,), "Load balancer's limit reached: vpce-cache, 300 connections to cache"),
        (
            (ENDPOINT, replace(ENDPOINT, node="vpce-store", destination="store")),
            "Load balancer's limit reached: vpce-cache, 300 connections to cache; vpce-store, 300 connections to store",
        ),
    ],
)
def test_limits(full: tuple[Limiter, ...], told: str) -> None:
    """One full limit has so many connections; several that are alike have as many each."""
    assert headline(*full) == told


def test_one_elastic_ip_is_full() -> None:
    """Without spill-over the full one is named, with what the others have left; where all are full, none is."""
    one, other = (replace(each, spills_over=False) for each in eips(2, limit=20))
    uneven = reading(one, 20, 4, 2), reading(other, 7)
    verdict = judge(burst_result(seen(27, 2), *uneven, first=uneven[0]))
    assert verdict.headline.endswith("20 connections each to cache, of which 198.51.100.1 is full")
    assert "the 1 other Elastic IP of natgw has 13 ports left" in " ".join(verdict.explanation)
    both = reading(one, 20, 4, 2), reading(other, 20, 4, 2)
    assert judge(burst_result(seen(40, 4), *both, first=both[0])).headline == headline(*eips(2, limit=20))


SILENCE = Impairment("srv-cache", "inet", Faults(silence=True), 8)


@pytest.mark.parametrize(
    ("dropped", "told"),
    [
        (8, "4 connections timed out, for lab impair's faults dropped 8 packets: srv-cache inet, silence"),
        (3, "4 connections timed out, and no limiter refused them"),
    ],
)
def test_losses_that_are_a_fault_s(dropped: int, told: str) -> None:
    """A fault is the cause where it dropped a packet at least of each connection that timed out; else it is told."""
    verdict = judge(burst_result(seen(10, 4), impairments=(replace(SILENCE, dropped_packets=dropped),)))
    assert verdict.headline == told
    assert f"dropped {dropped} packets: srv-cache inet, silence" in " ".join((told, *verdict.explanation))


def test_every_cause_has_words() -> None:
    """A cause that is found can be told, and nothing is told that is never found."""
    assert list(WORDS) == list(CAUSES)


def test_whatever_limits_or_drops_has_words() -> None:
    """Each limiter and each drop counter of the topologies that ship can be told."""
    plans = [build(shipped(path.stem)) for path in SHIPPED]
    assert {limiter.kind for plan in plans for limiter in plan.limiters} <= set(limiting_kinds())
    assert {counter.kind for plan in plans for counter in plan.barriers} <= set(DROPS)


ROOMS = (
    "diagnosis",
    "trace",
    "report/charts.py",
    "report/clock.py",
    "report/tables.py",
    "runs/compare.py",
    "cli/burst_report.py",
    "cli/why.py",
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_new_kind_changes_nothing_here(room: str) -> None:
    """Who tells of limits asks the registry: no name of a kind that limits connections is in the code."""
    path = Path(lab.__file__).parent / room
    sources = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    constants = [node for source in sources for node in ast.walk(ast.parse(source.read_text()))]
    named = {node.value for node in constants if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert sources
    assert not named & (set(limiting_kinds()) - {"server"})  # also the name of fields

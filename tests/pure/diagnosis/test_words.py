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

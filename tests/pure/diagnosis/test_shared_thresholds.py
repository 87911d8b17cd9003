"""Thresholds beside functions that open as many connections: by search, against connections counted one by one."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.diagnosis.thresholds import shared_threshold, threshold
from lab.nodes.proposals import Question
from lab.paths.path import Path
from tests.support.examples import examples
from tests.support.one_by_one import LAYERS, LIMITS, counted, paths_through
from tests.support.topologies import function, topology

NAMES = ("api", "jobs", "cron")
MADE = topology({"private": "natgw"}, *(function(name, "private") for name in NAMES))
QUESTION = Question("api", "cache")

ENIS = st.lists(st.integers(0, 2), min_size=1, max_size=3, unique=True)
_BEHIND_ENIS = len(LAYERS) - 1
ROUTES = st.lists(st.lists(st.integers(0, 2), min_size=_BEHIND_ENIS, max_size=_BEHIND_ENIS), min_size=3, max_size=3)


def after_as_many(paths: dict[str, tuple[Path, ...]], sharers: Sequence[str], connections: int) -> tuple[bool, int]:
    """Whether `api` loses none of so many, after each of the sharers has opened as many; what those hold."""
    held: dict[str, int] = {}
    sharers_hold = sum(counted(paths[name], connections, held).established for name in sharers)
    return counted(paths["api"], connections, held).threshold is None, sharers_hold


@examples(150)
@given(limits=LIMITS, routes=ROUTES, enis=st.tuples(ENIS, ENIS, ENIS), sharers=st.integers(1, 2))
def test_as_counted_one_by_one(
    limits: dict[tuple[str, int], int], routes: list[list[int]], enis: tuple[list[int], ...], sharers: int
) -> None:
    """It is held beside that many of each sharer, and one more of each is too many; the sharers hold what is counted.

    Whoever leaves by the same ENI goes the same way from there, as in a VPC.
    """
    paths = {
        name: paths_through(limits, [(eni, *routes[eni]) for eni in mine])
        for name, mine in zip(NAMES, enis, strict=True)
    }
    others = NAMES[1 : 1 + sharers]
    with pytest.MonkeyPatch.context() as patched:
        for module in ("lab.capacity.predict", "lab.diagnosis.thresholds"):
            patched.setattr(f"{module}.paths", lambda _, name, *__: paths[name])
        alone, shared = threshold(MADE, QUESTION), shared_threshold(MADE, QUESTION, others)
    if alone.held is None:
        assert shared.unlimited
        return
    assert shared.held is not None
    holds = [number for number in range(alone.held + 2) if after_as_many(paths, others, number)[0]]
    assert holds == list(range(shared.held + 1))
    assert shared.sharers_hold == after_as_many(paths, others, shared.held)[1]

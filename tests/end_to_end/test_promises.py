"""What `lab why` promises, the kernel keeps: a remedy is applied to a random topology, and the burst is run.

8 promises here; `LAB_PROMISE_CASES=200` for a longer run of others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
import os
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
import pytest

from lab.diagnosis.remedies import Remedy, remedies
from lab.diagnosis.thresholds import shared_threshold
from lab.lab import Lab
from lab.nodes.proposals import Question
from tests.support.topologies import LASTING, topologies

if TYPE_CHECKING:
    from pathlib import Path

    from lab.burst.result import BurstResult
    from lab.topology import Topology

CASES = int(os.environ.get("LAB_PROMISE_CASES", "8"))
SHARES, AT_A_TIME = 2, 2
"""Tests, and labs side by side in each: they spend most of their time on waiting."""
MANY = 70
"""More connections than any limit of these topologies."""

_numbers = count(1)
_seen: Counter[str] = Counter()


class Promise(NamedTuple):
    """How far a burst comes on a topology, and which kind of node stops it."""

    topology: Topology
    question: Question
    held: int | None
    """None where no limit is on the way."""
    binds: str | None
    sharers: tuple[str, ...]
    sharers_hold: int | None


def promised(made: Topology, question: Question, remedy: Remedy) -> Iterator[Promise]:
    """What a remedy says of the changed topology and, where functions share ENIs, of the unchanged one."""
    if remedy.topology is None or (remedy.threshold_after is None and remedy.effect != "unlimited"):
        return
    after, others = remedy.threshold_after, (remedy.sharers, remedy.sharers_hold)
    yield Promise(remedy.topology, question, after, remedy.binds_after, *others)
    if remedy.sharers and after is not None:
        before = shared_threshold(made, question, remedy.sharers)
        assert before.held == remedy.threshold_before
        if before.held is None:
            return
        yield Promise(made, question, before.held, before.kind, remedy.sharers, before.sharers_hold)


@st.composite
def promises(draw: st.DrawFn) -> Promise | None:
    """One of those that are made for a random topology; with sharers, if there are any; None where chance decides."""
    made = draw(topologies(st.integers(1, 60), timeouts=LASTING, embedded=True, firewalls=draw(st.booleans())))
    if draw(st.booleans()):
        together = [function.model_copy(update={"security_groups": ("default",)}) for function in made.functions]
        made = made.model_copy(update={"functions": tuple(together)})
    question = Question(
        draw(st.sampled_from([each.name for each in made.functions])),
        draw(st.sampled_from([each.name for each in made.servers])),
    )
    every = [
        promise
        for remedy in remedies(made, question.source, question.server)
        for promise in promised(made, question, remedy)
    ]
    with_sharers = [promise for promise in every if promise.sharers]
    return draw(st.sampled_from(with_sharers or every)) if every else None


@pytest.mark.parametrize("share", range(SHARES))
def test_what_is_promised_is_kept(tmp_path: Path, share: int) -> None:
    """A burst of that many loses nothing, one more connection is lost to the named kind, and sharers hold that many."""

    @seed(share if "LAB_PROMISE_CASES" not in os.environ else Random().getrandbits(32))
    @settings(
        max_examples=-(-CASES // (SHARES * AT_A_TIME)),
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a case takes seconds: shrinking would take an hour
    )
    @given(st.tuples(*(promises() for _ in range(AT_A_TIME))))
    def as_promised(drawn: tuple[Promise | None, ...]) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda promise: _run(promise, tmp_path / f"{next(_numbers)}.yaml"), filter(None, drawn)))

    as_promised()


def _run(promise: Promise, path: Path) -> None:
    path.write_text(promise.topology.model_dump_json(by_alias=True), encoding="utf-8")  # JSON is YAML
    if promise.held is None:
        result, _ = _bursts(promise, path, MANY)
        assert (result.tcp.established, result.limits) == (MANY, ())
        _seen["unlimited"] += 1
        return
    beyond, _ = _bursts(promise, path, promise.held + 1)
    assert beyond.bottleneck == promise.binds
    if not promise.sharers:
        assert beyond.drop_threshold == promise.held
        _seen["alone"] += 1
        return
    assert beyond.drop_threshold is not None
    if promise.held:
        result, sharers_hold = _bursts(promise, path, promise.held)
        assert result.drop_threshold is None
        assert sharers_hold == promise.sharers_hold
    _seen["beside sharers"] += 1


def _bursts(promise: Promise, path: Path, connections: int) -> tuple[BurstResult, int]:
    """The burst on a fresh lab, after each of the sharers has opened as many; and how many those hold."""
    question = promise.question
    with Lab.up(path, name=f"promised-{os.getpid()}-{path.stem}") as lab:
        results = [
            # A busy machine may lose a question, which comes again after a second.
            lab.burst(connections, function=name, server=question.server, leave_open=True, connect_timeout_s=2.0)
            for name in (*promise.sharers, question.source)
        ]
    assert [result.disagreements for result in results] == [()] * len(results)
    *of_sharers, result = results
    return result, sum(each.tcp.established for each in of_sharers)


@pytest.fixture(autouse=True, scope="module")
def _told() -> Iterator[None]:
    """What all these promises were, for whoever runs with -s."""
    yield
    print(f"\npromises: {dict(_seen)}")  # noqa: T201

"""What arithmetic says, the kernel shows: random topologies with small limits, random bursts one after another.

96 topologies here; `LAB_PREDICTION_CASES=2000` for a longer run of others, `LAB_PREDICTION_CLIENTS=1` for bursts of
clients that are no functions alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
import os
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
import pytest

from lab.lab import Lab
from tests.support.topologies import LASTING, several_vpcs, topologies

if TYPE_CHECKING:
    from pathlib import Path

    from lab.burst.result import BurstResult
    from lab.topology import Topology

CASES = int(os.environ.get("LAB_PREDICTION_CASES", "96"))
ONLY_CLIENTS = "LAB_PREDICTION_CLIENTS" in os.environ
SHARES, AT_A_TIME = 8, 2
"""Tests, and labs side by side in each: they spend most of their time on waiting."""

_numbers = count(1)
_seen: Counter[str] = Counter()


class Case(NamedTuple):
    """A topology and what is asked of it, one burst after another."""

    topology: Topology
    bursts: list[dict[str, Any]]
    connections: list[int]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Bursts that may well be too much, some of which leave their connections to the next one."""
    limits = st.integers(1, 60)
    one_vpc = topologies(limits, timeouts=LASTING, embedded=True, firewalls=draw(st.booleans()))
    made = draw(one_vpc if draw(st.integers(0, 3)) else several_vpcs(limits))
    bursts = st.fixed_dictionaries(
        {
            "server": st.sampled_from([each.name for each in made.servers]),
            "leave_open": st.booleans(),
            "connect_timeout_s": st.just(2.0),  # a busy machine may lose a question, which comes again after a second
        }
    )
    functions = {
        "function": st.lists(st.sampled_from([each.name for each in made.functions]), min_size=1, unique=True),
        "connections_per_environment": st.integers(5, 60),
        "descriptors": st.none() | st.integers(4, 60),
    }
    sources = st.fixed_dictionaries(functions)
    if made.clients:
        clients: dict[str, st.SearchStrategy[Any]] = {"client": st.sampled_from([each.name for each in made.clients])}
        clients |= {"engine": st.sampled_from(("packet", "socket")), "descriptors": st.none() | st.integers(4, 60)}
        clients |= {"protocol": st.sampled_from(("tcp", "tcp", "udp"))}
        of_clients = st.fixed_dictionaries(clients)
        sources = of_clients if ONLY_CLIENTS else sources | of_clients
    elif ONLY_CLIENTS:
        reject()
    asked = [burst | draw(sources) for burst in draw(st.lists(bursts, min_size=1, max_size=2))]
    return Case(made, asked, [draw(st.integers(1, 150)) for _ in asked])


@pytest.mark.parametrize("share", range(SHARES))
def test_what_is_predicted_is_seen(tmp_path: Path, share: int) -> None:
    """Established, drop threshold and bottleneck are as predicted, wherever chance has no say; all accounts agree."""

    @seed(share if "LAB_PREDICTION_CASES" not in os.environ else Random().getrandbits(32))
    @settings(
        max_examples=-(-CASES // (SHARES * AT_A_TIME)),
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a case takes seconds: shrinking would take an hour
    )
    @given(st.tuples(*(cases() for _ in range(AT_A_TIME))))
    def as_predicted(asked: tuple[Case, ...]) -> None:
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(pool.map(lambda case: _run(case, tmp_path / f"{next(_numbers)}.yaml"), asked))

    as_predicted()


def _run(case: Case, path: Path) -> None:
    path.write_text(case.topology.model_dump_json(by_alias=True), encoding="utf-8")  # JSON is YAML
    with Lab.up(path, name=f"predicted-{os.getpid()}-{path.stem}") as lab:
        for options, connections in zip(case.bursts, case.connections, strict=True):
            _judge(lab.burst(connections, **options))


def _judge(result: BurstResult) -> None:
    predicted = result.predicted
    assert result.disagreements == ()
    if predicted.established is None:
        _seen["left to chance"] += 1
        return
    assert result.dns.failed == 0 or result.bottleneck == "hyperplane_eni"  # a name server that is behind the ENI
    emfile = predicted.emfile if predicted.emfile is None else result.emfile  # unknown where ports are used up, too
    seen = (result.tcp.established, result.drop_threshold, result.bottleneck, emfile)
    assert (predicted.established, predicted.drop_threshold, predicted.bottleneck, predicted.emfile) == seen
    for each in result.functions:
        assert (each.predicted_established, each.predicted_throttled) == (each.established, each.throttled)
    _seen["EMFILE"] += bool(result.emfile)
    _seen["throttled"] += bool(result.invocations.throttled)
    _seen["several functions"] += len(result.functions) > 1
    _seen["stopped" if result.stops else str(result.bottleneck)] += 1


@pytest.fixture(autouse=True, scope="module")
def _told() -> Iterator[None]:
    """What all these bursts came to, for whoever runs with -s."""
    yield
    print(f"\nbursts: {dict(_seen)}")  # noqa: T201

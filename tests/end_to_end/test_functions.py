"""Several functions in one burst: each one's part is as predicted, whatever they share; reserved concurrency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from lab.diagnosis.verdict import judge
from lab.errors import UsageError
from tests.support.labs import eventually, slots

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.burst.run import Progress
    from lab.pytest_plugin import LabUp

QUICK_S = 1.0
BOTH = ("checkout", "reports")


def seen(result: BurstResult) -> list[tuple[str, int, int, int, int]]:
    """Of each function what was offered, throttled, established, and timed out."""
    return [
        (each.function, each.offered, each.throttled, each.established, each.timed_out) for each in result.functions
    ]


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_a_noisy_neighbour(lab_up: LabUp, topologies: Path, engine: Any) -> None:
    """The numbers in the header of two_functions.yaml, a hundredth of each, and whose slots the ENI has."""
    lab = lab_up(topologies / "two_functions.yaml", scale=100)
    result = lab.burst(1_200, function=BOTH, engine=engine, connect_timeout_s=QUICK_S, leave_open=True)
    assert seen(result) == [("checkout", 600, 0, 550, 50), ("reports", 600, 500, 100, 0)]
    assert (result.drop_threshold, result.bottleneck, result.disagreements) == (650, "hyperplane_eni", ())
    assert (result.predicted.established, result.predicted.drop_threshold) == (650, 650)
    assert [(each.predicted_established, each.predicted_throttled) for each in result.functions] == [
        (550, 0),
        (100, 500),
    ]
    holders = (
        "eni-private-a is shared, and one function's connections are another's limit: checkout 550 and reports 100"
    )
    assert {each.function: (each.cause, each.limits) for each in judge(result).functions} == {
        "checkout": ("limit", ("eni-private-a",)),
        "reports": ("throttled", ()),
    }
    assert [part.question.source for part in lab.why().parts] == list(BOTH)
    for told in (judge(result).explanation, lab.why().details):
        assert any(sentence.startswith(holders) for sentence in told)


def test_one_packet_after_the_other(lab_up: LabUp, topologies: Path) -> None:
    """The scapy engine shows each function's packets at its own interface."""
    lab = lab_up(topologies / "two_functions.yaml", scale=100)
    result = lab.burst(2, function=BOTH, engine="scapy")
    assert {each.node for each in result.packets} >= {"fn-checkout", "fn-reports", "eni-private-a", "srv-cache"}
    assert [each.established for each in result.functions] == [1, 1]


def test_inside_and_outside_the_vpc(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """A function outside the VPC meets no limit, beside one that fills its ENI; all accounts agree."""
    text = (topologies / "two_functions.yaml").read_text(encoding="utf-8")
    path = tmp_path / "beside.yaml"
    path.write_text(text.replace("functions:\n", "functions:\n  - {name: outside}\n"), encoding="utf-8")
    lab = lab_up(path, scale=1_000)
    result = lab.burst(200, function=("outside", "checkout"), connect_timeout_s=QUICK_S)
    assert seen(result) == [("outside", 100, 0, 100, 0), ("checkout", 100, 0, 65, 35)]
    assert (result.predicted.established, result.disagreements) == (165, ())


def test_over_time(lab_up: LabUp, topologies: Path) -> None:
    """What may be throttled is not predicted, and what cannot be is; both accounts agree."""
    lab = lab_up(topologies / "two_functions.yaml", scale=1_000)
    throttled = lab.burst(100, function=BOTH, rate_per_s=100, hold_s=1.0)
    assert throttled.predicted.established is None
    assert "reserved concurrency of 10" in (throttled.predicted.unknown or "")
    assert throttled.invocations.throttled > 0
    assert throttled.disagreements == ()
    assert judge(throttled).cause == "throttled"
    held = lab.burst(40, function=BOTH, rate_per_s=200)
    assert seen(held) == [("checkout", 20, 0, 20, 0), ("reports", 20, 10, 10, 0)]
    assert held.predicted.established == 30


def test_a_database_is_kept_from_being_full(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """The remedy that `lab why` has for a full server, made: nobody is turned away, and the others are throttled."""
    lab = lab_up(topologies / "server_full.yaml")
    assert judge(lab.burst(60)).cause == "limit"
    (remedy,) = (each for each in lab.why().remedies if each.effect == "throttles")
    assert remedy.change == "function checkout: reserved_concurrency: 40"
    text = (topologies / "server_full.yaml").read_text(encoding="utf-8")
    path = tmp_path / "server_full.yaml"
    path.write_text(
        text.replace("subnets: [private]}", "subnets: [private], reserved_concurrency: 40}"), encoding="utf-8"
    )
    lab = lab_up(path)
    result = lab.burst(60)
    assert seen(result) == [("checkout", 60, 20, 40, 0)]
    assert judge(result).cause == "throttled"


def test_nonsense(lab_up: LabUp, topologies: Path) -> None:
    """A function that is not there, or given twice, is refused before the first packet."""
    lab = lab_up(topologies / "two_functions.yaml", scale=1_000)
    with pytest.raises(UsageError, match="no function 'payment'; known: checkout, reports"):
        lab.burst(2, function=("checkout", "payment"))
    with pytest.raises(UsageError, match="--function checkout: given twice"):
        lab.burst(2, function=("checkout", "checkout"))


@pytest.mark.parametrize(("first", "second"), [("checkout", "search"), ("search", "search")])
@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_bursts_side_by_side(lab_up: LabUp, topologies: Path, first: str, second: str, engine: Any) -> None:
    """A burst beside another one, of whichever function: each has its own losses and verdict, and no false alarm."""
    lab = lab_up(topologies / "shared_eni.yaml", scale=1_000)
    held, go_on = Event(), Event()

    def wait(progress: Progress) -> None:
        if progress.phase == "holding":
            held.set()
            go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(lambda: lab.burst(50, function=first, engine=engine, hold_s=0.5, progress=wait))
        try:
            assert held.wait(60)
            other = lab.burst(50, function=second, engine=engine, connect_timeout_s=QUICK_S)
        finally:
            go_on.set()
    assert (seen(one.result()), seen(other)) == ([(first, 50, 0, 50, 0)], [(second, 50, 0, 15, 35)])
    assert (one.result().disagreements, other.disagreements) == ((), ())
    assert (one.result().beside, other.beside) == (1, 1)
    assert [judge(result).cause for result in (one.result(), other)] == ["no_limit", "limit"]
    eni, *_ = other.limits
    assert (eni.node, eni.peak, eni.dropped_connections) == ("eni-private-a", 65, 35)
    assert eventually(lambda: slots(lab, "eni-private-a") == 0)
    after = lab.burst(65, function=second, engine=engine)
    assert (after.beside, after.predicted.established, after.tcp.established, after.disagreements) == (0, 65, 65, ())


def test_nothing_is_forgotten_under_another_burst(lab_up: LabUp, topologies: Path) -> None:
    """`--fresh` and `lab reset` would cut the connections of the burst that is under way, so they are refused."""
    lab = lab_up(topologies / "shared_eni.yaml", scale=1_000)

    def interfere(progress: Progress) -> None:
        if progress.phase == "holding":
            for meddle in (lab.reset, lambda: lab.burst(1, fresh=True)):
                with pytest.raises(UsageError, match="another burst is running"):
                    meddle()

    assert lab.burst(5, hold_s=0.1, progress=interfere).tcp.established == 5

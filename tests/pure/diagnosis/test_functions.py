"""Each function of a burst of several has a verdict of its own; what holds for all is said once."""

from __future__ import annotations

from dataclasses import replace

from lab.burst.functions import FunctionResult
from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.diagnosis.verdict import Verdict, judge
from lab.report.tables import tables
from lab.schema.drops import DropPoint
from tests.support.bursts import ENI_A, burst_result, eips, reading, seen
from tests.support.runs import explained_run, ran
from traffic.result import InvocationCount

NATGW = eips(1)[0]
ROUTE = DropPoint("vpc", "no_route", "private-b")


def function(
    name: str,
    established: int,
    timed_out: int = 0,
    *,
    throttled: int = 0,
    nodes: tuple[str, ...] = (ENI_A.node, NATGW.node),
    dead_ends: tuple[DropPoint, ...] = (),
) -> FunctionResult:
    """Its part, if all its failures are time-outs."""
    let_in = established + timed_out
    return FunctionResult(
        function=name,
        reserved_concurrency=let_in if throttled else None,
        offered=let_in + throttled,
        throttled=throttled,
        served=established,
        failed=timed_out,
        asked=let_in,
        answered=let_in,
        attempted=let_in,
        established=established,
        timed_out=timed_out,
        predicted_established=None,
        predicted_throttled=None,
        nodes=nodes,
        dead_ends=dead_ends,
    )


def together(*functions: FunctionResult, refused: int = 0, dropped: int = 0) -> BurstResult:
    """Their burst: the ENI has refused so many, and so many found no route."""
    established, timed_out, throttled = (
        sum(getattr(each, name) for each in functions) for name in ("established", "timed_out", "throttled")
    )
    clients = seen(established, timed_out)
    clients = replace(
        clients,
        offered=clients.offered + throttled,
        invocations=InvocationCount(clients.offered + throttled, established, timed_out, 0, throttled=throttled),
    )
    full = reading(ENI_A, 100, refused, refused)
    stops = (ROUTE.counted(dropped),) if dropped else ()
    result = burst_result(clients, full, reading(NATGW, 90), first=full if refused else None, stops=stops)
    return replace(result, functions=functions)


def causes(verdict: Verdict) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Function → its cause, and whose limits it met."""
    return {each.function: (each.cause, each.limits) for each in verdict.functions}


def test_a_limit_and_throttling() -> None:
    """The function that lost none at the ENI that they share has not met its limit."""
    verdict = judge(together(function("checkout", 90, 10), function("reports", 10, throttled=40), refused=10))
    assert causes(verdict) == {"checkout": ("limit", (ENI_A.node,)), "reports": ("throttled", ())}
    checkout, reports = verdict.of_functions
    assert checkout.startswith("checkout: of 100 invocations 90 served, 10 failed. Hyperplane ENI connection limit")
    assert reports.startswith("reports: of 50 invocations 10 served, 40 throttled. Throttled by reserved concurrency")
    assert any(text.startswith("reports: Raise the reserved concurrency") for text in verdict.all_remedies)
    assert any(text.startswith("checkout: Add a private subnet") for text in verdict.all_remedies)


def test_no_route_and_a_limit() -> None:
    """What no route of one function drops is not why the other, at the same node, lost connections."""
    lost = function("reports", 0, 20, nodes=("eni-private-b",), dead_ends=(ROUTE,))
    verdict = judge(together(function("checkout", 90, 10), lost, refused=10, dropped=20))
    assert causes(verdict) == {"checkout": ("limit", (ENI_A.node,)), "reports": ("dropped", ())}


def test_one_that_lost_none() -> None:
    """It has no limit on its way that refused it, and its own numbers."""
    outside = function("outside", 100, nodes=("",))
    verdict = judge(together(outside, function("checkout", 65, 35), refused=35))
    assert causes(verdict) == {"outside": ("no_limit", ()), "checkout": ("limit", (ENI_A.node,))}
    assert "all 100 connections are established at the same time" in verdict.of_functions[0]


def test_the_same_for_all() -> None:
    """The cause and the remedies are said once, the numbers of each."""
    verdict = judge(together(function("checkout", 90, 10), function("reports", 80, 20), refused=30))
    assert verdict.of_functions == (
        "checkout: of 100 invocations 90 served, 10 failed.",
        "reports: of 100 invocations 80 served, 20 failed.",
    )
    assert verdict.all_remedies == verdict.remedies


def test_where_there_is_nothing_to_tell_apart() -> None:
    """A burst that lost none, and a record of an earlier version, have the verdict on all alone."""
    assert judge(together(function("checkout", 90), function("reports", 80))).functions == ()
    earlier = function("checkout", 90, 10, nodes=()), function("reports", 80, 20, nodes=())
    assert judge(together(*earlier, refused=30)).functions == ()


def test_remedies_of_a_run() -> None:
    """`lab why` and the report have remedies for each; throttling is cured by no change of the topology."""
    load = Load(1_200, function=("checkout", "reports"))
    result = together(function("checkout", 550, 50), function("reports", 100, throttled=500), refused=50)
    run = ran("two_functions", scale=100, load=load, result=result)
    explained = explained_run(run)
    assert [(part.question.source, part.cause) for part in explained.parts] == [
        ("checkout", "limit"),
        ("reports", "throttled"),
    ]
    checkout, reports = explained.to_json()["functions"]
    assert (checkout["threshold"]["held"], checkout["remedies"][0]["threshold_after"], checkout["advice"]) == (
        650,
        1_100,
        [],
    )
    assert (reports["threshold"]["throttled_beyond"], len(reports["advice"])) == (100, 2)
    titles = [table.title for table in tables(run) if table.title.startswith("What would help")]
    assert titles == ["What would help checkout, connecting to cache"]


def test_remedies_that_functions_have_in_common() -> None:
    """Two functions without reserved concurrency each have their own row, in a table of their own."""
    load = Load(140, function=("checkout", "search"))
    result = together(function("checkout", 33, 37), function("search", 32, 38), refused=75)
    run = ran("shared_eni", scale=1_000, load=load, result=result)
    titles = [table.title for table in tables(run) if table.title.startswith("What would help")]
    assert titles == [f"What would help {name}, connecting to cache" for name in ("checkout", "search")]

"""What `lab watch` makes of two samples: levels, rates, gauges, and the lines of a terminal or a pipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
import time

import pytest

from lab import runs
from lab.cli.watch import LastVerdict
from lab.graph import Occupancy, draw
from lab.nodes.build import build
from lab.observe.samples import Sample
from lab.plan.objects import Plan
from lab.slots import counters as counting
from lab.slots.fill import Fill, HalfOpen
from lab.slots.limiter import Limiter
from lab.topology import Topology
from lab.watch import Pace, View, Window, line, occupancies, screen, view
from tests.support.cli import Run
from tests.support.runs import ran
from tests.support.topologies import function, nat_gateway, server, shipped, topology
from tests.support.watching import sample, seen


def limiter(plan: Plan, **wanted: str) -> Limiter:
    """The first limiter whose fields have these values."""
    return next(each for each in plan.limiters if all(getattr(each, name) == is_ for name, is_ in wanted.items()))


def between(plan: Plan, *samples: Sample) -> View:
    """What is shown after these samples."""
    window = Window()
    for each in samples:
        window.add(each)
    return view(plan, window)


def shown(of: View, any_topology: Topology, width: int = 80, height: int = 24) -> list[str]:
    """The lines of a terminal of that size."""
    drawing = draw(any_topology, of.nodes)
    return [text.plain for text in screen(of, drawing, width, height, lambda at_s: f"{at_s:.0f}")]


# ── What a node holds ───────────────────────────────────────────────────────────────────────────────────────


def test_node_with_several_elastic_ips() -> None:
    """A NAT gateway holds what its Elastic IPs hold together."""
    plan = build(shipped("tiny"))
    held = {("natgw", "eip1_cache_tcp"): 15, ("natgw", "eip2_cache_tcp"): 8}
    assert occupancies(plan, sample(plan, 0, held))["natgw"] == Occupancy(23, 30, 0)


def test_node_with_several_destinations() -> None:
    """Of a node with a limit for each destination the fullest counts, and all that it has refused."""
    plan = build(shipped("two_servers"))
    counters = {f"{counting.REFUSED_CONNECTIONS}eip1_{name}_tcp": 5 for name in ("cache", "store")}
    held = {("natgw", "eip1_cache_tcp"): 100, ("natgw", "eip1_store_tcp"): 200}
    found = occupancies(plan, sample(plan, 0, held, natgw=counters))
    assert found["natgw"] == Occupancy(200, 55_000, 10)


def test_eni_that_is_not_there_yet() -> None:
    """A further ENI is left out until it holds something."""
    plan = build(shipped("eni_scaling"))
    assert "eni-private-a-2" not in occupancies(plan, sample(plan, 0, {}))
    further = limiter(plan, node="eni-private-a-2")
    found = occupancies(plan, sample(plan, 0, {(further.place, further.slots): 7}))
    assert found["eni-private-a-2"] == Occupancy(7, 65_000, 0)


def test_endpoint_without_limit() -> None:
    """An endpoint that takes any number is never full."""
    plan = build(shipped("privatelink"))
    found = occupancies(plan, sample(plan, 0, {("vpce-cache", "cache_tcp"): 70_000}))
    assert found["vpce-cache"] == Occupancy(70_000, None, 0)
    assert not found["vpce-cache"].full


def test_node_that_is_gone() -> None:
    """What the sample does not have is not shown."""
    plan = build(shipped("tiny"))
    whole = sample(plan, 0, {})
    part = Sample(0, {name: each for name, each in whole.nodes.items() if name != "natgw"})
    assert set(occupancies(plan, part)) == {"eni-private-a", "eni-private-b"}


# ── Rates ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_rates() -> None:
    """New connections are counted at the ENIs, refused ones wherever they are refused, both per second."""
    plan = build(shipped("tiny"))
    refused = limiter(plan, node="natgw").refused_connections
    before = sample(plan, 10, {}, **{"eni-private-a": {counting.ADMITTED: 100}, "natgw": {refused: 4}})
    now = sample(
        plan,
        12,
        {},
        **{
            "eni-private-a": {counting.ADMITTED: 160},
            "eni-private-b": {counting.ADMITTED: 20},
            "natgw": {counting.ADMITTED: 70, refused: 14},
        },
    )
    found = between(plan, before, now)
    assert (found.rates.new_per_s, found.rates.refused_per_s) == (40, 5)
    assert [(each.label, each.rates.new_per_s, each.rates.refused_per_s) for each in found.gauges] == [
        ("eni-private-a", 30, 0),
        ("eni-private-b", 10, 0),
        ("natgw", 35, 5),
        ("198.51.100.1", None, 5),
        ("198.51.100.2", None, 0),
    ]


def test_rates_are_of_the_last_second() -> None:
    """Four samples a second: what is compared is a second apart, not a quarter."""
    plan = build(shipped("tiny"))
    samples = [sample(plan, at / 4, {}, **{"eni-private-a": {counting.ADMITTED: at * at}}) for at in range(9)]
    assert between(plan, *samples).rates.new_per_s == 64 - 16


def test_counters_that_begin_again() -> None:
    """A node that was made anew counts from 0; that is no negative rate."""
    plan = build(shipped("tiny"))
    before = sample(plan, 0, {}, **{"eni-private-a": {counting.ADMITTED: 100}})
    assert between(plan, before, sample(plan, 1, {})).rates.new_per_s == 0


def test_one_sample_is_no_rate() -> None:
    """Before the second sample nothing has a rate."""
    plan = build(shipped("tiny"))
    assert between(plan, sample(plan, 0, {}, natgw={counting.ADMITTED: 100})).rates.new_per_s == 0


# ── Gauges ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_udp_has_a_gauge_once_it_is_used() -> None:
    """Nobody looks at UDP's limits until something holds one."""
    plan = build(shipped("tiny"))
    assert not any("udp" in each.label for each in between(plan, sample(plan, 0, {})).gauges)
    found = between(plan, sample(plan, 0, {("natgw", "eip2_cache_udp"): 1}))
    assert [each.label for each in found.gauges if "udp" in each.label] == ["198.51.100.2 udp"]


def test_gauge_for_each_destination() -> None:
    """Where limits are per destination, each has its gauge."""
    labels = [each.label for each in seen(shipped("two_servers")).gauges]
    assert labels[2:] == ["natgw", "198.51.100.1→cache", "198.51.100.1→store"]
    enis = [each.label for each in seen(shipped("per_destination")).gauges]
    assert enis[:3] == ["eni-private-a", "→cache", "→store"]


# ── Lines ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("height", range(1, 30))
@pytest.mark.parametrize("width", [10, 40, 79, 80, 200])
def test_every_size(width: int, height: int) -> None:
    """No line is too many, and none too long, whatever the terminal's size."""
    any_topology = shipped("two_subnets")
    lines = shown(seen(any_topology, full=True), any_topology, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_more_than_fits() -> None:
    """What does not fit is counted, and what of it is full is said."""
    any_topology = shipped("seven_subnets_eight_eips")
    lines = shown(seen(any_topology, full=True), any_topology, height=16)
    assert sum(each.startswith("eni-private-") for each in lines) == 7
    assert "… and 8 more in a taller window, 8 of them FULL" in lines
    fewer = shown(seen(any_topology, full=True), any_topology, height=10)
    assert sum(each.startswith("eni-private-") for each in fewer) == 2
    assert "… and 14 more in a taller window, 9 of them FULL" in fewer


def test_sixteen_enis() -> None:
    """As many ENIs as a function may have are counted where they do not fit."""
    subnets = [f"private-{number}" for number in range(16)]
    any_topology = topology(
        dict.fromkeys(subnets, "natgw"),
        function("checkout", *subnets),
        nat_gateways=(nat_gateway(elastic_ips=8),),
        servers=(server(), server("store", 20)),
    )
    lines = shown(seen(any_topology), any_topology)
    assert any(each.startswith("… and ") for each in lines)
    assert len(shown(seen(any_topology), any_topology, height=100)) == 3 + 16 + 1 + 16


def test_drawing_goes_before_it_is_cut() -> None:
    """A drawing that is too wide is left out: half of it would mislead."""
    any_topology = shipped("two_subnets")
    assert any("customer" in each or "VPC" in each for each in shown(seen(any_topology), any_topology))
    assert not any("VPC" in each for each in shown(seen(any_topology), any_topology, width=70))


def test_full_is_a_word() -> None:
    """One connection below the limit is 99 %; at the limit it says FULL, in the drawing and beside the gauge."""
    any_topology = shipped("two_subnets")
    lines = shown(seen(any_topology, full=True), any_topology)
    first, second = (each for each in lines if each.startswith("eni-private-"))
    assert " FULL " in first
    assert " 99% " in second
    assert any("65,000 FULL" in each for each in lines)


def test_drawing_stays_where_it_is() -> None:
    """Numbers that grow do not move the drawing."""
    any_topology = shipped("two_subnets")
    few, many = (shown(seen(any_topology, full=full), any_topology) for full in (False, True))
    assert few[2:4] == many[2:4]
    assert few[5].index("cache.example.com") == many[5].index("cache.example.com")


def test_half_open() -> None:
    """What is half-open is told below the gauges, and in the line before what is full."""
    topology, fill = shipped("two_subnets"), Fill(64_990, (HalfOpen("cache", 10, 1, 119, 120),))
    of = replace(seen(topology, full=True), states=(("eni-private-a", fill), ("eni-private-b", fill)))
    assert any(text.startswith(f"eni-private-a: {fill.text} … and 1 more") for text in shown(of, topology, 120))
    half_open = " half-open=eni-private-a:10,eni-private-b:10 FULL=eni-private-a"
    assert line(of, lambda _: "now").endswith(half_open)


def test_line_in_a_pipe() -> None:
    """FULL stands only where something is."""
    idle = line(seen(shipped("two_subnets")), lambda _: "now")
    assert idle == "now new/s=0 refused/s=0 eni-private-a=0/65000 eni-private-b=0/65000 natgw=0/165000"
    assert line(seen(shipped("two_subnets"), full=True), lambda _: "now").endswith(" FULL=eni-private-a")


@pytest.mark.parametrize(("took_s", "told"), [(1.0, "3"), (2.0, "2"), (8.0, "0.4"), (3600.0, "0.0008")])
def test_rates_that_are_not_0(took_s: float, told: str) -> None:
    """3 connections that were made or refused between two samples are never told as 0, however long that was."""
    plan = build(shipped("tiny"))
    refused = f"{counting.REFUSED_CONNECTIONS}eip1_cache_tcp"
    before, now = (
        sample(plan, 0, {}),
        sample(plan, took_s, {}, **{"eni-private-a": {counting.ADMITTED: 3}, "natgw": {refused: 3}}),
    )
    seen_now = between(plan, before, now)
    assert line(seen_now, lambda _: "now").startswith(f"now new/s={told} refused/s={told} ")
    assert f" {told} new/s  {told} refused/s " in shown(seen_now, shipped("tiny"))[0]


# ── The last burst ──────────────────────────────────────────────────────────────────────────────────────────


def test_last_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the newest record of a lab of that name, as soon as there is one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    verdict = LastVerdict("tiny")
    assert verdict() is None
    runs.save(ran(established=30, timed_out=10, began_s=1_700_000_000.0))
    first = verdict()
    assert first is not None
    assert " 30 of 40 established; NAT gateway " in first
    assert LastVerdict("another")() is None
    runs.save(ran(established=20, timed_out=0, bottleneck=None, began_s=time.time()))
    second = verdict()
    assert second is not None
    assert re.match(r"\d\d:\d\d:\d\d 20 of 20 established; ", second)
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d 30 of 40 ", first)


@pytest.mark.parametrize("width", [24, 80, 200])
def test_long_verdict(width: int) -> None:
    """It has two lines at most; what does not fit there ends with a sign for it."""
    any_topology = shipped("tiny")
    long = replace(seen(any_topology), verdict=f"10:11:40 {'many words ' * 12}".strip())
    lines = shown(long, any_topology, width)
    begins = next(at for at, each in enumerate(lines) if each.startswith("last burst: 10:11:40"))
    assert len(lines) - begins <= 2
    assert lines[-1].endswith(("words", "…"))


# ── How often ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("took_s", "used_s", "rest_s"),
    [
        (0.0, 0.0, 0.25),
        (0.01, 0.005, 0.24),  # cheap: the interval
        (0.1, 0.1, 2.4),  # 0.1 s of a processor: 4 % of 2.5 s
        (0.4, 0.001, 0.0),  # late, because the machine is busy with something else
    ],
)
def test_pace(took_s: float, used_s: float, rest_s: float) -> None:
    """Looking waits for the interval to end, and longer where it would take more than 4 % of a processor."""
    clocks = {"now": 100.0, "used": 7.0}
    pace = Pace(0.25, 0.04, lambda: clocks["now"], lambda: clocks["used"])
    clocks["now"] += took_s
    clocks["used"] += used_s
    assert pace.rest_s() == pytest.approx(rest_s)
    pace.begin()
    assert pace.rest_s() == 0.25


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("interval", ["0", "-1", "0.01", "4000", "nan"])
def test_interval_that_makes_no_sense(run: Run, interval: str) -> None:
    """An interval is refused with what is allowed."""
    status, out, err = run("watch", "--interval", interval)
    assert (status, out) == (2, "")
    assert "from 0.1 to 3,600 seconds" in err


def test_help_of_watch(run: Run) -> None:
    """It shows the command in use."""
    status, out, _ = run("watch", "--help")
    assert status == 0
    assert "lab watch | grep FULL" in out

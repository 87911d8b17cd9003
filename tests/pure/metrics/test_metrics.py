"""CloudWatch's metrics, from made-up samples: every count in its period, none lost, none twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
import json
import re
import socket
import struct
import sys
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.metrics import METRICS, NOT_REPORTED, Point, Series, fold, since
from lab.metrics.cloudwatch import get_metric_data
from lab.metrics.exposition import Observation, serve
from lab.metrics.numbers import COUNTS, LEVELS, PEAKS
from lab.observe.history import History, read
from lab.observe.samples import InterfaceCount, NodeSample, Sample
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter
from tests.support.cli import Run
from tests.support.examples import examples
from tests.support.labs import eventually

MINUTE_S = 60
AT_S = 1_795_341_780.0
"""A full minute: 10:03."""
NAT = NatNode("natgw", "nat_gateway", "lab-x-natgw", "nat_gateway", "vpc", "inet", 350)
ENI = NatNode("eni-private-a", "hyperplane_eni", "lab-x-eni-private-a", "hyperplane_eni", "svc", "vpc", 350)
NO_TRAFFIC = InterfaceCount(0, 0, 0, 0)


def limiter(at: NatNode, slots: str, limit: int, **more: Any) -> Limiter:
    """A limit of a node."""
    fields: dict[str, Any] = {
        "node": at.node,
        "refused_packets": f"refused_packets_{slots}",
        "refused_connections": f"refused_connections_{slots}",
        "first_refused": "first_refused",
        "refused": "refused",
    }
    wanted = fields | more
    return Limiter(kind=at.kind, namespace=at.namespace, table=at.table, slots=slots, limit=limit, **wanted)


LIMITERS = (limiter(ENI, "connections", 20), limiter(NAT, "eip1_cache_tcp", 15, eip="198.51.100.1"))


def nat(
    at_s: float,
    counters: Mapping[str, int] | None = None,
    *,
    active: int = 0,
    inner: InterfaceCount = NO_TRAFFIC,
    outer: InterfaceCount = NO_TRAFFIC,
    **more: int,
) -> Sample:
    """The NAT gateway at so many seconds after 10:03."""
    return Sample(AT_S + at_s, {"natgw": NodeSample({**(counters or {}), **more}, {}, active, inner, outer)})


def eni(at_s: float, held: int = 0, **more: int) -> Sample:
    """The ENI at so many seconds after 10:03; `more` are other sets."""
    return Sample(AT_S + at_s, {ENI.node: NodeSample({}, {"connections": held, **more}, 0, NO_TRAFFIC, NO_TRAFFIC)})


def folded(
    samples: Sequence[Sample],
    metric: str,
    period_s: float = MINUTE_S,
    limiters: Sequence[Limiter] = LIMITERS,
) -> list[tuple[float, float]]:
    """The points of one metric: seconds after 10:03, and the value."""
    series = fold(samples, (ENI, NAT), limiters, period_s)
    (found,) = (each for each in series if each.metric.name == metric)
    return [(each.start_s - AT_S, each.value) for each in found.points]


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────


def test_all_of_awss_metrics() -> None:
    """Names, units and statistics are those of AWS's page; the others say that they are not AWS's."""
    ways = [f"{what}{way}" for what in ("Bytes", "Packets") for way in _WAYS]
    maxima = ("ActiveConnectionCount", "PeakBytesPerSecond", "PeakPacketsPerSecond")
    sums = (
        *("ConnectionAttemptCount", "ConnectionEstablishedCount", "ErrorPortAllocation", "IdleTimeoutCount"),
        *("PacketsDropCount", *ways),
    )
    reported = {each.name: each for each in METRICS if each.reported}
    assert sorted(reported) == sorted((*maxima, *sums))
    assert all(each.kind == "nat_gateway" for each in reported.values())
    assert {reported[name].statistic for name in maxima} == {"Maximum"}
    assert {reported[name].statistic for name in sums} == {"Sum"}
    assert {name for name, each in reported.items() if each.unit == "Bytes"} == set(ways[:4])
    assert {each.kind for each in METRICS if not each.reported} == {"hyperplane_eni", "server"}


_WAYS = ("InFromSource", "OutToDestination", "InFromDestination", "OutToSource")


def test_every_metric_has_one_number() -> None:
    """Each metric is a count, a level or a peak, and nothing is none."""
    numbers = [*COUNTS, *LEVELS, *PEAKS]
    assert sorted(numbers) == sorted({each.name for each in METRICS})


# ── Which period ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("late_s", [-0.001, 0.0, 0.004, 0.049])
def test_a_sample_on_the_minute_closes_the_minute_before(late_s: float) -> None:
    """What came until 10:04:00 is of 10:03, though the sample is taken some milliseconds later."""
    samples = [nat(0), nat(60 + late_s, connections_established=7), nat(61, connections_established=9)]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 7), (60, 2)]


def test_a_sample_later_than_that_is_of_the_next_minute() -> None:
    """What a sample has belongs to the minute that it was taken in."""
    samples = [nat(0.004), nat(60.2, connections_established=7)]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 0), (60, 7)]


def test_the_first_sample_is_the_one_to_count_from() -> None:
    """What was counted before has no period."""
    samples = [nat(30, connections_established=100), nat(31, connections_established=103)]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 3)]


def test_every_minute_has_a_point() -> None:
    """Where there are no samples nothing changed: levels carry on, sums are 0."""
    samples = [nat(0, active=5), nat(30, active=9, connections_established=4), nat(250, active=9)]
    assert folded(samples, "ActiveConnectionCount") == [(0, 9), (60, 9), (120, 9), (180, 9), (240, 9)]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 4), (60, 0), (120, 0), (180, 0), (240, 0)]


def test_a_maximum_is_of_what_the_period_had() -> None:
    """The level at the end of a minute is that minute's; the next one has what comes after."""
    samples = [nat(0), nat(59, active=30), nat(60.003, active=30), nat(61, active=2), nat(90, active=1)]
    assert folded(samples, "ActiveConnectionCount") == [(0, 30), (60, 2)]


def test_without_samples() -> None:
    """A lab without samples has all of its metrics, and no points."""
    series = fold((), (ENI, NAT), LIMITERS, MINUTE_S)
    assert [each.metric.name for each in series if each.node == "natgw"] == [
        each.name for each in METRICS if each.reported
    ]
    assert all(each.points == () for each in series)


def test_one_sample() -> None:
    """A lab that has just come up has one point of each metric."""
    assert folded([nat(3, active=2, connections_established=5)], "ActiveConnectionCount") == [(0, 2)]
    assert folded([nat(3, active=2, connections_established=5)], "ConnectionEstablishedCount") == [(0, 0)]


def test_a_clock_that_is_set_back() -> None:
    """Time does not run backwards: what was counted stays, in the period that was the last."""
    samples = [nat(0), nat(70, connections_established=1), nat(10, connections_established=3)]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 0), (60, 3)]


# ── Nodes that come, go and begin anew ──────────────────────────────────────────────────────────────────────


def test_a_node_that_comes_later_is_counted_from_its_making() -> None:
    """A NAT gateway that `lab up` adds has had no count before: all it has is new, and its series begins then."""
    samples = [eni(0), eni(59), *(nat(90, connections_established=2), nat(150, connections_established=2))]
    assert folded(samples, "ConnectionEstablishedCount") == [(60, 2), (120, 0)]


def test_a_node_that_is_made_again_begins_at_0() -> None:
    """Counters that have less than before have begun anew; nothing is negative, and nothing falls idle by it."""
    samples = [
        nat(0),
        nat(1, active=10, connections_established=10, connections_admitted=10, outer=InterfaceCount(9, 900, 9, 900)),
        nat(2, active=3, connections_established=3, connections_admitted=4, outer=InterfaceCount(2, 200, 2, 200)),
    ]
    assert folded(samples, "ConnectionEstablishedCount") == [(0, 13)]
    assert folded(samples, "ConnectionAttemptCount") == [(0, 14)]
    assert folded(samples, "PacketsInFromDestination") == [(0, 11)]
    assert folded(samples, "IdleTimeoutCount") == [(0, 0)]


def test_a_counter_that_goes_with_its_elastic_ip_takes_nothing_along() -> None:
    """What an Elastic IP refused stays counted when it is removed, and what the others refuse then counts in full."""
    samples = [
        nat(0),
        nat(1, refused_packets_eip1=4, refused_packets_eip2=8),
        nat(2, refused_packets_eip1=4),
        nat(3, refused_packets_eip1=9),
    ]
    assert folded(samples, "ErrorPortAllocation", 1) == [(0, 12), (1, 0), (2, 5)]


def test_counters_that_were_read_one_after_the_other() -> None:
    """A count that is short by one for a moment, for it is made of several, is never negative and loses nothing."""
    samples = [
        nat(0),
        nat(1, connections_admitted=5),
        nat(2, connections_admitted=5, connections_admitted_late=1),  # and the refusal is read before it is counted
        nat(3, connections_admitted=6, connections_admitted_late=1, refused_connections_eip1_tcp=1),
    ]
    assert folded(samples, "ConnectionAttemptCount", 1) == [(0, 5), (1, 0), (2, 1)]


# ── What each metric is ─────────────────────────────────────────────────────────────────────────────────────


def test_attempts() -> None:
    """A connection is one attempt: admitted, refused, or refused and then admitted; flows over UDP are none."""
    counters = {
        "connections_admitted": 30,
        "connections_admitted_late": 4,
        "refused_connections_eip1_cache_tcp": 10,
        "refused_connections_undeclared_tcp": 2,
        "refused_connections_eip1_cache_udp": 7,
    }
    assert folded([nat(0), nat(1, counters)], "ConnectionAttemptCount") == [(0, 38)]


def test_port_errors_and_drops() -> None:
    """Every packet without a port, TCP and UDP, counts as an error and as a drop; what else is dropped as a drop."""
    counters = {
        "refused_packets_eip1_cache_tcp": 10,
        "refused_packets_eip1_cache_udp": 5,
        "ports_not_found": 2,
        "conntrack_drops": 3,
        "invalid_packets": 20,
        "other_packets": 40,
        "resets_sent": 1_000,
    }
    samples = [nat(0), nat(1, counters)]
    assert folded(samples, "ErrorPortAllocation") == [(0, 17)]
    assert folded(samples, "PacketsDropCount") == [(0, 78)]


def test_the_four_ways() -> None:
    """The source is at the inner interface, the destination at the outer one."""
    samples = [nat(0), nat(1, inner=InterfaceCount(1, 10, 2, 20), outer=InterfaceCount(3, 30, 4, 40))]
    found = {name: folded(samples, name)[0][1] for name in COUNTS if name.endswith(_WAYS)}
    assert found == {
        "PacketsInFromSource": 1,
        "PacketsOutToSource": 2,
        "PacketsInFromDestination": 3,
        "PacketsOutToDestination": 4,
        "BytesInFromSource": 10,
        "BytesOutToSource": 20,
        "BytesInFromDestination": 30,
        "BytesOutToDestination": 40,
    }


def test_peaks_are_averages_of_ten_seconds() -> None:
    """Of a minute the busiest of its six times ten seconds counts, both sides together, what is sent does not."""
    received = [(0, 0), (5, 100), (10, 200), (15, 900), (60, 1_000), (61, 1_030)]
    samples = [
        nat(at, inner=InterfaceCount(n, 50 * n, 7 * n, 9 * n), outer=InterfaceCount(2 * n, 100 * n, 5 * n, 3 * n))
        for at, n in received
    ]
    assert folded(samples, "PeakPacketsPerSecond") == [(0, 210), (60, 9)]
    assert folded(samples, "PeakBytesPerSecond") == [(0, 10_500), (60, 450)]
    assert folded(samples, "PeakPacketsPerSecond", 30)[:3] == [(0, 210), (30, 30), (60, 9)]


def test_peaks_of_shorter_periods_are_their_averages() -> None:
    """In periods of less than ten seconds there is only the period itself."""
    samples = [nat(0), nat(1, inner=InterfaceCount(30, 0, 0, 0)), nat(2, inner=InterfaceCount(40, 0, 0, 0))]
    assert folded(samples, "PeakPacketsPerSecond", 1) == [(0, 30), (1, 10)]
    assert folded(samples, "PeakPacketsPerSecond", 5) == [(0, 8)]


def test_an_enis_connections_and_headroom() -> None:
    """The most that held a slot, and the least that were free."""
    samples = [eni(0, 3), eni(10, 18), eni(20, 5), eni(70, 6)]
    assert folded(samples, "Connections") == [(0, 18), (60, 6)]
    assert folded(samples, "Headroom") == [(0, 2), (60, 14)]


def test_headroom_of_enis_that_stand_in_for_one_another() -> None:
    """A further ENI's slots are free once it is there, not while it grows; its connections count with the first's."""
    further = {"node": "eni-private-a-2", "of": ENI.node, "asked": "asked_2", "growing": "growing_2"}
    limiters = (*LIMITERS, limiter(ENI, "connections_2", 20, **further))
    samples = [
        eni(0, 0),
        eni(1, 20),
        eni(2, 20, asked_2=1, growing_2=1),
        eni(3, 20, asked_2=1),
        eni(4, 20, asked_2=1, connections_2=7),
    ]
    assert folded(samples, "Headroom", 1, limiters) == [(0, 0), (1, 0), (2, 20), (3, 13)]
    assert folded(samples, "Connections", 1, limiters) == [(0, 20), (1, 20), (2, 20), (3, 27)]


def test_headroom_where_each_destination_has_a_limit() -> None:
    """What is free towards one destination is of no use to another: the fullest counts."""
    limiters = [
        limiter(ENI, f"to_{name}_tcp", 20, destination=name, protocol="tcp") for name in ("cache", "store", "others")
    ]
    samples = [eni(0, to_cache_tcp=4, to_store_tcp=19)]
    assert folded(samples, "Headroom", 1, limiters) == [(0, 1)]
    assert folded(samples, "Connections", 1, limiters) == [(0, 23)]


# ── Whatever the samples ────────────────────────────────────────────────────────────────────────────────────

_STEPS = st.lists(
    st.tuples(
        st.integers(1, 90),  # seconds since the one before
        st.integers(0, 50),  # connections established
        st.integers(0, 50),  # packets refused
        st.integers(0, 50),  # packets received
        st.integers(0, 20),  # active
    ),
    min_size=1,
    max_size=12,
)


def _story(steps: list[tuple[int, int, int, int, int]], late_s: float = 0.002) -> list[Sample]:
    """Samples on the second, each with so much more than the one before."""
    at_s = established = refused = received = active = 0
    samples = []
    for seconds, *more, at_most in steps:
        active = min(at_most, active + more[0])  # only what is established becomes active
        at_s, established, refused, received = (
            total + each for total, each in zip((at_s, established, refused, received), (seconds, *more), strict=True)
        )
        counters = {"connections_established": established, "refused_packets_eip1": refused}
        inner = InterfaceCount(received, 60 * received, 0, 0)
        samples.append(nat(at_s + late_s, counters, active=active, inner=inner))
    return samples


@given(_STEPS, st.sampled_from([60, 30, 10, 5, 1]))
def test_sums_add_up(steps: list[tuple[int, int, int, int, int]], period_s: int) -> None:
    """Whatever the period, its sums together are the difference of the last sample and the first; none is missing."""
    samples = _story(steps)
    first, last = samples[0].nodes["natgw"], samples[-1].nodes["natgw"]
    for metric in ("ConnectionEstablishedCount", "ErrorPortAllocation", "BytesInFromSource"):
        points = folded(samples, metric, period_s)
        assert sum(value for _, value in points) == COUNTS[metric](last) - COUNTS[metric](first)
        starts = [start for start, _ in points]
        assert starts == [starts[0] + period_s * index for index in range(len(points))]
        assert all(start % period_s == 0 for start in starts)
        assert starts[0] <= samples[0].at_s - AT_S < starts[0] + period_s
        assert starts[-1] < samples[-1].at_s - AT_S <= starts[-1] + period_s + 0.01 or len(points) == 1


@given(_STEPS)
def test_maxima_are_the_highest(steps: list[tuple[int, int, int, int, int]]) -> None:
    """The highest of all maxima is the highest level that any sample had, whatever the period."""
    samples = _story(steps)
    most = max(each.nodes["natgw"].active for each in samples)
    for period_s in (1, 60):
        assert max(value for _, value in folded(samples, "ActiveConnectionCount", period_s)) == most


@examples(40)
@given(_STEPS)
def test_what_a_history_leaves_out_makes_no_difference(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, int, int, int]]
) -> None:
    """Folded, the samples that a lab keeps are as those of each second, whatever the period."""
    changes = _story(steps)
    before = changes[0]
    each_second = [before]
    for change in changes[1:]:
        seconds = round(change.at_s - before.at_s)
        each_second += [replace(before, at_s=before.at_s + second) for second in range(1, seconds)]
        each_second.append(change)
        before = change
    directory = tmp_path_factory.mktemp("lab")
    history = History(directory)
    for sample in each_second:
        history.add(sample)
    kept = [*read(directory), each_second[-1]]
    for period_s in (60, 1):
        assert fold(kept, (NAT,), LIMITERS, period_s) == fold(each_second, (NAT,), LIMITERS, period_s)


@given(_STEPS, st.integers(1, 50), st.sampled_from([60, 10]))
def test_the_last_periods_are_those_of_all(
    steps: list[tuple[int, int, int, int, int]], last: int, period_s: int
) -> None:
    """With the samples since the beginning of a period, its points and all later ones are as with all samples."""
    samples = _story(steps)
    start_s = (samples[-1].at_s // period_s - last) * period_s
    every = fold(samples, (NAT,), LIMITERS, period_s)
    for whole, part in zip(every, fold(since(samples, start_s), (NAT,), LIMITERS, period_s), strict=True):
        # The very first sample may be on the second at which a period begins: it opens that one, and closes none.
        from_s = max(start_s, whole.points[1 % len(whole.points)].start_s)
        wanted = [each for each in whole.points if each.start_s >= from_s]
        assert [each for each in part.points if each.start_s >= from_s] == wanted
        assert len(part.points) <= len(wanted) + 2


# ── As CloudWatch answers ───────────────────────────────────────────────────────────────────────────────────


def test_get_metric_data() -> None:
    """The document has CloudWatch's shape: the newest first, ISO 8601, and what is not AWS's says so, last."""
    samples = [eni(0, 3), nat(1), nat(61, connections_established=2), nat(130, connections_established=5)]
    document = get_metric_data(fold(samples, (ENI, NAT), LIMITERS, MINUTE_S))
    assert list(document) == ["MetricDataResults", "Messages"]
    assert document["Messages"] == []
    assert json.loads(json.dumps(document)) == document
    results = document["MetricDataResults"]
    by_id = {each["Id"]: each for each in results}
    assert len(by_id) == len(results) == sum(each.kind in (ENI.kind, NAT.kind) for each in METRICS)
    assert by_id["connectionEstablishedCount_natgw"] == {
        "Id": "connectionEstablishedCount_natgw",
        "Label": "natgw ConnectionEstablishedCount",
        "Timestamps": ["2026-11-22T10:05:00+00:00", "2026-11-22T10:04:00+00:00", "2026-11-22T10:03:00+00:00"],
        "Values": [3.0, 2.0, 0.0],
        "StatusCode": "Complete",
    }
    assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]{0,254}", each["Id"]) for each in results)
    hidden = [NOT_REPORTED in each["Label"] for each in results]
    assert hidden == sorted(hidden)
    assert hidden.count(True) == 4
    assert by_id["headroom_eni_private_a"]["Label"] == f"eni-private-a Headroom ({NOT_REPORTED})"
    begun = datetime.fromisoformat(by_id["headroom_eni_private_a"]["Timestamps"][-1])
    assert begun == datetime.fromtimestamp(AT_S, UTC)


def test_get_metric_data_of_nothing() -> None:
    """Series without points have results without values."""
    (result,) = get_metric_data([Series("natgw", METRICS[0], ())])["MetricDataResults"]
    assert (result["Timestamps"], result["Values"], result["StatusCode"]) == ([], [], "Complete")


def test_a_point_is_a_value() -> None:
    """Points are equal when they say the same."""
    assert Point(60.0, 1.0) == Point(60.0, 1.0)


# ── For Prometheus ──────────────────────────────────────────────────────────────────────────────────────────


class Scraped:
    """An endpoint on a port that is free, and what there is to scrape."""

    def __init__(self) -> None:
        self.sample: Sample | None = nat(0)
        self._serving = serve(self._observe, 0)
        self.url = self._serving.url

    def _observe(self) -> Observation | None:
        return None if self.sample is None else Observation("tiny", (ENI, NAT), LIMITERS, self.sample)

    def text(self) -> str:
        """One scrape."""
        with urlopen(self.url, timeout=5) as answer:  # noqa: S310 - loopback
            text: str = answer.read().decode()
        return text

    def value(self, name: str, node: str) -> float:
        """One value of one scrape."""
        (line,) = (each for each in self.text().splitlines() if each.startswith(f'{name}{{lab="tiny",node="{node}"}} '))
        return float(line.rpartition(" ")[2])

    def close(self) -> None:
        """Answer no more."""
        self._serving.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Scraped]:
    """Closed in the end, which takes half a second."""
    found = Scraped()
    yield found
    found.close()


@pytest.fixture
def scraped(endpoint: Scraped) -> Scraped:
    """Of a lab in which nothing has happened."""
    endpoint.sample = nat(0)
    return endpoint


def test_a_scrape(scraped: Scraped) -> None:
    """Counters and gauges have Prometheus's names, and help that names CloudWatch's metric."""
    scraped.sample = Sample(AT_S, {**nat(0, active=7, connections_established=9).nodes, **eni(0, 18).nodes})
    text = scraped.text()
    assert scraped.url.startswith("http://127.0.0.1:")
    assert "# TYPE lab_nat_gateway_connections_established_total counter" in text
    assert "# TYPE lab_nat_gateway_active_connections gauge" in text
    assert "# HELP lab_nat_gateway_port_allocation_errors_total CloudWatch's ErrorPortAllocation: packets" in text
    assert f"# HELP lab_hyperplane_eni_free_slots Headroom, {NOT_REPORTED}: " in text
    assert scraped.value("lab_nat_gateway_connections_established_total", "natgw") == 9
    assert scraped.value("lab_nat_gateway_active_connections", "natgw") == 7
    assert scraped.value("lab_hyperplane_eni_connections", "eni-private-a") == 18
    assert scraped.value("lab_hyperplane_eni_free_slots", "eni-private-a") == 2
    told = {each.name for each in METRICS if re.search(rf"^# HELP .*\b{each.name}\b", text, re.MULTILINE)}
    assert {each.name for each in METRICS} - told == {"PeakBytesPerSecond", "PeakPacketsPerSecond"}


def test_counters_of_prometheus_never_fall_by_one(scraped: Scraped) -> None:
    """To Prometheus a counter that falls has begun anew at 0: a count short for a moment stays as it was."""
    name, node = "lab_nat_gateway_connection_attempts_total", "natgw"
    scraped.sample = nat(0, connections_established=50, connections_admitted=100)
    assert scraped.value(name, node) == 100
    scraped.sample = nat(1, connections_established=50, connections_admitted=100, connections_admitted_late=1)
    assert scraped.value(name, node) == 100
    scraped.sample = nat(2, connections_established=5, connections_admitted=5)  # made again
    assert scraped.value(name, node) == 5


@pytest.mark.parametrize("version", ["x", "1.x", "", "9" * 5_000])
def test_a_format_whose_version_is_no_number(scraped: Scraped, version: str, capfd: pytest.CaptureFixture[str]) -> None:
    """It is not among those that a scraper accepts: it gets the usual one, and nobody a traceback."""
    accepted = {"Accept": f"application/openmetrics-text; version={version}"}
    with urlopen(Request(scraped.url, headers=accepted), timeout=5) as answer:  # noqa: S310 - loopback
        assert answer.headers["Content-Type"].startswith("text/plain")
    assert capfd.readouterr().err == ""


def test_a_scrape_of_a_lab_that_is_gone(scraped: Scraped) -> None:
    """There is nothing to tell of, and no traceback."""
    scraped.sample = None
    assert scraped.text() == ""


def test_clients_that_hang_or_reset(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They have a bounded number of threads, each for a bounded time, and leave no traceback."""
    monkeypatch.setattr("lab.metrics.exposition._Handler.timeout", 0.2)
    url = urlsplit(scraped.url)
    with ExitStack() as open_ones:
        address = (str(url.hostname), int(url.port or 0))
        silent = [open_ones.enter_context(socket.create_connection(address)) for _ in range(40)]
        for client in silent:
            client.settimeout(30)
            assert client.recv(1) == b""  # closed, at once or when its time is over
    with socket.create_connection(address) as rude:
        rude.sendall(b"GET /metr")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close(2) sends a RST
    assert eventually(lambda: "lab_nat_gateway" in scraped.text())
    assert capfd.readouterr().err == ""


# ── The command ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--last", "0"), "--last 0: at least one period\n"),
        (("--last", "9" * 400), "--last: at most 1,000,000 periods"),
        (("--prometheus", "0"), "--prometheus 0: no port; they go from 1 to 65535\n"),
        (("--prometheus", "65536"), "--prometheus 65536: no port; they go from 1 to 65535\n"),
        (("--prometheus", "9464", "--json"), "--prometheus --json: Prometheus asks for itself, and has its own format"),
    ],
)
def test_arguments_that_make_no_sense(run: Run, arguments: tuple[str, ...], text: str) -> None:
    """A sentence and status 2, before anything is looked for."""
    status, out, err = run("metrics", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith(text)


def test_periods(run: Run) -> None:
    """Only CloudWatch's periods can be asked for."""
    status, _, err = run("metrics", "--period", "7")
    assert status == 2
    assert all(f"'{period}'" in err for period in (60, 30, 10, 5, 1))


def test_without_prometheus_client(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra: without it there is a sentence with the command that installs it, and status 3."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    status, out, err = run("metrics", "--prometheus", "9464")
    assert (status, out) == (3, "")
    assert err == f"not installed: prometheus-client; run: {sys.executable} -m pip install prometheus-client\n"

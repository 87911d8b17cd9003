"""Who shares a limit with whom, and the ways that are there and are not: as each topology says that ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.diagnosis.verdict import judge
from tests.support.labs import inside

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine


def as_predicted(result: BurstResult) -> bool:
    """Whether arithmetic said so beforehand, and clients and kernel tell the same story."""
    seen = (result.tcp.established, result.drop_threshold, result.bottleneck)
    predicted = result.predicted
    assert (predicted.established, predicted.drop_threshold, predicted.bottleneck) == seen
    assert result.disagreements == ()
    return True


@pytest.mark.alone
def test_functions_with_one_subnet_and_security_group_set_share_an_eni(lab_up: LabUp, topologies: Path) -> None:
    """65,000 together, at full scale: what the one holds, the other cannot have."""
    lab = lab_up(topologies / "shared_eni.yaml")
    first = lab.burst(40_000, function="search", leave_open=True, connect_timeout_s=3)
    second = lab.burst(40_000, function="checkout", connect_timeout_s=3)
    assert [first.tcp.established, second.tcp.established] == [40_000, 25_000]
    assert second.dns.failed == 0
    assert second.bottleneck == "hyperplane_eni"
    (eni,) = (limit for limit in second.limits if limit.kind == "hyperplane_eni")
    assert (eni.peak, eni.dropped_connections) == (65_000, 15_000)
    assert as_predicted(first)
    assert as_predicted(second)


@pytest.mark.alone
def test_another_security_group_set_is_another_eni(lab_up: LabUp, topologies: Path) -> None:
    """65,000 for each of two functions in one subnet, at the same time, at full scale."""
    lab = lab_up(topologies / "own_eni.yaml")
    first = lab.burst(66_000, function="search", leave_open=True, connect_timeout_s=3)
    second = lab.burst(66_000, function="checkout", connect_timeout_s=3)
    assert [first.tcp.established, second.tcp.established] == [65_000, 65_000]
    enis = {limit.node: limit.peak for each in (first, second) for limit in each.limits if "eni" in limit.node}
    assert enis == {"eni-private-a-search": 65_000, "eni-private-a": 65_000}
    assert as_predicted(first)
    assert as_predicted(second)


@pytest.mark.alone
def test_outside_the_vpc_there_is_no_limit(lab_up: LabUp, topologies: Path) -> None:
    """70,000 connections, where the same function inside has 55,000: no ENI and no NAT gateway on the way."""
    lab = lab_up(topologies / "outside_vpc.yaml")
    outside = lab.burst(70_000, function="outside", leave_open=True, connect_timeout_s=3)
    assert (outside.dns.failed, outside.tcp.established, outside.limits) == (0, 70_000, ())
    assert outside.bottleneck is None
    assert as_predicted(outside)
    assert not any(each.in_use for each in lab.readings())
    within = lab.burst(56_000, connect_timeout_s=3)
    assert (within.tcp.established, within.bottleneck) == (55_000, "nat_gateway")
    assert as_predicted(within)


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_every_engine_finds_the_egress(lab_up: LabUp, topologies: Path, engine: Engine) -> None:
    """Rings, real sockets and scapy reach the server from outside the VPC, and so does curl."""
    lab = lab_up(topologies / "outside_vpc.yaml", scale=100)
    result = lab.burst(30, function="outside", engine=engine, connect_timeout_s=3)
    assert (result.dns.answered, result.tcp.established, result.disagreements) == (30, 30, ())
    page = inside(lab, "outside", "curl -sS --max-time 10 http://cache.example.com:443/")
    assert "client: 100." in page


@pytest.mark.alone
def test_a_nat_gateway_in_each_zone(lab_up: LabUp, topologies: Path) -> None:
    """Each has 55,000 for its own subnet, and nothing for the other's; at full scale."""
    result = lab_up(topologies / "two_zones.yaml").burst(120_000, connect_timeout_s=3)
    assert (result.tcp.established, result.drop_threshold) == (110_000, 110_000)
    peaks = {limit.node: limit.peak for limit in result.limits}
    assert peaks == {"eni-private-a": 60_000, "eni-private-b": 60_000, "natgw-a": 55_000, "natgw-b": 55_000}
    assert as_predicted(result)


def test_two_zones_with_unequal_gateways(lab_up: LabUp, tmp_path: Path, topologies: Path) -> None:
    """One zone's gateway is full while the other has room: half of the connections go on."""
    text = (topologies / "two_zones.yaml").read_text()
    path = tmp_path / "unequal.yaml"
    path.write_text(text.replace("subnet: public-b, elastic_ips: 1", "subnet: public-b, elastic_ips: 2"))
    result = lab_up(path, scale=500).burst(250, connect_timeout_s=3)
    assert result.tcp.established == 110 + 125
    assert [limit.dropped_connections for limit in result.limits if limit.kind == "nat_gateway"] == [15, 0, 0]
    assert as_predicted(result)


def test_a_subnet_without_a_route(lab_up: LabUp, topologies: Path) -> None:
    """Every second invocation fails from the first on, and the verdict says why: no route, not a limit."""
    result = lab_up(topologies / "no_route.yaml").burst(1_000, connect_timeout_s=3)
    assert (result.dns.failed, result.tcp.established, result.tcp.timed_out) == (0, 500, 500)
    assert (result.drop_threshold, result.bottleneck) == (1, None)
    assert [(stop.kind, stop.name, stop.dropped_packets) for stop in result.stops] == [("no_route", "private-b", 1_000)]
    assert as_predicted(result)
    verdict = judge(result)
    assert "No route" in verdict.headline
    assert "limit reached" not in verdict.headline


def test_no_route_and_a_limit(lab_up: LabUp, topologies: Path) -> None:
    """An ENI that leads nowhere fills all the same, with connections that are half open."""
    result = lab_up(topologies / "no_route.yaml", scale=1000).burst(150, connect_timeout_s=3)
    assert (result.tcp.established, result.tcp.timed_out) == (55, 95)
    assert (result.drop_threshold, result.bottleneck) == (1, "nat_gateway")
    assert as_predicted(result)
    assert "Limits refused 30 connections as well." in judge(result).explanation

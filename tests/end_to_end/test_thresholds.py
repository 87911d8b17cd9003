"""Each topology that ships shows its threshold, to the connection: the article's at full AWS scale."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.labs import without_times
from traffic.spec import Engine

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.pytest_plugin import LabUp


def require_threshold(result: BurstResult, offered: int, established: int, bottleneck: str | None) -> None:
    """DNS always succeeds, connections do up to the limit, the rest is dropped: as predicted, in both accounts."""
    threshold = established if established < offered else None
    assert (result.dns.asked, result.dns.answered, result.dns.failed) == (offered, offered, 0)
    assert (result.tcp.established, result.tcp.timed_out) == (established, offered - established)
    assert (result.drop_threshold, result.bottleneck) == (threshold, bottleneck)
    assert (result.predicted.established, result.predicted.drop_threshold) == (established, threshold)
    assert result.predicted.bottleneck == bottleneck
    assert result.disagreements == ()
    assert sum(limit.dropped_connections for limit in result.limits) == offered - established
    # With a deadline of 3 s the classic schedule has one retransmission, after 1 s.
    assert sum(limit.dropped_packets for limit in result.limits) == 2 * (offered - established)


@pytest.mark.parametrize(
    ("name", "offered", "established", "bottleneck"),
    [
        pytest.param("one_subnet_two_eips", 70_000, 65_000, "hyperplane_eni", marks=pytest.mark.alone),
        pytest.param("seven_subnets_eight_eips", 450_000, 440_000, "nat_gateway", marks=pytest.mark.alone),
        ("tiny", 50, 30, "nat_gateway"),
        ("idle_timeout", 400, 300, "nat_gateway"),
        ("half_open", 400, 300, "hyperplane_eni"),
        ("port_hold", 400, 300, "nat_gateway"),
    ],
)
def test_a_topology_that_ships_drops_exactly_at_its_limit(
    lab_up: LabUp, topologies: Path, *, name: str, offered: int, established: int, bottleneck: str
) -> None:
    """Not one connection sooner or later."""
    result = lab_up(topologies / f"{name}.yaml").burst(offered, connect_timeout_s=3)
    require_threshold(result, offered, established, bottleneck)


@pytest.mark.alone
def test_one_subnet_with_real_and_emulated_connections(lab_up: LabUp, topologies: Path) -> None:
    """60,000 real connections, of several processes, are dropped at the same number as emulated ones."""
    engines: tuple[Engine, ...] = ("packet", "socket")
    accounts = []
    for engine in engines:
        with lab_up(topologies / "one_subnet.yaml") as lab:  # what the NAT gateway refused stays half-open at the ENI
            result = lab.burst(60_000, engine=engine, connect_timeout_s=3)
        require_threshold(result, 60_000, 55_000, "nat_gateway")
        accounts.append(without_times(result))
    assert accounts[0] == accounts[1]


@pytest.mark.alone
def test_two_subnets_and_closed_connections(lab_up: LabUp, topologies: Path) -> None:
    """130,000 of 140,000; a burst after it has all its 120,000, for the first one has let go of every slot."""
    lab = lab_up(topologies / "two_subnets.yaml")
    for offered, established, peak, bottleneck in (
        (140_000, 130_000, 65_000, "hyperplane_eni"),
        (120_000, 120_000, 60_000, None),
    ):
        result = lab.burst(offered, connect_timeout_s=3)
        require_threshold(result, offered, established, bottleneck)
        assert [limit.peak for limit in result.limits if limit.kind == "hyperplane_eni"] == [peak, peak]

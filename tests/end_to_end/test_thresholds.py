"""Each topology that ships shows its threshold at full AWS scale, to the connection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp

pytestmark = pytest.mark.alone

CASES = [
    ("one_subnet", 60_000, 55_000, 55_000, "nat_gateway"),
    ("one_subnet_two_eips", 70_000, 65_000, 65_000, "hyperplane_eni"),
    ("two_subnets", 140_000, 130_000, 130_000, "hyperplane_eni"),
    ("two_subnets", 120_000, 120_000, None, None),
    ("seven_subnets_eight_eips", 450_000, 440_000, 440_000, "nat_gateway"),
    ("tiny", 50, 30, 30, "nat_gateway"),
    ("idle_timeout", 400, 300, 300, "nat_gateway"),
    ("half_open", 400, 300, 300, "hyperplane_eni"),
    ("port_hold", 400, 300, 300, "nat_gateway"),
]


@pytest.mark.parametrize(("name", "offered", "established", "threshold", "bottleneck"), CASES)
def test_a_topology_that_ships_drops_exactly_at_its_limit(
    lab_up: LabUp,
    topologies: Path,
    *,
    name: str,
    offered: int,
    established: int,
    threshold: int | None,
    bottleneck: str | None,
) -> None:
    """DNS always succeeds, connections do up to the limit, the rest is dropped: as predicted, in both accounts."""
    result = lab_up(topologies / f"{name}.yaml").burst(offered, connect_timeout_s=3)
    assert (result.dns.asked, result.dns.answered, result.dns.failed) == (offered, offered, 0)
    assert (result.tcp.established, result.tcp.timed_out) == (established, offered - established)
    assert (result.drop_threshold, result.bottleneck) == (threshold, bottleneck)
    assert (result.predicted.established, result.predicted.drop_threshold) == (established, threshold)
    assert result.predicted.bottleneck == bottleneck
    assert result.disagreements == ()
    assert sum(limit.dropped_connections for limit in result.limits) == offered - established
    # With a deadline of 3 s the classic schedule has one retransmission, after 1 s.
    assert sum(limit.dropped_packets for limit in result.limits) == 2 * (offered - established)


def test_closed_connections_free_their_slots(lab_up: LabUp, topologies: Path) -> None:
    """Two bursts in a row show the same, because the first one's connections have let go of their slots."""
    lab = lab_up(topologies / "two_subnets.yaml")
    first, second = (lab.burst(140_000, connect_timeout_s=3) for _ in range(2))
    assert first.tcp == second.tcp
    assert first.drop_threshold == second.drop_threshold == 130_000
    assert [limit.peak for limit in second.limits if limit.kind == "hyperplane_eni"] == [65_000, 65_000]
    assert second.disagreements == ()

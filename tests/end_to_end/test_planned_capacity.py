"""What `lab plan-capacity` promises of its topology, the kernel keeps: the peak, and not one connection more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.capacity.demand import Demand, Place
from lab.capacity.planning import CapacityPlan, plan_capacity
from lab.capacity.topology import topology_text

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

Up = Callable[[CapacityPlan, int], "Lab"]


@pytest.fixture
def up(lab_up: LabUp, tmp_path: Path) -> Up:
    """Brings up the topology of a plan, its limits divided by a number."""

    def bring_up(plan: CapacityPlan, scale: int) -> Lab:
        file = tmp_path / "planned.yaml"
        file.write_text(topology_text(plan), encoding="utf-8")
        return lab_up(file, scale=scale)

    return bring_up


@pytest.mark.parametrize(
    ("peak", "to", "nat_gateways", "scale"),
    [
        (130_000, "internet", 1, 100),  # full ENIs
        (110_000, "internet", 1, 100),  # full Elastic IPs
        (455_000, "internet", 1, 1_000),  # more than one NAT gateway carries: two that differ
        (330_000, "internet", 3, 1_000),  # a NAT gateway for each of three availability zones
        (130_000, "vpc", 1, 1_000),  # ENIs alone
        (65_000, "s3", 1, 1_000),  # and a gateway endpoint
    ],
)
def test_the_planned_peak_is_carried_and_not_one_more(
    up: Up, peak: int, to: Place, nat_gateways: int, scale: int
) -> None:
    """A burst of the peak is established, one more connection is dropped by the limiter that the plan names."""
    plan = plan_capacity(Demand(peak=peak, to=to, nat_gateways=nat_gateways, headroom_percent=0))
    assert plan.capacity == peak
    lab, carried = up(plan, scale), peak // scale
    all_of_it = lab.burst(carried, connect_timeout_s=3)
    assert (all_of_it.tcp.established, all_of_it.bottleneck, all_of_it.disagreements) == (carried, None, ())
    one_more = lab.burst(carried + 1, connect_timeout_s=3)
    assert (one_more.tcp.established, one_more.tcp.timed_out) == (carried, 1)
    assert (one_more.drop_threshold, one_more.bottleneck) == (carried, plan.bottleneck)
    assert one_more.disagreements == ()


def test_two_servers_have_a_share_each(up: Up) -> None:
    """One Elastic IP carries the peak to two servers at the same time, to each its share; one more is dropped."""
    plan = plan_capacity(Demand(peak=110_000, servers=2, headroom_percent=0))
    assert (plan.layout.elastic_ips, plan.capacity, plan.bottleneck) == (1, 110_000, "nat_gateway")
    lab = up(plan, 100)
    first = lab.burst(550, server="cache-1", connect_timeout_s=3, leave_open=True)
    second = lab.burst(551, server="cache-2", connect_timeout_s=3)
    assert (first.tcp.established, first.bottleneck) == (550, None)
    assert (second.tcp.established, second.drop_threshold, second.bottleneck) == (550, 550, "nat_gateway")


def test_the_price_of_a_missing_headroom(up: Up) -> None:
    """With the headroom that was planned, a peak that is larger by it is still carried."""
    plan = plan_capacity(Demand(peak=88_000, headroom_percent=20))
    lab = up(plan, 100)
    assert lab.burst(880 * 100 // 80, connect_timeout_s=3).tcp.timed_out == 0
    full = lab.burst(plan.capacity // 100 + 1, connect_timeout_s=3)
    assert (full.tcp.timed_out, full.bottleneck) == (1, plan.bottleneck)

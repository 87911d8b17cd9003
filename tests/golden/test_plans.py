"""The plans of the topologies that ship, as `lab up --dry-run` prints them: six whole, the others as what differs.

`LAB_UPDATE_GOLDEN=1 pytest tests/golden/test_plans.py` writes `plans/NAME.txt` or `plans/NAME.diff`: read the change.
"""

from __future__ import annotations

from difflib import unified_diff
from functools import cache
from pathlib import Path

import pytest

from lab.nodes.build import build
from lab.plan import describe
from tests.support.golden import require_golden
from tests.support.topologies import SHIPPED, shipped

PLANS = Path(__file__).parent / "plans"

WHOLE = ("one_subnet", "two_subnets", "privatelink", "resolver_in_vpc", "per_destination", "transit_gateway", "peering")
DIFFERENT_FROM = {
    "database_in_vpc": "one_subnet",
    "ec2_beside_lambda": "one_subnet",
    "endpoint_two_zones": "privatelink",
    "eni_scaling": "one_subnet",
    "gateway_endpoint": "one_subnet",
    "half_open": "one_subnet",
    "idle_timeout": "one_subnet",
    "network_acl": "two_subnets",
    "no_route": "two_subnets",
    "one_subnet_two_eips": "one_subnet",
    "outside_vpc": "one_subnet",
    "own_eni": "two_subnets",
    "port_hold": "one_subnet",
    "ports_per_client": "two_subnets",
    "real_programs": "two_subnets",
    "resolver_quota": "one_subnet",
    "resolver_tcp": "resolver_in_vpc",
    "security_group": "one_subnet",
    "seven_subnets_eight_eips": "two_subnets",
    "server_full": "one_subnet",
    "shared_eni": "one_subnet",
    "tiny": "two_subnets",
    "two_addresses": "two_subnets",
    "two_ports": "two_subnets",
    "two_functions": "one_subnet",
    "two_servers": "two_subnets",
    "two_zones": "two_subnets",
}
"""Topology → the one among those above that its plan is told by."""


@cache
def plan_of(name: str) -> str:
    """The text of a plan; all have one lab's name, so that MAC addresses and namespaces differ only by node."""
    return describe(build(shipped(name), "lab"))


@pytest.mark.parametrize("name", WHOLE)
def test_whole_plan(name: str) -> None:
    """A topology has the plan that stands here, to the last rule."""
    require_golden(plan_of(name), PLANS / f"{name}.txt")


@pytest.mark.parametrize("name", DIFFERENT_FROM)
def test_difference(name: str) -> None:
    """A topology's plan differs from another one's in these lines, and in no others."""
    lines = unified_diff(plan_of(DIFFERENT_FROM[name]).splitlines(), plan_of(name).splitlines(), n=1, lineterm="")
    require_golden("\n".join(lines) + "\n", PLANS / f"{name}.diff")


def test_every_topology_has_its_plan_here() -> None:
    """Every topology that ships is in one of the two tables, and no other plan is left here."""
    assert sorted((*WHOLE, *DIFFERENT_FROM)) == sorted(path.stem for path in SHIPPED)
    assert {path.stem for path in PLANS.iterdir()} == {path.stem for path in SHIPPED}

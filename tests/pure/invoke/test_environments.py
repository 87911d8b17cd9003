"""Who the execution environments of a function are, and what is asked of them."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from lab.errors import UsageError
from lab.invoke.asked import Invocations
from lab.invoke.code import handler_of
from lab.invoke.environments import environments_of, routes_of
from lab.nodes.build import build
from lab.plan.objects import Plan, Rule
from lab.topology import load
from tests.support.topologies import each_shipped, shipped

USERS = range(1_900_000_000, 1_900_001_024)


def of_first(plan: Plan, count: int = 1_000) -> Any:
    """The environments of a plan's first function, and their routes."""
    environments = environments_of(plan.fleets[0], USERS, count)
    return environments, tuple(routes_of(plan, plan.fleets[0], environments))


@each_shipped
def test_each_has_its_own_address_and_its_enis_gateway(path: Path) -> None:
    """They take turns at the ENIs; a route leads to the gateway to which the fleet's own rule for that address does."""
    plan = build(load(path))
    fleet = plan.fleets[0]
    environments, routes = of_first(plan)
    assert len({each.address for each in environments}) == len({each.uid for each in environments}) == 1_000
    enis = [path.eni for path in fleet.paths]
    assert [each.eni for each in environments[: len(enis)]] == enis
    rules = [item for item in plan.objects if isinstance(item, Rule) and item.namespace == fleet.namespace]
    for environment, route in zip(environments, routes, strict=True):
        (rule,) = (rule for rule in rules if rule.source is not None and environment.address in rule.source)
        assert rule.source is not None
        assert (route.uid, route.address) == (environment.uid, environment.address)
        of_path = next(path for path in fleet.paths if path.eni == environment.eni)
        assert of_path.first_address in rule.source


def test_without_user_numbers_all_are_one_user() -> None:
    """In a sandbox without subordinate numbers there is nothing by which the kernel could tell them apart."""
    plan = build(shipped("two_subnets"))
    environments = environments_of(plan.fleets[0], None, 3)
    assert {(each.uid, each.eni, each.address) for each in environments} == {(0, plan.fleets[0].paths[0].eni, None)}
    assert list(routes_of(plan, plan.fleets[0], environments)) == []


def test_the_segment_is_the_service_vpcs() -> None:
    """Questions to the name server on the link have the environment's address, too."""
    _, routes = of_first(build(shipped("two_subnets")), 1)
    assert routes[0].segment == IPv4Network("100.64.0.0/22")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"invocations": 0}, "-n 0: 1 to 10,000,000 invocations"),
        ({"timeout_s": 901.0}, "--timeout 901.0: seconds, up to 900"),
        ({"environments": 1_001}, "--environments 1001: 1 to 1,000 execution environments"),
        ({"memory_mb": 64}, "--memory 64: 128 to 10,240 MB"),
        ({"variables": ("A-B=1",)}, "--env A-B=1: NAME=VALUE"),
        ({"variables": ("A",)}, "--env A: NAME=VALUE"),
    ],
)
def test_nonsense_is_refused(options: dict[str, Any], said: str) -> None:
    """The option, its value, and what is allowed."""
    with pytest.raises(UsageError) as refused:
        Invocations(**{"invocations": 1, "code": ".", **options})
    assert str(refused.value) == said


def test_a_bootstrap_must_be_executable(tmp_path: Path) -> None:
    """The command that makes it so is named."""
    (tmp_path / "bootstrap").write_text("#!/bin/sh\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"chmod \+x .*bootstrap"):
        handler_of(Invocations(1, code=str(tmp_path)))
    (tmp_path / "bootstrap").chmod(0o755)
    assert handler_of(Invocations(1, code=str(tmp_path))).command == (str((tmp_path / "bootstrap").resolve()),)

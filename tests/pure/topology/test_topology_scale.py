"""A topology with smaller limits."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.errors import UsageError
from lab.topology import load, scaled

TWO_SUBNETS = load(Path(__file__).parents[3] / "topologies" / "two_subnets.yaml")


def test_limits_are_divided() -> None:
    """At 100 an ENI carries 650 connections and an Elastic IP 550 per destination."""
    small = scaled(TWO_SUBNETS, 100)
    assert small.hyperplane_eni.connection_limit == 650
    assert [gateway.connections_per_destination for gateway in small.nat_gateways] == [550]


def test_nothing_else_changes() -> None:
    """With its limits put back, a scaled topology is the one that it came from."""
    small = scaled(TWO_SUBNETS, 100)
    (gateway,) = small.nat_gateways
    whole = gateway.model_copy(update={"connections_per_destination": 55_000})
    restored = small.model_copy(
        update={
            "hyperplane_eni": TWO_SUBNETS.hyperplane_eni,
            "vpc": small.vpcs[0].model_copy(update={"nat_gateways": (whole,)}),
        }
    )
    assert restored == TWO_SUBNETS


@given(st.integers(min_value=1))
def test_a_limit_is_at_least_one(n: int) -> None:
    """However small the lab, each limit lets one connection through."""
    small = scaled(TWO_SUBNETS, n)
    assert small.hyperplane_eni.connection_limit >= 1
    assert all(gateway.connections_per_destination >= 1 for gateway in small.nat_gateways)


@pytest.mark.parametrize("n", [0, -1])
def test_nonsense(n: int) -> None:
    """A topology cannot be divided by zero or less."""
    with pytest.raises(UsageError, match="1 or more"):
        scaled(TWO_SUBNETS, n)

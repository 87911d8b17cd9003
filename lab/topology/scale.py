"""The same topology with smaller limits, for small machines and quick lessons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.errors import UsageError

if TYPE_CHECKING:
    from lab.topology.model import Topology

__all__ = ["scaled"]


def scaled(topology: Topology, n: int) -> Topology:
    """Every limit divided by `n`, but at least 1: 65,000 connections become 650 at 100."""
    if n < 1:
        raise UsageError(f"--scale {n}: limits can be divided by 1 or more")
    eni = topology.hyperplane_eni
    nat_gateways = tuple(
        nat_gateway.model_copy(
            update={"connections_per_destination": max(1, nat_gateway.connections_per_destination // n)}
        )
        for nat_gateway in topology.vpc.nat_gateways
    )
    return topology.model_copy(
        update={
            "hyperplane_eni": eni.model_copy(update={"connection_limit": max(1, eni.connection_limit // n)}),
            "vpc": topology.vpc.model_copy(update={"nat_gateways": nat_gateways}),
        }
    )

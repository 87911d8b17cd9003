"""A topology with something changed: the same values otherwise, to be checked before anybody uses it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain, count

from lab.topology.model import Topology

__all__ = ["rerouted", "unused", "with_function", "with_vpc"]


def with_vpc(topology: Topology, **parts: object) -> Topology:
    """Other subnets, NAT gateways, security groups … in the VPC."""
    return topology.model_copy(update={"vpc": topology.vpc.model_copy(update=parts)})


def with_function(topology: Topology, name: str, **parts: object) -> Topology:
    """Other subnets or security groups of a function."""
    functions = (
        function.model_copy(update=parts) if function.name == name else function for function in topology.functions
    )
    return topology.model_copy(update={"functions": tuple(functions)})


def rerouted(topology: Topology, subnets: Collection[str], route: str) -> Topology:
    """Another default route of these subnets."""
    changed = (
        subnet.model_copy(update={"default_route": route}) if subnet.name in subnets else subnet
        for subnet in topology.subnets
    )
    return with_vpc(topology, subnets=tuple(changed))


def unused(name: str, taken: Collection[str]) -> str:
    """That name, or the same with a number."""
    numbered = (f"{name[:21]}-{number}" for number in count(2))
    return next(candidate for candidate in chain((name,), numbered) if candidate not in taken)

"""The Hyperplane ENIs that AWS would create: one for each combination of a subnet and a security-group set.

"The first time you attach a function … using a particular subnet and security group combination, Lambda
creates a Hyperplane ENI"; other functions with the same combination share it.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.schema.names import name_of_eni

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from lab.nodes.fleet.model import Function
    from lab.nodes.vpc.model import Subnet
    from lab.topology.model import Topology

__all__ = ["Eni", "enis_of", "hyperplane_enis"]


@dataclass(frozen=True, slots=True)
class Eni:
    """One Hyperplane ENI: a subnet, a sorted security-group set, and the functions that share it."""

    name: str
    subnet: Subnet
    security_groups: tuple[str, ...]
    functions: tuple[str, ...]


def hyperplane_enis(topology: Topology) -> tuple[Eni, ...]:
    """Every ENI in order of first appearance: functions in file order, subnets in each function's order."""
    return enis_between(topology.functions, {subnet.name: subnet for subnet in topology.subnets})


def enis_of(topology: Topology, function: str) -> tuple[Eni, ...]:
    """The ENIs that one function's connections leave through, in the order of its subnets."""
    subnets = next(known.subnets for known in topology.functions if known.name == function)
    enis = {eni.subnet.name: eni for eni in hyperplane_enis(topology) if function in eni.functions}
    return tuple(enis[subnet] for subnet in subnets)


def enis_between(functions: Iterable[Function], subnets: Mapping[str, Subnet]) -> tuple[Eni, ...]:
    """The ENIs that connect these functions to those of their subnets that exist."""
    sharers: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for function in functions:
        groups = tuple(sorted(set(function.security_groups)))
        for subnet in function.subnets:
            if subnet in subnets:
                sharers.setdefault((subnet, groups), []).append(function.name)
    return tuple(
        Eni(name_of_eni(subnet, groups), subnets[subnet], groups, tuple(names))
        for (subnet, groups), names in sharers.items()
    )

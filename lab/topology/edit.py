"""A topology with something changed: the same values otherwise, to be checked before it is used."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import chain, count

from lab.nodes.vpc.model import Vpc
from lab.topology.model import Topology

__all__ = ["path_of", "rerouted", "unused", "with_function", "with_vpcs"]


def with_vpcs(topology: Topology, change: Callable[[Vpc], dict[str, object]]) -> Topology:
    """Other subnets, NAT gateways, security groups … in its VPCs; `change` has what is new in each."""
    changed = tuple(vpc.model_copy(update=change(vpc)) for vpc in topology.vpcs)
    return topology.model_copy(update={"listed_vpcs": changed} if topology.vpc is None else {"vpc": changed[0]})


def path_of(topology: Topology, vpc: Vpc) -> str:
    """Where the file has a VPC: `vpc`, or `vpcs[orders]`."""
    return f"vpcs[{vpc.name}]" if topology.vpc is None else "vpc"


def with_function(topology: Topology, name: str, **parts: object) -> Topology:
    """Other subnets, security groups or concurrency of a function."""
    functions = (
        function.model_copy(update=parts) if function.name == name else function for function in topology.functions
    )
    return topology.model_copy(update={"functions": tuple(functions)})


def rerouted(topology: Topology, subnets: Collection[str], route: str) -> Topology:
    """Another default route of these subnets."""
    return with_vpcs(
        topology,
        lambda vpc: {
            "subnets": tuple(
                subnet.model_copy(update={"default_route": route}) if subnet.name in subnets else subnet
                for subnet in vpc.subnets
            )
        },
    )


def unused(name: str, taken: Collection[str]) -> str:
    """That name, or the same with a number."""
    numbered = (f"{name[:21]}-{number}" for number in count(2))
    return next(candidate for candidate in chain((name,), numbered) if candidate not in taken)

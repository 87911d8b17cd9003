"""Which Hyperplane ENIs a topology has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.topology import Function, Server, Subnet, Topology, Vpc, enis_of, hyperplane_enis

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVER = {"name": "cache", "hostname": "cache.example.com", "address": "203.0.113.10", "port": 443}


def topology(*functions: Function) -> Topology:
    """Three private subnets and these functions; routes play no part in the question."""
    subnets = [Subnet.model_validate({"name": name, "cidr": f"10.0.{i}.0/24"}) for i, name in enumerate("abc")]
    vpc = Vpc.model_validate({"cidr": "10.0.0.0/16", "subnets": subnets})
    return Topology(version=1, name="t", vpc=vpc, functions=functions, servers=(Server.model_validate(SERVER),))


def function(name: str, subnets: Iterable[str], groups: Iterable[str] = ("default",)) -> Function:
    """A function in subnets that are called by one letter."""
    return Function(name=name, subnets=tuple(subnets), security_groups=tuple(groups))


def test_one_eni_per_subnet() -> None:
    """A function has one ENI in each of its subnets, in its own order, and none elsewhere."""
    enis = hyperplane_enis(topology(function("f", "ca")))
    assert [eni.name for eni in enis] == ["eni-c", "eni-a"]
    assert [eni.subnet.name for eni in enis] == ["c", "a"]


def test_functions_share() -> None:
    """Functions with one combination of subnet and security groups share its ENI, and hence its limit."""
    enis = hyperplane_enis(topology(function("f", "ab"), function("g", "bc")))
    assert [(eni.name, eni.functions) for eni in enis] == [
        ("eni-a", ("f",)),
        ("eni-b", ("f", "g")),
        ("eni-c", ("g",)),
    ]


def test_security_groups_are_a_set() -> None:
    """The order of security groups does not matter: they are one set and one ENI, named in sorted order."""
    (eni,) = hyperplane_enis(topology(function("f", "a", ["web", "db"]), function("g", "a", ["db", "web"])))
    assert (eni.name, eni.security_groups, eni.functions) == ("eni-a-db-web", ("db", "web"), ("f", "g"))


def test_another_security_group_is_another_eni() -> None:
    """A function with a security group more has an ENI, and a limit, of its own in the same subnet."""
    enis = hyperplane_enis(topology(function("f", "a"), function("g", "a", ["default", "web"])))
    assert [eni.name for eni in enis] == ["eni-a", "eni-a-default-web"]


def test_enis_of_a_function() -> None:
    """The ENIs of one function come in the order of its subnets, whoever made them first."""
    shared = topology(function("f", "abc"), function("g", "ca"), function("h", "b", ["web"]))
    assert [eni.name for eni in enis_of(shared, "g")] == ["eni-c", "eni-a"]
    assert [eni.name for eni in enis_of(shared, "h")] == ["eni-b-web"]

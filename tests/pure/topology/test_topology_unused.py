"""Parts of a valid topology that nothing uses: told with their place and the reason, and really without effect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.capacity.predict import predict
from lab.topology import Topology, loaded
from tests.support.topologies import each_shipped, function, nat_gateway, server, topology

NETWORK_ACL = {"name": "shut", "subnets": ["pub-other"]}


def lines(made: Topology) -> tuple[str, ...]:
    """What has no effect in a file with this topology, without places."""
    text = json.dumps(made.model_dump(mode="json", by_alias=True, exclude_none=True))
    return tuple(line.split(": ", 1)[1] for line in loaded(text, "made.yaml").without_effect)


def made(**changes: Any) -> Topology:
    """A function in one subnet with a NAT gateway, but for these changes."""
    parts: dict[str, Any] = {"private": {"p": "natgw"}, "functions": (function("f", "p"),)} | changes
    return topology(parts.pop("private"), *parts.pop("functions"), **parts)


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "an ENI's settings without ENIs": (
        {"functions": (function("f"),), "private": {}, "hyperplane_eni": {"connection_limit": 7}},
        ("hyperplane_eni: has no effect: no function has subnets, so there is no Hyperplane ENI",),
    ),
    "an empty subnet": (
        {"private": {"p": "natgw", "q": "natgw"}},
        ("vpc.subnets[2].name: the subnet 'q' has no effect, nor have its default_route and its network ACL",),
    ),
    "a default route that nothing takes": (
        {
            "private": {"p": "natgw", "q": "natgw"},
            "endpoints": ({"name": "cache", "subnet": "q", "server": "cache"},),
        },
        ("vpc.subnets[2].default_route: 'natgw' has no effect: no connection leaves the subnet q",),
    ),
    "a NAT gateway without routes to it": (
        {
            "nat_gateways": (nat_gateway(), nat_gateway("other")),
            "firewalls": {"network_acls": [NETWORK_ACL]},
        },
        ("vpc.nat_gateways[1].name: other has no effect: no subnet from which connections come has it",),
    ),
    "a choice among one Elastic IP": (
        {"nat_gateways": (nat_gateway(spill_over=False, eip_selection="hash"),)},
        (
            "vpc.nat_gateways[0].spill_over: false has no effect: natgw has one Elastic IP",
            "vpc.nat_gateways[0].eip_selection: 'hash' has no effect: natgw has one Elastic IP",
        ),
    ),
    "a gateway endpoint for a service without a server": (
        {"gateway_endpoints": ({"name": "objects", "service": "s3"},)},
        ("vpc.gateway_endpoints[0].name: objects has no effect: no server has `service: s3`",),
    ),
    "a gateway endpoint in the route table of no function": (
        {
            "servers": (server(service="s3"),),
            "gateway_endpoints": ({"name": "objects", "service": "s3", "subnets": ["pub-natgw"]},),
        },
        ("vpc.gateway_endpoints[0].name: objects has no effect: no function is in a subnet whose route table leads",),
    ),
    "a gateway endpoint beside an interface endpoint": (
        {
            "servers": (server(service="s3"),),
            "nat_gateways": (),
            "private": {"p": "none"},
            "endpoints": ({"name": "cache", "subnet": "p", "server": "cache"},),
            "gateway_endpoints": ({"name": "objects", "service": "s3"},),
        },
        ("vpc.gateway_endpoints[0].name: objects has no effect: an interface endpoint stands for each server",),
    ),
    "a security group that no function has": (
        {"firewalls": {"security_groups": [{"name": "web", "egress": []}]}},
        ("vpc.security_groups[0].name: the security group 'web' has no effect: no function, server or",),
    ),
    "ingress of what nothing connects to": (
        {
            "functions": (function("f", "p", groups=("web",)),),
            "firewalls": {"security_groups": [{"name": "web", "ingress": []}]},
        },
        ("vpc.security_groups[0].ingress: has no effect: no server and no endpoint has it",),
    ),
    "a security group beside one that allows everything": (
        {
            "functions": (function("f", "p", groups=("web", "wbe")),),
            "firewalls": {"security_groups": [{"name": "web", "egress": []}]},
        },
        ("functions[0].security_groups[1]: the security group 'wbe' is not described, so it allows everything out",),
    ),
}


@pytest.mark.parametrize(("changes", "told"), CASES.values(), ids=CASES)
def test_what_has_no_effect_is_told(changes: dict[str, Any], told: tuple[str, ...]) -> None:
    """A line for each part: where it is, and why it has none."""
    said = lines(made(**changes))
    for beginning in told:
        assert [line for line in said if line.startswith(beginning)], said


def test_it_has_none() -> None:
    """A group beside one that allows everything forbids nothing, an idle NAT gateway's ACL neither."""
    for name in ("a security group beside one that allows everything", "a NAT gateway without routes to it"):
        assert predict(made(**CASES[name][0]), 60_000).established == predict(made(), 60_000).established == 55_000


def test_a_plain_topology_has_nothing_without_effect() -> None:
    """A topology of which every part is used has no such line."""
    assert lines(made()) == ()


@each_shipped
def test_shipped_topologies_have_nothing_without_effect(path: Path) -> None:
    """Nobody learns from an example something that does nothing."""
    assert loaded(path.read_text(encoding="utf-8"), path.name).without_effect == ()

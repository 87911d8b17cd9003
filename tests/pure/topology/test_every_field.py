"""Every field of a topology file has an effect: what is described and not emulated would be believed.

`CHANGES` has a change for each field that a plan shows. A new field needs a line there, or in `ELSEWHERE` with the test
that shows its effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
import json
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
import pytest

from lab.nodes.build import build
from lab.plan.objects import plan_to_json
from lab.topology import Topology
from lab.topology.checks import check
from lab.topology.draft import draft
from lab.topology.unused import unused

Document = dict[str, Any]


def _entry(**more: Any) -> Document:
    return {"rule": 100, "action": "allow", "protocol": "tcp", "ports": "443", **more}


def _server(**more: Any) -> Document:
    return {"name": "cache", "hostname": "cache.example.com", "port": 443, "service": "dynamodb", **more}


ONE_VPC: Document = {
    "version": 1,
    "name": "made",
    "service_vpc": {"resolver": {"packets_per_second": 100}},
    "hyperplane_eni": {"connection_limit": 100, "eni_scaling": {"after": 60, "most": 2}},
    "vpc": {
        "cidr": "10.0.0.0/16",
        "subnets": [
            {"name": "public", "cidr": "10.0.0.0/24"},
            {"name": "private", "cidr": "10.0.1.0/24", "default_route": "natgw"},
            {"name": "second", "cidr": "10.0.2.0/24", "default_route": "natgw"},
            {"name": "endpoints", "cidr": "10.0.3.0/24"},
        ],
        "nat_gateways": [{"name": "natgw", "subnet": "public", "elastic_ips": 2}],
        "interface_endpoints": [{"name": "db", "subnet": "endpoints", "server": "database"}],
        "gateway_endpoints": [{"name": "tables", "service": "dynamodb", "subnets": ["private"]}],
        "security_groups": [{"name": "web", "egress": [{"protocol": "tcp", "ports": "443", "to": "203.0.113.0/24"}]}],
        "network_acls": [
            {
                "name": "strict",
                "subnets": ["private"],
                "egress": [_entry(to="203.0.113.0/24"), _entry(rule=110, ports="53")],
                "ingress": [_entry(**{"from": "203.0.113.0/24"}), _entry(rule=110, ports="53")],
            }
        ],
    },
    "functions": [
        {"name": "checkout", "subnets": ["private"], "security_groups": ["web"]},
        {"name": "reports", "subnets": ["second"]},
    ],
    "clients": [{"name": "bastion", "subnet": "private", "ephemeral_ports": "40000-40009", "security_groups": ["web"]}],
    "servers": [
        _server(address="203.0.113.10"),
        {"name": "database", "hostname": "database.example.com", "address": "203.0.113.11", "port": 5432}
        | {"max_connections": 40},
    ],
}
NAME_SERVER_IN_VPC = ONE_VPC | {
    "service_vpc": {"resolver": {"in": "vpc", "subnet": "private"}},
    "vpc": {key: value for key, value in ONE_VPC["vpc"].items() if key not in ("security_groups", "network_acls")},
}

PORTS_OF_EACH = {key: value for key, value in ONE_VPC.items() if key not in ("hyperplane_eni", "clients")}
PORTS_OF_EACH["vpc"] = ONE_VPC["vpc"] | {
    "nat_gateways": [
        ONE_VPC["vpc"]["nat_gateways"][0]
        | {"connections_per_destination": 50, "ports_per_client": {"min": 16, "max": 64}}
    ]
}


def _vpc(name: str, number: int, route: str) -> Document:
    """A VPC with two subnets."""
    subnets = [
        {"name": f"{name}-{zone}", "cidr": f"10.{number}.{zone}.0/24", "default_route": route} for zone in (1, 2)
    ]
    return {"name": name, "cidr": f"10.{number}.0.0/16", "subnets": subnets}


SEVERAL_VPCS: Document = {
    "version": 1,
    "name": "made",
    "vpcs": [
        _vpc("orders", 1, "tgw"),
        _vpc("payments", 2, "none"),
        _vpc("archive", 3, "none"),
        {
            "name": "egress",
            "cidr": "10.0.0.0/16",
            "subnets": [
                {"name": "public", "cidr": "10.0.0.0/24"},
                {"name": "attached", "cidr": "10.0.1.0/24", "default_route": "natgw"},
            ],
            "nat_gateways": [{"name": "natgw", "subnet": "public"}],
        },
    ],
    "transit_gateways": [
        {
            "name": "tgw",
            "attachments": [
                {"vpc": "orders", "subnet": "orders-1"},
                {"vpc": "payments", "subnet": "payments-1"},
                {"vpc": "egress", "subnet": "attached"},
            ],
            "default_route": "egress",
        }
    ],
    "functions": [{"name": name, "subnets": [f"{name}-1", f"{name}-2"]} for name in ("orders", "payments", "archive")],
    "servers": ONE_VPC["servers"],
}

SERVERS_IN_VPCS: Document = {
    "version": 1,
    "name": "made",
    "vpcs": [
        _vpc("app", 1, "none"),
        {
            **_vpc("data", 2, "none"),
            "security_groups": [{"name": "db", "ingress": [{"protocol": "tcp", "ports": "5432", "from": "web"}]}],
        },
        _vpc("archive", 3, "none"),
    ],
    "peerings": [{"name": "to-data", "vpcs": ["app", "data"], "subnets": ["app-1", "data-1", "data-2"]}],
    "functions": [
        {"name": name, "subnets": [f"{name}-1", f"{name}-2"], "security_groups": ["web"]} for name in ("app", "archive")
    ],
    "servers": [
        {"name": "database", "hostname": "database.example.com", "port": 5432}
        | {"subnet": "data-1", "address": "10.2.1.50", "security_groups": ["db"]},
        {"name": "other", "hostname": "other.example.com", "port": 5432, "subnet": "data-2"},
    ],
}


class Change(NamedTuple):
    """A base, and what makes another topology of it."""

    base: Document
    change: Callable[[Document], Document]


def put(*path: str | int, value: Any, base: Document = ONE_VPC) -> Change:
    """Another value at a path; None takes it out."""

    def change(document: Document) -> Document:
        part: Any = document
        for step in path[:-1]:
            part = part.setdefault(step, {}) if isinstance(part, dict) else part[step]
        if value is None:
            del part[path[-1]]
        else:
            part[path[-1]] = value
        return document

    return Change(base, change)


def rename(old: str, new: str, base: Document = ONE_VPC) -> Change:
    """Another name, wherever it is written."""
    return Change(base, lambda document: json.loads(json.dumps(document).replace(f'"{old}"', f'"{new}"')))


ENI, VPC, NAT = ("hyperplane_eni",), ("vpc",), ("vpc", "nat_gateways", 0)
ENDPOINT, ACL = ("vpc", "interface_endpoints", 0), ("vpc", "network_acls", 0)
ENDPOINT_IN_TWO = {"name": "db", "subnets": ["endpoints", "private"], "server": "database"}
GROUP_RULE, SERVER = ("vpc", "security_groups", 0, "egress", 0), ("servers", 0)
TGW, IN_GROUP = ("transit_gateways", 0), ("vpcs", 1, "security_groups", 0, "ingress", 0)

CHANGES = {
    "Topology.name": rename("made", "other"),
    "ServiceVpc.cidr": put("service_vpc", "cidr", value="172.16.0.0/12"),
    "Resolver.in": put("service_vpc", "resolver", value={}, base=NAME_SERVER_IN_VPC),
    "Resolver.subnet": put("service_vpc", "resolver", "subnet", value="public", base=NAME_SERVER_IN_VPC),
    "Resolver.packets_per_second": put("service_vpc", "resolver", "packets_per_second", value=101),
    "Resolver.truncate": put("service_vpc", "resolver", "truncate", value=True),
    "Resolver.tcp_connections": put("service_vpc", "resolver", "tcp_connections", value=20),
    "Resolver.ttl": put("service_vpc", "resolver", "ttl", value="61s"),
    "HyperplaneEniSettings.connection_limit": put(*ENI, "connection_limit", value=101),
    "HyperplaneEniSettings.idle_timeout": put(*ENI, "idle_timeout", value="61s"),
    "HyperplaneEniSettings.half_open_timeout": put(*ENI, "half_open_timeout", value="61s"),
    "HyperplaneEniSettings.port_hold": put(*ENI, "port_hold", value="61s"),
    "HyperplaneEniSettings.per_destination": put(*ENI, value={"per_destination": True, "connection_limit": 100}),
    "EniScaling.after": put(*ENI, "eni_scaling", "after", value="61s"),
    "EniScaling.most": put(*ENI, "eni_scaling", "most", value=3),
    "Vpc.name": put(*VPC, "name", value="orders"),
    "Vpc.cidr": put(*VPC, "cidr", value="10.0.0.0/17"),
    "Subnet.name": rename("private", "other"),
    "Subnet.cidr": put(*VPC, "subnets", 1, "cidr", value="10.0.9.0/24"),
    "Subnet.default_route": put(*VPC, "subnets", 1, "default_route", value="none", base=NAME_SERVER_IN_VPC),
    "NatGateway.name": rename("natgw", "other"),
    "NatGateway.subnet": put(*NAT, "subnet", value="endpoints"),
    "NatGateway.elastic_ips": put(*NAT, "elastic_ips", value=3),
    "NatGateway.connections_per_destination": put(*NAT, "connections_per_destination", value=101),
    "PortsPerClient.min": put(*NAT, "ports_per_client", "min", value=20, base=PORTS_OF_EACH),
    "PortsPerClient.max": put(*NAT, "ports_per_client", "max", value=31, base=PORTS_OF_EACH),
    "NatGateway.idle_timeout": put(*NAT, "idle_timeout", value="61s"),
    "NatGateway.half_open_timeout": put(*NAT, "half_open_timeout", value="61s"),
    "NatGateway.port_hold": put(*NAT, "port_hold", value="61s"),
    "NatGateway.spill_over": put(*NAT, "spill_over", value=False),
    "NatGateway.eip_selection": put(*NAT, "eip_selection", value="hash"),
    "InterfaceEndpoint.name": rename("db", "other"),
    "InterfaceEndpoint.subnet": put(*ENDPOINT, "subnet", value="private"),
    "InterfaceEndpoint.subnets": put(*ENDPOINT, value=ENDPOINT_IN_TWO),
    "InterfaceEndpoint.private_dns": put(*ENDPOINT, "private_dns", value=False),
    "InterfaceEndpoint.security_groups": put(*ENDPOINT, "security_groups", value=["web"]),
    "InterfaceEndpoint.server": put(*ENDPOINT, "server", value="cache"),
    "InterfaceEndpoint.connections_per_target": put(*ENDPOINT, "connections_per_target", value=101),
    "InterfaceEndpoint.idle_timeout": put(*ENDPOINT, "idle_timeout", value="61s"),
    "InterfaceEndpoint.half_open_timeout": put(*ENDPOINT, "half_open_timeout", value="61s"),
    "InterfaceEndpoint.port_hold": put(*ENDPOINT, "port_hold", value="61s"),
    "GatewayEndpoint.name": rename("tables", "other"),
    "GatewayEndpoint.service": put(*VPC, "gateway_endpoints", 0, "service", value="s3"),
    "GatewayEndpoint.subnets": put(*VPC, "gateway_endpoints", 0, "subnets", value=None),
    "SecurityGroup.name": rename("web", "other"),
    "EgressRule.protocol": put(*GROUP_RULE, "protocol", value="udp"),
    "EgressRule.ports": put(*GROUP_RULE, "ports", value="444"),
    "EgressRule.to": put(*GROUP_RULE, "to", value="203.0.113.0/25"),
    "NetworkAcl.name": rename("strict", "other"),
    "NetworkAcl.subnets": put(*ACL, "subnets", value=["private", "public"]),
    **{
        f"{model}.{field}": put(*ACL, direction, 0, field, value=value)
        for model, direction, far in (("EgressEntry", "egress", "to"), ("IngressEntry", "ingress", "from"))
        for field, value in (
            ("protocol", "udp"),
            ("ports", "444"),
            ("rule", 120),
            ("action", "deny"),
            (far, "203.0.113.0/25"),
        )
    },
    "TransitGateway.name": rename("tgw", "tgw-other", base=SEVERAL_VPCS),
    "Attachment.vpc": put(*TGW, "attachments", 1, value={"vpc": "archive", "subnet": "archive-1"}, base=SEVERAL_VPCS),
    "Attachment.subnet": put(*TGW, "attachments", 1, "subnet", value="payments-2", base=SEVERAL_VPCS),
    "TransitGateway.default_route": put(*TGW, "default_route", value=None, base=SEVERAL_VPCS),
    **{
        f"IngressRule.{key}": put(*IN_GROUP, key, value=value, base=SERVERS_IN_VPCS)
        for key, value in (("protocol", "udp"), ("ports", "5433"), ("from", "10.1.0.0/16"))
    },
    "Peering.name": rename("to-data", "other", base=SERVERS_IN_VPCS),
    "Peering.vpcs": put("peerings", 0, value={"name": "to-data", "vpcs": ["archive", "data"]}, base=SERVERS_IN_VPCS),
    "Peering.subnets": put("peerings", 0, "subnets", value=["app-1", "data-1"], base=SERVERS_IN_VPCS),
    "Function.name": rename("checkout", "other"),
    "Function.subnets": put("functions", 0, "subnets", value=["private", "second"]),
    "Function.security_groups": put("functions", 0, "security_groups", value=["default"]),
    "Client.name": rename("bastion", "other"),
    "Client.subnet": put("clients", 0, "subnet", value="second"),
    "Client.addresses": put("clients", 0, "addresses", value=2),
    "Client.ephemeral_ports": put("clients", 0, "ephemeral_ports", value="40000-40019"),
    "Client.descriptors": put("clients", 0, "descriptors", value=1024),
    "Client.security_groups": put("clients", 0, "security_groups", value=["default"]),
    "Function.reserved_concurrency": put("functions", 0, "reserved_concurrency", value=0),
    "Server.name": rename("cache", "other"),
    "Server.subnet": put("servers", 1, "subnet", value="data-1", base=SERVERS_IN_VPCS),
    "Server.security_groups": put(*SERVER, "security_groups", value=None, base=SERVERS_IN_VPCS),
    "Server.hostname": put(*SERVER, "hostname", value="other.example.com"),
    "Server.address": put(*SERVER, "address", value="203.0.113.12"),
    "Server.addresses": put(*SERVER, value=_server(addresses=["203.0.113.10", "203.0.113.12"])),
    "Server.service": put(*SERVER, "service", value=None),
    "Server.port": put(*SERVER, "port", value=444),
    "Server.embedded": put(*SERVER, "embedded", value=False),
    "Server.max_connections": put("servers", 1, "max_connections", value=20),
    "Server.when_full": put("servers", 1, "when_full", value="reset"),
}
"""MODEL.KEY → a change of this key alone, names together with what refers to them."""

ELSEWHERE = {
    "Topology.version": "no other value is allowed: tests/golden/errors/wrong_version.yaml",
    "Subnet.zone": "of no plan: it refuses two network interfaces of an endpoint: tests/golden/errors/endpoint.yaml",
    "NatGateway.drain_timeout": "of a change, not of a plan: test_a_removed_elastic_ip_that_holds_connections_drains",
}
"""MODEL.KEY → why no plan shows it, and what does."""


def _fields(model: type[BaseModel]) -> Iterator[str]:
    """The keys that hold no model themselves, here and in the models below."""
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        yield from (key for one in inner for key in _fields(one))
        if not inner:
            yield f"{model.__name__}.{field.alias or name}"


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def test_every_field_is_here() -> None:
    """A field that nobody has shown an effect of is missing here, and one that is gone is left over."""
    assert {*CHANGES, *ELSEWHERE} == set(_fields(Topology))


@pytest.mark.parametrize("key", CHANGES)
def test_a_field_has_an_effect(key: str) -> None:
    """With another value, the plan of an otherwise equal topology is another one."""
    base, change = CHANGES[key]
    changed = change(deepcopy(base))
    assert changed != base
    assert check(draft(base)) == check(draft(changed)) == ()
    before, after = (plan_to_json(build(Topology.model_validate(document))) for document in (base, changed))
    assert before != after


@pytest.mark.parametrize("base", [ONE_VPC, NAME_SERVER_IN_VPC, PORTS_OF_EACH, SEVERAL_VPCS, SERVERS_IN_VPCS])
def test_all_of_a_base_is_used(base: Document) -> None:
    """No part of the topologies above is one that the lab calls without effect."""
    assert unused(draft(base)) == ()

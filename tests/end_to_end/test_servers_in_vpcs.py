"""Servers in a VPC, in peered VPCs and behind a Transit Gateway: which limits bind, and where connections end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from lab.capacity.predict import predict
from tests.support.labs import inside

if TYPE_CHECKING:
    from pathlib import Path

    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

SOON_S = 0.9

TWO_WAYS = """
version: 1
name: two-ways
hyperplane_eni: {connection_limit: 30}
vpcs:
  - name: app
    cidr: 10.1.0.0/16
    subnets:
      - {name: app-a, cidr: 10.1.1.0/24, default_route: tgw}
      - {name: app-tgw, cidr: 10.1.9.0/24}
    network_acls:
      - name: at-the-border
        subnets: [app-tgw]
        egress: [{rule: 100, action: allow, protocol: tcp, ports: 1024-65535, to: 10.1.0.0/16}]
        ingress: [{rule: 100, action: allow, protocol: tcp, ports: 5432, from: 10.1.0.0/16}]
  - name: data
    cidr: 10.2.0.0/16
    subnets:
      - {name: data-a, cidr: 10.2.1.0/24, default_route: none}
      - {name: data-tgw, cidr: 10.2.9.0/24, default_route: natgw}
      - {name: public, cidr: 10.2.0.0/24}
    nat_gateways: [{name: natgw, subnet: public, connections_per_destination: 20}]
    security_groups:
      - {name: db, ingress: [{protocol: tcp, ports: 5432, from: 10.1.1.0/24}]}
  - name: ledger
    cidr: 10.3.0.0/16
    subnets: [{name: ledger-a, cidr: 10.3.1.0/24}]
transit_gateways:
  - {name: tgw, attachments: [{vpc: app, subnet: app-tgw}, {vpc: data, subnet: data-tgw}], default_route: data}
peerings:
  - {name: to-ledger, vpcs: [data, ledger]}
functions:
  - {name: checkout, subnets: [app-a]}
  - {name: outside}
servers:
  - {name: orders-db, hostname: orders-db.example.com, subnet: data-a, port: 5432, security_groups: [db]}
  - {name: pooled, hostname: pooled.example.com, subnet: data-a, address: 10.2.1.9, port: 5432, max_connections: 8}
  - {name: ledger-db, hostname: ledger-db.example.com, subnet: ledger-a, port: 5432}
  - {name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}
"""
"""A Transit Gateway leads to databases by destination, and to the internet by its default route."""


def seen(lab: Lab, connections: int, **options: Any) -> tuple[int, str | None, list[str]]:
    """What a burst establishes, what binds, and what drops packets; all as predicted, by all accounts."""
    result = lab.burst(connections, fresh=True, connect_timeout_s=SOON_S, **options)
    predicted = predict(lab.topology, connections, source=options.get("function"), server=options.get("server"))
    assert result.disagreements == ()
    assert (result.tcp.established, result.drop_threshold) == (predicted.established, predicted.drop_threshold)
    return result.tcp.established, result.bottleneck, [f"{drop.kind} {drop.node}" for drop in result.stops]


def test_a_database_in_the_vpc(lab_up: LabUp, topologies: Path) -> None:
    """The ENI binds, for the NAT gateway is not on the way; the database's group tells functions apart."""
    lab = lab_up(topologies / "database_in_vpc.yaml", scale=1000)
    assert seen(lab, 70) == (65, "hyperplane_eni", [])
    assert seen(lab, 70, server="cache") == (55, "nat_gateway", [])
    assert seen(lab, 10, function="reports") == (0, None, ["ingress srv-orders-db"])
    assert [limiter.destination for limiter in lab.plan.limiters if limiter.kind == "nat_gateway"] == ["cache", "cache"]


def test_peered_vpcs(lab_up: LabUp, topologies: Path) -> None:
    """A peering has no limit; without its route on one side, or behind a second peering, no connection succeeds."""
    lab = lab_up(topologies / "peering.yaml", scale=1000)
    assert seen(lab, 70) == (65, "hyperplane_eni", [])
    assert seen(lab, 5, server="archive-db") == (0, None, ["no_route_back vpc-data"])
    assert seen(lab, 5, server="ledger-db") == (0, None, ["no_vpc_route vpc-app"])
    assert seen(lab, 5, function="reports") == (0, None, ["no_vpc_route vpc-app"])


def test_a_transit_gateway_leads_by_destination(lab_up: LabUp, tmp_path: Path) -> None:
    """To a VPC of its own past the NAT gateway; a peering behind it carries nothing, nor does the internet."""
    path = tmp_path / "two_ways.yaml"
    path.write_text(TWO_WAYS, encoding="utf-8")
    lab = lab_up(path)
    assert seen(lab, 40, server="orders-db") == (30, "hyperplane_eni", [])
    assert seen(lab, 40, server="pooled") == (8, "server", [])
    assert seen(lab, 5, server="ledger-db") == (0, None, ["not_transitive pcx-to-ledger"])
    assert seen(lab, 5, server="cache") == (0, None, ["network_acl vpc-app"])
    assert seen(lab, 5, function="outside", server="orders-db") == (0, None, ["outside_vpc egress"])


def test_what_strays_to_a_nat_gateway(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """By a default route SYNs come to the NAT gateway, which sees attempts and nothing established."""
    text = (topologies / "peering.yaml").read_text(encoding="utf-8")
    public = "      - {name: public, cidr: 10.1.0.0/24}\n"
    gateway = "    nat_gateways: [{name: natgw, subnet: public}]\n    security_groups:\n      - {name: lambda-sg}\n"
    text = text.replace("      - {name: app-a,", f"{public}      - {{name: app-a,")
    text = text.replace("    security_groups:\n      - {name: lambda-sg}\n", gateway)
    text = text.replace("10.1.2.0/24, default_route: none", "10.1.2.0/24, default_route: natgw")
    (tmp_path / "astray.yaml").write_text(text, encoding="utf-8")
    lab = lab_up(tmp_path / "astray.yaml", scale=1000)
    assert seen(lab, 5, function="reports") == (0, None, ["no_vpc_route natgw"])
    now = lab.sample().nodes["natgw"]
    assert (now.attempted, now.established) == (5, 0)


@pytest.mark.parametrize("engine", ["socket", "scapy"])
def test_other_engines(lab_up: LabUp, topologies: Path, engine: str) -> None:
    """Real sockets, and packets one by one, come to a server in a subnet by its address there."""
    lab = lab_up(topologies / "peering.yaml", scale=1000)
    assert seen(lab, 4, engine=engine) == (4, None, [])


def test_a_real_program(lab_up: LabUp, topologies: Path) -> None:
    """A program in a function's namespace finds the database by its name, past its security group."""
    lab = lab_up(topologies / "database_in_vpc.yaml", scale=1000)
    answer = inside(lab, "checkout", "curl -s --max-time 5 http://orders-db.example.com:5432/")
    assert "orders-db" in answer


def test_each_destination_by_itself(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """ENIs that count each destination by itself count a server in a subnet, too."""
    text = (topologies / "database_in_vpc.yaml").read_text(encoding="utf-8")
    text = text.replace("\nvpc:\n", "\nhyperplane_eni: {per_destination: true, connection_limit: 20}\n\nvpc:\n")
    (tmp_path / "each.yaml").write_text(text, encoding="utf-8")
    lab = lab_up(tmp_path / "each.yaml")
    lab.burst(15, server="cache", leave_open=True, connect_timeout_s=SOON_S)
    result = lab.burst(25, server="orders-db", connect_timeout_s=SOON_S)
    assert (result.tcp.established, result.bottleneck) == (20, "hyperplane_eni")

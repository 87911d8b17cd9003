"""A central egress VPC: what all attached VPCs share is its NAT gateway; their ENIs have limits of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.labs import inside

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

HUBS_SUBNET = "payments, cidr: 10.2.1.0/24, default_route: hub"
ACL = """
    network_acls:
      - {name: no-answers, subnets: [GUARDED], ingress: [{rule: 100, action: allow}]}"""
SECOND = """  - name: hub
    attachments:
      - {vpc: orders, subnet: orders-hub}
      - {vpc: egress, subnet: egress-tgw}
    default_route: egress
"""
HUB = """    default_route: payments
  - name: hub
    attachments:
      - {vpc: payments, subnet: payments}
      - {vpc: egress, subnet: egress-tgw}
    default_route: egress"""


@pytest.fixture
def small(lab_up: LabUp, topologies: Path) -> Lab:
    """The topology with a hundredth of its limits: 650 connections for each ENI, 1,100 for all."""
    return lab_up(topologies / "transit_gateway.yaml", scale=100)


@pytest.mark.alone
def test_all_vpcs_share_the_egress_vpcs_elastic_ips(lab_up: LabUp, topologies: Path) -> None:
    """At full scale: 65,000 through one VPC's ENI leave 45,000 of 2 x 55,000 ports to the other VPC."""
    lab = lab_up(topologies / "transit_gateway.yaml")
    first = lab.burst(70_000, function="checkout", connect_timeout_s=3, leave_open=True)
    assert (first.dns.failed, first.tcp.established, first.bottleneck) == (0, 65_000, "hyperplane_eni")
    second = lab.burst(65_000, function="refunds", connect_timeout_s=3)
    assert (second.dns.failed, second.tcp.established, second.tcp.timed_out) == (0, 45_000, 20_000)
    assert (second.drop_threshold, second.bottleneck) == (45_000, "nat_gateway")
    assert (second.predicted.established, second.predicted.drop_threshold) == (45_000, 45_000)
    assert first.disagreements == second.disagreements == ()
    (eni,) = (limit for limit in second.limits if limit.kind == "hyperplane_eni")
    assert (eni.node, eni.peak, eni.dropped_packets) == ("eni-payments", 65_000, 0)


def test_the_nat_gateway_is_named(small: Lab) -> None:
    """The function of the VPC whose connections were refused is told which node, in which VPC, refused them."""
    small.burst(650, function="checkout", connect_timeout_s=3, leave_open=True)
    small.burst(650, function="refunds", connect_timeout_s=3)
    found = small.why()
    assert found.question.source == "refunds"
    assert [account.limit.first.node for account in found.refusing] == ["natgw"]
    assert (found.threshold.held, found.threshold.nodes) == (650, ("eni-payments",))
    assert any(remedy.effect == "raises" for remedy in found.remedies)


@pytest.mark.parametrize("engine", ["socket", "scapy"])
def test_every_engine(small: Lab, *, engine: str) -> None:
    """Real sockets and scapy cross the Transit Gateway, there and back, as well."""
    result = small.burst(20, function="refunds", engine=engine, connect_timeout_s=3)  # type: ignore[arg-type]
    assert (result.dns.answered, result.tcp.established, result.disagreements) == (20, 20, ())


def test_real_clients(small: Lab) -> None:
    """A page comes from the server; it sees an Elastic IP of the egress VPC, whichever VPC asks."""
    for function in ("checkout", "refunds"):
        page = inside(small, function, "curl -sS --max-time 10 http://cache.example.com:443/")
        assert "client: 198.51.100." in page


def test_a_transit_gateway_without_a_default_route(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """Packets that it has no route for are dropped and counted there, and no limit is blamed."""
    text = (topologies / "transit_gateway.yaml").read_text()
    forgotten = text.replace("    default_route: egress\n", "")
    assert forgotten != text
    path = tmp_path / "forgotten.yaml"
    path.write_text(forgotten)
    lab = lab_up(path, scale=100)
    result = lab.burst(20, connect_timeout_s=1.5)
    assert (result.dns.answered, result.tcp.established, result.tcp.timed_out) == (20, 0, 20)
    (drop,) = result.stops
    assert (drop.node, drop.kind, drop.name, drop.dropped_packets) == ("tgw", "no_transit_route", "tgw", 40)
    assert (result.bottleneck, result.disagreements) == (None, ())
    assert result.predicted.established == 0
    assert lab.why().headline.endswith("the Transit Gateway tgw leads nowhere")


def test_answers_return_by_the_first_of_two_transit_gateways(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """An ACL that forbids answers ends connections where it guards the first one's subnet, not where the second's."""
    text = (topologies / "transit_gateway.yaml").read_text()
    text = text.replace(
        "orders, cidr: 10.1.1.0/24, default_route: tgw", "orders, cidr: 10.1.1.0/24, default_route: hub"
    )
    text = text.replace("10.1.255.0/28}", "10.1.255.0/28}\n      - {name: orders-hub, cidr: 10.1.254.0/28}" + ACL)
    text = text.replace("    default_route: egress\n", f"    default_route: egress\n{SECOND}")
    path = tmp_path / "both.yaml"
    for subnet, established in (("orders-hub", 20), ("orders-tgw", 0)):
        path.write_text(text.replace("GUARDED", subnet))
        result = lab_up(path, scale=100).burst(20, connect_timeout_s=1.5)
        assert result.tcp.established == result.predicted.established == established
        assert result.disagreements == ()


def test_two_transit_gateways_in_a_row(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """Packets go from one through a VPC to the next, and answers come back by both."""
    text = (topologies / "transit_gateway.yaml").read_text()
    text = text.replace("payments-tgw, cidr: 10.2.255.0/28", "payments-tgw, cidr: 10.2.255.0/28, default_route: hub")
    text = text.replace("      - {vpc: egress, subnet: egress-tgw}\n    default_route: egress", HUB)
    path = tmp_path / "in_a_row.yaml"
    path.write_text(text.replace("payments, cidr: 10.2.1.0/24, default_route: tgw", HUBS_SUBNET))
    result = lab_up(path, scale=100).burst(650, connect_timeout_s=3)
    assert (result.tcp.established, result.predicted.established, result.disagreements) == (650, 650, ())

"""A gateway endpoint takes S3 and DynamoDB past the NAT gateway, by route tables, and leaves the ENI in the path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.labs import inside
from tests.support.topologies import changed

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp


def test_by_one_route_table(lab_up: LabUp, topologies: Path) -> None:
    """The subnet that has it is limited by its ENI alone, the other one by the NAT gateway as before."""
    lab = lab_up(topologies / "gateway_endpoint.yaml", scale=1000)
    result = lab.burst(130, connect_timeout_s=3)
    assert (result.tcp.established, result.drop_threshold, result.bottleneck) == (120, 111, "nat_gateway")
    assert (result.predicted.established, result.predicted.drop_threshold) == (120, 111)
    assert result.disagreements == ()


def test_who_comes_this_way(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """Without a default route S3 is reached, by the ENI's own address, and any other server is not."""
    other = "\n  - {name: other, hostname: other.example.com, address: 203.0.113.11, port: 443}\n"
    changes = {
        ", subnets: [private-a]}": "}",
        "cidr: 10.0.1.0/24, default_route: natgw": "cidr: 10.0.1.0/24, default_route: none",
        "port: 443, service: s3}\n": f"port: 443, service: s3}}{other}",
    }
    lab = lab_up(changed(topologies / "gateway_endpoint.yaml", tmp_path, changes), scale=1000)
    page = inside(lab, "checkout", "curl -sS --max-time 10 http://objects.s3.example.com:443/")
    assert "server: objects" in page
    assert "client: 10.0.1.4" in page
    beside = lab.burst(10, server="other", connect_timeout_s=0.9)
    assert (beside.tcp.established, beside.predicted.established, beside.disagreements) == (5, 5, ())
    assert [stop.kind for stop in beside.stops] == ["no_route"]
    objects = lab.burst(140, server="objects", connect_timeout_s=1, fresh=True)
    assert (objects.tcp.established, objects.predicted.established, objects.bottleneck) == (130, 130, "hyperplane_eni")
    assert objects.disagreements == ()

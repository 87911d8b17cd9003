"""An interface endpoint in several subnets, and one whose private DNS is off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.labs import inside
from tests.support.topologies import changed

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp


def test_two_zones(lab_up: LabUp, topologies: Path) -> None:
    """Connections take turns over the network interfaces, each of which has the limit of its load balancer."""
    lab = lab_up(topologies / "endpoint_two_zones.yaml", scale=500)
    result = lab.burst(240, connect_timeout_s=3)
    assert (result.tcp.established, result.drop_threshold, result.bottleneck) == (220, 220, "interface_endpoint")
    assert (result.predicted.established, result.predicted.drop_threshold) == (220, 220)
    assert result.disagreements == ()
    held = {limit.node: limit.peak for limit in result.limits if limit.kind == "interface_endpoint"}
    assert held == {"vpce-cache-private-a": 110, "vpce-cache-private-b": 110}


def test_programs(lab_up: LabUp, topologies: Path) -> None:
    """The name has both private addresses, and pages come from there; the server sees where each came through."""
    lab = lab_up(topologies / "endpoint_two_zones.yaml", scale=1000)
    names = inside(lab, "checkout", "getent ahostsv4 cache.example.com").split()
    addresses = sorted({word for word in names if word.startswith("10.")})
    assert addresses == ["10.0.1.5", "10.0.2.5"]
    pages = [inside(lab, "checkout", f"curl -sS --max-time 3 http://{address}:443/") for address in addresses]
    clients = {page.split("client: ")[1].split(":")[0] for page in pages}
    assert clients == {"240.0.1.4", "240.1.1.4"}


def test_private_dns_off(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """The name leads to the public address, through the NAT gateway with its limit, and lab why says what is off."""
    changes = {"server: cache}": "server: cache, private_dns: false}"}
    lab = lab_up(changed(topologies / "privatelink.yaml", tmp_path, changes), scale=1000)
    result = lab.burst(60, connect_timeout_s=3)
    assert (result.tcp.established, result.bottleneck, result.disagreements) == (55, "nat_gateway", ())
    assert result.predicted.established == 55
    (remedy,) = (each for each in lab.why().remedies if "private DNS is off" in each.what)
    assert (remedy.effect, remedy.threshold_after, remedy.binds_after) == ("raises", 65, "hyperplane_eni")
    assert inside(lab, "checkout", "getent hosts cache.example.com").split()[0] == "203.0.113.10"
    assert "server: cache" in inside(lab, "checkout", "curl -sS --max-time 3 http://10.0.1.5:443/")

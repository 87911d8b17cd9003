"""An interface endpoint takes the NAT gateway out of the path, and leaves the ENI in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.labs import inside

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp


def _with_limit(topologies: Path, directory: Path) -> Path:
    """The endpoint's load balancer with its own figure."""
    text = (topologies / "privatelink.yaml").read_text()
    limited = text.replace("server: cache}", "server: cache, connections_per_target: 55000}")
    assert limited != text
    path = directory / "limited.yaml"
    path.write_text(limited)
    return path


def _nat_gateway_saw_nothing(lab: Lab) -> bool:
    readings = [each for each in lab.readings() if each.limiter.kind == "nat_gateway"]
    assert readings
    return not any(each.in_use or each.refused_packets for each in readings)


@pytest.mark.alone
def test_sixty_five_thousand_with_one_elastic_ip(lab_up: LabUp, topologies: Path) -> None:
    """At full scale: the ENI's limit, no port allocation error, nothing at the NAT gateway at all."""
    lab = lab_up(topologies / "privatelink.yaml")
    result = lab.burst(70_000, connect_timeout_s=3)
    assert (result.dns.failed, result.tcp.established, result.tcp.timed_out) == (0, 65_000, 5_000)
    assert (result.drop_threshold, result.bottleneck) == (65_000, "hyperplane_eni")
    assert result.predicted.established == 65_000
    assert result.disagreements == ()
    assert [limit.node for limit in result.limits] == ["eni-private-a"]
    assert _nat_gateway_saw_nothing(lab)


def test_the_load_balancers_own_limit(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """With the knob set, the endpoint refuses what is beyond it, as predicted."""
    lab = lab_up(_with_limit(topologies, tmp_path), scale=1000)
    result = lab.burst(60, connect_timeout_s=3)
    assert (result.tcp.established, result.drop_threshold, result.bottleneck) == (55, 55, "interface_endpoint")
    assert (result.predicted.established, result.predicted.bottleneck) == (55, "interface_endpoint")
    assert result.disagreements == ()
    (endpoint,) = (limit for limit in result.limits if limit.kind == "interface_endpoint")
    dropped = endpoint.dropped_connections, endpoint.dropped_packets
    assert (endpoint.limit, endpoint.peak, *dropped) == (55, 55, 5, 10)


@pytest.mark.parametrize("engine", ["socket", "scapy"])
def test_every_engine(lab_up: LabUp, topologies: Path, *, engine: str) -> None:
    """Real sockets and scapy reach the server through the endpoint as well."""
    result = lab_up(topologies / "privatelink.yaml", scale=100).burst(20, engine=engine, connect_timeout_s=3)  # type: ignore[arg-type]
    assert (result.dns.answered, result.tcp.established, result.disagreements) == (20, 20, ())


def test_real_clients(lab_up: LabUp, topologies: Path) -> None:
    """The name means the private address, and a page comes from there; the server sees the ENI's address."""
    lab = lab_up(topologies / "privatelink.yaml", scale=100)
    assert inside(lab, "checkout", "getent hosts cache.example.com").split() == ["10.0.1.5", "cache.example.com"]
    page = inside(lab, "checkout", "curl -sS --max-time 10 http://cache.example.com:443/")
    assert "server: cache" in page
    assert "client: 10.0.1.4" in page
    assert _nat_gateway_saw_nothing(lab)

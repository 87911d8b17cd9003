"""An interface endpoint whose private DNS is off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.labs import inside

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp


def _changed(topologies: Path, directory: Path, name: str, *changes: tuple[str, str]) -> Path:
    text = (topologies / name).read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def test_private_dns_off(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """The name leads to the public address, through the NAT gateway with its limit, and lab why says what is off."""
    changes = ("server: cache}", "server: cache, private_dns: false}")
    lab = lab_up(_changed(topologies, tmp_path, "privatelink.yaml", changes), scale=1000)
    result = lab.burst(60, connect_timeout_s=3)
    assert (result.tcp.established, result.bottleneck, result.disagreements) == (55, "nat_gateway", ())
    assert result.predicted.established == 55
    (remedy,) = (each for each in lab.why().remedies if "private DNS is off" in each.what)
    assert (remedy.effect, remedy.threshold_after, remedy.binds_after) == ("raises", 65, "hyperplane_eni")
    assert inside(lab, "checkout", "getent hosts cache.example.com").split()[0] == "203.0.113.10"
    assert "server: cache" in inside(lab, "checkout", "curl -sS --max-time 10 http://10.0.1.5:443/")

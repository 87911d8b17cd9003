"""What loading a part of `traffic` costs: processes start in a fraction of a second, `lab` needs no numpy for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    listing = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(listing.stdout.split())


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("traffic.spec", {"numpy", "lab", "scapy"}),
        ("traffic.result", {"numpy", "lab", "scapy"}),
        ("traffic.environments.spec", {"numpy", "asyncio", "h11", "lab"}),
        ("traffic.environments.result", {"numpy", "asyncio", "h11", "lab"}),
        ("traffic.environments.invoke", {"numpy", "lab", "scapy"}),
        ("traffic.environments.fleet", {"numpy", "h11", "lab"}),
        ("traffic.packet_record", {"numpy", "lab", "scapy"}),
        ("traffic.servers.resolver", {"scapy", "lab"}),
        ("traffic.servers.server", {"dns", "scapy", "lab"}),
        ("traffic.servers.listeners", {"numpy", "asyncio", "lab", "scapy"}),
        ("traffic.engines.packet.engine", {"scapy", "lab"}),
    ],
)
def test_what_stays_out(module: str, unwanted: set[str]) -> None:
    """Specs, results, listeners load no numpy, services no scapy, servers no DNS; nothing in `traffic` loads `lab`."""
    assert not _loaded_by(module) & unwanted

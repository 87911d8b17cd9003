"""A packet-level lab for AWS Lambda in a VPC, built from Linux network namespaces.

from lab import Lab

with Lab.up("topologies/two_subnets.yaml") as lab:
    result = lab.burst(140_000, connect_timeout_s=3)
    assert result.drop_threshold == 130_000
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.lab import Lab

__all__ = ["BurstResult", "Lab"]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `lab --help` needs neither netlink nor YAML.
    if name == "Lab":
        from lab.lab import Lab  # noqa: PLC0415

        return Lab
    if name == "BurstResult":
        from lab.burst.result import BurstResult  # noqa: PLC0415

        return BurstResult
    raise AttributeError(f"module 'lab' has no attribute {name!r}")

"""The topology of a run as a drawing, with what its limiters held at the peak. Pure."""

from __future__ import annotations

from html import escape
from itertools import groupby

from lab.burst.result import LimitResult
from lab.graph import Occupancy, draw, to_svg
from lab.runs import Run

__all__ = ["topology_svg"]


def topology_svg(run: Run) -> str:
    """An SVG element that says in words, too, what it shows."""
    at_peak = _occupancy(run)
    held = (f"{node}: {', '.join(occupancy.words)}" for node, occupancy in at_peak.items())
    words = f"Topology of lab {run.result.lab} at the peak. {'; '.join(held)}."
    return to_svg(draw(run.topology, at_peak)).replace('role="img"', f'role="img" aria-label="{escape(words)}"', 1)


def _occupancy(run: Run) -> dict[str, Occupancy]:
    """Node → what its limits held at the peak; all Elastic IPs of a NAT gateway together."""

    def node_of(limit: LimitResult) -> str:
        return limit.node

    grouped = groupby(sorted(run.result.limits, key=node_of), node_of)
    return {node: _together(list(limits)) for node, limits in grouped}


def _together(limits: list[LimitResult]) -> Occupancy:
    return Occupancy(
        held=sum(limit.peak for limit in limits),
        limit=sum(limit.limit for limit in limits),
        refused=sum(limit.dropped_connections for limit in limits),
    )

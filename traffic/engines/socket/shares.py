"""The shares of a burst that its processes make, each a burst of its own. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traffic.spec import Arrivals, BurstSpec

__all__ = ["shares"]


def shares(spec: BurstSpec, most: int) -> list[BurstSpec]:
    """Shares of about equal size, none larger than `most`; connections get their numbers in the whole later (`turns`).

    Rates are divided in proportion, so the first invocations of all shares arrive together; at least one invocation of
    each share may be under way at a time.
    """
    parts = -(-spec.connections // most)
    edges = [spec.connections * part // parts for part in range(parts + 1)]
    return [_share(spec, first, end) for first, end in pairwise(edges)]


def _share(spec: BurstSpec, first: int, end: int) -> BurstSpec:
    offered = _portion(spec.offered, first, end, spec.connections)
    growth, part = spec.growth, (end - first) / spec.connections
    return replace(
        spec,
        connections=end - first,
        invocations=offered,
        arrivals=_slower_arrivals(spec.arrivals, offered / spec.offered),
        growth=growth and replace(growth, at_once=growth.at_once * part, per_s=growth.per_s * part),
        at_a_time=spec.at_a_time and max(_portion(spec.at_a_time, first, end, spec.connections), 1),
    )


def _portion(total: int, first: int, end: int, whole: int) -> int:
    """A share of a total; the portions of all shares add up to it."""
    return total * end // whole - total * first // whole


def _slower_arrivals(arrivals: Arrivals, part: float) -> Arrivals:
    if arrivals.per_s is None:
        return arrivals
    to_per_s = None if arrivals.to_per_s is None else arrivals.to_per_s * part
    return replace(arrivals, per_s=arrivals.per_s * part, to_per_s=to_per_s)

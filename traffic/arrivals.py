"""When invocations arrive and how many environments there may be: seconds in, counts out."""

from __future__ import annotations

from math import ceil, inf, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traffic.spec import Arrivals, Growth

__all__ = ["arrived", "arrives_s", "environments", "most_at_once"]

_ROUNDING = 1e-9
"""A sum of floating-point numbers misses a whole number by less than this."""


def arrived(arrivals: Arrivals, now_s: float) -> float:
    """How many invocations have arrived by now, the first one at 0 s; infinity where all arrive at once."""
    return inf if arrivals.per_s is None else int(_integral(arrivals, now_s) + _ROUNDING) + 1


def arrives_s(arrivals: Arrivals, before: int) -> float:
    """When the invocation after the first `before` arrives; infinity if it never does."""
    if arrivals.per_s is None:
        return 0.0
    ramped = _integral(arrivals, arrivals.ramp_s)
    if before <= ramped and arrivals.ramp_s:
        return _within_ramp(arrivals, before)
    last_per_s = _last_per_s(arrivals)
    return arrivals.ramp_s + (before - ramped) / last_per_s if last_per_s else inf


def _integral(arrivals: Arrivals, now_s: float) -> float:
    """The integral of the rate up to now."""
    start, ramp_s = arrivals.per_s or 0.0, arrivals.ramp_s
    climbing_s = min(now_s, ramp_s)
    slope = (_last_per_s(arrivals) - start) / ramp_s if ramp_s else 0.0
    return start * climbing_s + slope * climbing_s**2 / 2 + _last_per_s(arrivals) * max(now_s - ramp_s, 0.0)


def _within_ramp(arrivals: Arrivals, before: int) -> float:
    """The earlier root of slope/2 t² + start t = before."""
    start = arrivals.per_s or 0.0
    slope = (_last_per_s(arrivals) - start) / arrivals.ramp_s
    if slope == 0:
        return before / start
    return 2 * before / (start + sqrt(max(start**2 + 2 * slope * before, 0.0))) if before else 0.0


def _last_per_s(arrivals: Arrivals) -> float:
    return (arrivals.per_s or 0.0) if arrivals.to_per_s is None else arrivals.to_per_s


def environments(growth: Growth, now_s: float) -> float:
    """How many execution environments there may be by now."""
    return growth.at_once + growth.per_s * now_s


def most_at_once(arrivals: Arrivals, invocations: int, lasting_s: float) -> int:
    """The largest number of invocations under way at a time when each lasts `lasting_s`.

    Their number grows while the rate climbs, and shrinks while it falls once the first has ended. So it is largest
    just before the first ends, when the last of the ramp end, or when the very last arrives.
    """
    end_s = arrives_s(arrivals, invocations - 1)
    if end_s < lasting_s:
        return invocations
    before_any_ends = ceil(_integral(arrivals, lasting_s) - _ROUNDING)
    moments = (min(arrivals.ramp_s + lasting_s, end_s), end_s)
    return max(before_any_ends, *(_under_way(arrivals, moment, lasting_s) for moment in moments))


def _under_way(arrivals: Arrivals, now_s: float, lasting_s: float) -> int:
    gone = arrived(arrivals, now_s - lasting_s) if now_s >= lasting_s else 0
    return int(arrived(arrivals, now_s) - gone)

"""How often a lab is sampled: at the wanted interval, or less often where that costs too much. Clocks are arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Pace", "Seldom"]

T = TypeVar("T")

Clock = Callable[[], float]
"""Returns seconds that never decrease."""


class Pace:
    """How long to wait until the next sample: the interval, or longer where sampling takes more than its share."""

    def __init__(self, interval_s: float, share: float, now: Clock, used: Clock) -> None:
        """At most `share` of a processor, whose time `used` tells."""
        self._interval_s, self._share, self._now, self._used = interval_s, share, now, used
        self.begin()

    def begin(self) -> None:
        """Begin an interval."""
        self._began_s, self._used_s = self._now(), self._used()

    def rest_s(self) -> float:
        """Seconds until the interval ends, to be asked after the sample was taken."""
        took_s, used_s = self._now() - self._began_s, self._used() - self._used_s
        return max(0.0, max(self._interval_s, used_s / self._share) - took_s)


class Seldom(Generic[T]):
    """A function's result, kept for `every_s` seconds before the function is called again, or longer if it is slow."""

    def __init__(self, ask: Callable[[], T], every_s: float, now: Clock, share: float = 1.0) -> None:
        """The function takes `share` of the time at most."""
        self._ask, self._every_s, self._now, self._share = ask, every_s, now, share
        self._again_s = -float("inf")
        self._said: T

    def __call__(self) -> T:
        """The kept result, or a new one if that is too old."""
        now_s = self._now()
        if now_s >= self._again_s:
            self._said = self._ask()
            self._again_s = now_s + max(self._every_s, (self._now() - now_s) / self._share)
        return self._said

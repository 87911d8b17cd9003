"""What costs time is asked seldom: not again within an interval, and for no more than a share of the time. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Clock", "Seldom"]

T = TypeVar("T")

Clock = Callable[[], float]
"""Returns seconds that never decrease."""


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

"""How often a lab is sampled: at the wanted interval, or less often where that costs too much. Clocks are arguments."""

from __future__ import annotations

from lab.observe.seldom import Clock

__all__ = ["Pace"]


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

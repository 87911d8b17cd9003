"""The drop threshold: how many connections were held when the first one that was lost was attempted.

It was never answered, or its host had no port for it, which is known at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Threshold"]


class _Lost(NamedTuple):
    attempt: int
    left_before: int
    open_before: int


class Threshold:
    """Collects attempts that were refused or lost; an attempt is its place in the order of first SYNs."""

    def __init__(self) -> None:
        self._first: _Lost | None = None
        self._refused: list[NDArray[np.uint32]] = []

    @property
    def value(self) -> int | None:
        """The threshold; None if none was lost.

        Connections attempted before the first lost one count as held, those under way included, for their SYNs are in
        the network already. Once connections have begun to close that would count some that are gone: then those that
        were established count.
        """
        if self._first is None:
            return None
        if self._first.left_before:
            return self._first.open_before
        return self._first.attempt - sum(int((refused < self._first.attempt).sum()) for refused in self._refused)

    def refused(self, attempts: NDArray[np.uint32]) -> None:
        """These were refused, so they hold nothing."""
        if len(attempts):
            self._refused.append(attempts if self._first is None else attempts[attempts < self._first.attempt])

    def lost(
        self, attempts: NDArray[np.uint32], left_before: NDArray[np.uint32], open_before: NDArray[np.uint32]
    ) -> None:
        """These were lost; when each was attempted so many had left or were leaving, and so many were open."""
        if len(attempts):
            first = attempts.argmin()
            lost = _Lost(int(attempts[first]), int(left_before[first]), int(open_before[first]))
            self._first = min(lost, self._first or lost)
            self._refused = [refused[refused < self._first.attempt] for refused in self._refused]

    def merge(self, other: Threshold) -> None:
        """Add another process's share of the same burst, when all its attempts have their outcome."""
        self._refused += other._refused
        self._first = min((lost for lost in (self._first, other._first) if lost), default=None)

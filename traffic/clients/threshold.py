"""The drop threshold: how many connections were held when the first one that was never answered was attempted."""

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
    """Collects attempts that were refused or never answered; an attempt is its place in the order of first SYNs."""

    def __init__(self) -> None:
        self._first: _Lost | None = None
        self._refused: list[NDArray[np.uint32]] = []

    @property
    def value(self) -> int | None:
        """The threshold; None if every attempt was answered.

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
        if self._first is None and len(attempts):
            self._refused.append(attempts)

    def lost(
        self, attempts: NDArray[np.uint32], left_before: NDArray[np.uint32], open_before: NDArray[np.uint32]
    ) -> None:
        """These were never answered; when each was attempted so many had left or were leaving, and so many were open.

        All have the same deadline, so every attempt before the first of these has an outcome by now.
        """
        if self._first is None and len(attempts):
            first = attempts.argmin()
            self._first = _Lost(int(attempts[first]), int(left_before[first]), int(open_before[first]))
            self._refused = [refused[refused < attempts[first]] for refused in self._refused]

    def merge(self, other: Threshold) -> None:
        """Add another process's share of the same burst, when all its attempts have their outcome."""
        self._refused += other._refused
        self._first = min((lost for lost in (self._first, other._first) if lost), default=None)

"""Where a burst began to lose connections: how many were held when the first that was never answered was attempted."""

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
    """Hears of attempts, by their places in the order of first SYNs, that were refused or never answered."""

    def __init__(self) -> None:
        self._first: _Lost | None = None
        self._refused: list[NDArray[np.uint32]] = []

    @property
    def value(self) -> int | None:
        """Connections held at that moment, those on their way if they arrived; None if every attempt was answered.

        Once connections have begun to leave, who arrived may have done so much later: then those that were open count.
        """
        if self._first is None:
            return None
        if self._first.left_before:
            return self._first.open_before
        return self._first.attempt - sum(int((each < self._first.attempt).sum()) for each in self._refused)

    def refused(self, attempts: NDArray[np.uint32]) -> None:
        """These hold nothing."""
        if self._first is None and len(attempts):
            self._refused.append(attempts)

    def lost(
        self, attempts: NDArray[np.uint32], left_before: NDArray[np.uint32], open_before: NDArray[np.uint32]
    ) -> None:
        """These were never answered; how many had left, or begun to, and were open when each was attempted.

        Whoever came before the first of them has an outcome by now, for all are equally patient.
        """
        if self._first is None and len(attempts):
            first = attempts.argmin()
            self._first = _Lost(int(attempts[first]), int(left_before[first]), int(open_before[first]))
            self._refused = [each[each < attempts[first]] for each in self._refused]

    def merge(self, other: Threshold) -> None:
        """Another share of the same burst, when all its attempts have their outcome."""
        self._refused += other._refused
        self._first = min((each for each in (self._first, other._first) if each), default=None)

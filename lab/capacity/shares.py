"""How functions share a burst: whose each invocation is, which are let in, and in which order their connections come.

Invocation `i` is one of function `i % F`. Of a function with a reserved concurrency so many are let in, for none of
those that come at once has ended when another comes. Then the functions that have more take turns without it:
connections come by their number in their function, and those of one number in the order of the functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

__all__ = ["Shares"]


@dataclass(frozen=True, slots=True)
class Shares:
    """So many functions that take turns, each with the most of its connections that are let in."""

    functions: int
    most: tuple[int | None, ...] = ()
    """Empty, or None of a function: no limit."""

    def of(self, function: int, invocations: int) -> int:
        """How many of the first so many invocations are a function's."""
        return (invocations - function + self.functions - 1) // self.functions

    def admitted(self, function: int, invocations: int) -> int:
        """How many of a function's invocations are let in, of so many of all functions."""
        return int(min(self.of(function, invocations), self._cap(function)))

    def taking(self, function: int, m: int) -> int:
        """How many of the first `m` connections are a function's."""
        if not any(most is not None for most in self.most):
            return self.of(function, m)
        rounds = self._whole_rounds(m)
        rest = m - self._after(rounds)
        going_on = [place for place in range(self.functions) if self._cap(place) > rounds]
        last = function in going_on[:rest]
        return int(min(rounds, self._cap(function))) + last

    def place(self, function: int, number: int) -> int:
        """How many connections come before that of this number, counted from 0, of a function."""
        return self._after(number) + sum(self._cap(other) > number for other in range(function))

    def _cap(self, function: int) -> float:
        most = self.most[function] if self.most else None
        return inf if most is None else most

    def _after(self, rounds: int) -> int:
        """How many connections there are when each function has had so many turns."""
        return sum(int(min(rounds, self._cap(function))) for function in range(self.functions))

    def _whole_rounds(self, m: int) -> int:
        low, high = 0, m + 1  # `low` rounds are complete, `high` are not, or nobody goes on
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._after(middle) <= m else (low, middle)
        return low

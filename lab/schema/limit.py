"""A limit of connections as a path meets it: how many at a time, and what is not certain about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["ConnectionLimit", "always_certain"]


def always_certain(_: int) -> int | None:
    """The `certain` of a limit that does not depend on chance: None, so all free slots count."""
    return None


@dataclass(frozen=True, slots=True)
class ConnectionLimit:
    """How many connections to one server a node carries at the same time."""

    size: int
    certain: Callable[[int], int | None] = always_certain
    """Connections in use → how many more it takes whatever its node chooses by chance; None: all that are free."""
    grows_after_s: int | None = None
    """How long after its first refusal there is more room; None: never."""

"""What a check of the lab's safety says and returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

__all__ = ["Effort", "Outcome", "Promise"]


class Effort(Enum):
    """How much of a check is run: some seconds of it in the test suite, minutes in `./run trust`."""

    SHORT = "short"
    FULL = "full"
    EVERY = "every step"
    """Of `faults`: hours."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was tried, and what was not as promised."""

    tried: int
    of_what: str
    """What `tried` counts, in the plural, such as "steps and ways to fail"."""
    failures: tuple[str, ...]
    """A line for each that was not as promised, which says how to see it again."""
    remarks: str = ""
    """Figures that belong to the result, such as the slowest input."""


@dataclass(frozen=True, slots=True)
class Promise:
    """One row of the table in docs/reliability.md."""

    name: str
    """One word, for `./run trust NAME`."""
    text: str
    """What is promised, as a sentence for users."""
    method: str
    """How it is tried, in one or two sentences."""
    check: Callable[[Effort], Outcome]
    """Runs as root on a machine where labs can be made. It raises nothing for what is not as promised."""

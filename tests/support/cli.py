"""A command of the command line, run in this process as an ordinary user."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Ended", "Run"]


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]

"""Something that reads input that others have written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
import unicodedata

from tests.trust.mutation import Mutation

__all__ = ["Reader", "Target", "require_tame"]

Reader = Callable[[bytes], None]
"""Reads one input; any exception is one that the product does not declare, or an answer that is not as promised."""


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and what its inputs are like."""

    name: str
    what: str
    """Its inputs in the plural."""
    seeds: Callable[[], Sequence[bytes]]
    """Inputs that are right."""
    mutation: Mutation
    reader: Callable[[], AbstractContextManager[Reader]]


def require_tame(text: str) -> None:
    """AssertionError for what would end a line elsewhere, turn it, or reach a terminal's escape codes."""
    wild = {character for character in text if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert not wild, f"{sorted(wild)} in {text[:200]!r}"

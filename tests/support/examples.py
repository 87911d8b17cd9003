"""How many examples of a property are tried: `./run test quick` tries a quarter of what the whole suite tries."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["examples"]

_PERCENT = settings().max_examples
"""What the profile in use (tests/conftest.py) has for properties without a number of their own: 100, or 25 if quick."""


def examples(count: int) -> settings:
    """So many in the whole suite: fewer than 100 where one takes long, more where cases are many."""
    return settings(max_examples=count * _PERCENT // 100)

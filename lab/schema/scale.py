"""The same topology with smaller limits, for small machines and quick lessons."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel

from lab.errors import UsageError

__all__ = ["SCALES", "scaled"]

SCALES = "scales"
"""Marks a field of a model as a limit, which `--scale` divides."""

M = TypeVar("M", bound=BaseModel)


def scaled(part: M, n: int) -> M:
    """Every limit in a topology, or a part of one, divided by `n`, but at least 1: 65,000 becomes 650 at 100."""
    if n < 1:
        raise UsageError(f"--scale {n}: limits can be divided by 1 or more")
    fields = type(part).model_fields.items()
    return part.model_copy(
        update={name: _scaled(getattr(part, name), n, limit=SCALES in field.metadata) for name, field in fields}
    )


def _scaled(value: Any, n: int, *, limit: bool) -> Any:
    if limit and value is not None:
        return max(min(1, value), value // n)
    if isinstance(value, BaseModel):
        return scaled(value, n)
    if isinstance(value, tuple):
        return tuple(_scaled(item, n, limit=False) for item in value)
    return value

"""A fault: where in the topology, and one sentence of what is wrong and what is allowed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Fault", "Path", "Place", "dotted"]

Path = tuple[str | int, ...]
"""A part of a topology: ("vpc", "subnets", 0, "cidr")."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: at the path's value, at its key (`at_key`), or at a place of its own."""

    path: Path
    text: str
    at_key: bool = False
    place: Place | None = None


def dotted(path: Path) -> str:
    """A path as people write it: `vpc.subnets[0].cidr`; the whole file is `topology`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".") or "topology"

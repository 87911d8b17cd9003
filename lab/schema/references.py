"""Checks of names that many kinds of things need: names given twice, and names that nothing has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.schema.faults import Fault, Path, dotted
from lab.schema.sentences import did_you_mean
from lab.schema.words import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["twice", "unknown"]


def twice(key: str, owner: str, items: Iterable[tuple[Path, object]]) -> Iterator[Fault]:
    """Values of a key that two owners have."""
    seen: dict[object, Path] = {}
    for path, value in items:
        if value in seen:
            first = dotted(seen[value])
            text = f"{shown(value)} is already the {key} of {first}; every {owner} has its own"
            yield Fault((*path, key), text)
        seen.setdefault(value, path)


def unknown(kind: str, name: str, known: Sequence[str] | None, path: Path) -> Iterator[Fault]:
    """The fault of a name that nothing of this kind has; none where the file's names cannot be read."""
    if known is not None and name not in known:
        yield Fault(path, _no_such(kind, name, known))


def _no_such(kind: str, name: str, known: Sequence[str]) -> str:
    if not known:
        return f"no {kind} is called {shown(name)}; the file describes no {kind} at all"
    return f"no {kind} is called {shown(name)}{did_you_mean(name, known)}; the file has {', '.join(known)}"

"""What an nft text of a plan defines, and what of it must go when another text takes its place.

The texts are the plan's own, regular by construction (`lab.slots.ruleset`): one table, whose parts begin in the
third column; a set is one line.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
import re

__all__ = ["Definitions", "definitions", "marks_of", "replacement", "sets_lost", "sets_of"]

_TABLE = re.compile(r"^table (\w+) ([\w-]+) \{$", re.MULTILINE)
_PART = re.compile(r"^  (chain|set|counter) ([\w-]+) \{(.*)$", re.MULTILINE)
_HOOK = re.compile(r"^    type .* hook .*;$", re.MULTILINE)
_SIZE = re.compile(r"\bsize (\d+);")
_SETTLED = re.compile(r"\b(?:size|timeout|gc-interval) \w+; ?")
_MARK = re.compile(r"\b(0x[0-9a-f]+) : goto ([\w-]+)_track\b")

_GOES_FIRST = ("chain", "set", "counter")
"""Nothing can be deleted while something refers to it."""


@dataclass(frozen=True, slots=True)
class Definitions:
    """A table, its parts by kind and name with what the kernel cannot change about them, and how large its sets are."""

    family: str
    table: str
    parts: Mapping[tuple[str, str], str]
    sizes: Mapping[str, int]


def definitions(text: str) -> Definitions:
    """What a ruleset's text defines."""
    family, table = _only_table(text)
    found = list(_PART.finditer(text))
    ends = [*(each.start() for each in found[1:]), len(text)]
    parts = {(each[1], each[2]): _fixed(each, text[each.start() : end]) for each, end in zip(found, ends, strict=True)}
    sizes = {each[2]: int(size[1]) for each in found if each[1] == "set" and (size := _SIZE.search(each[3]))}
    return Definitions(family, table, parts, sizes)


def _only_table(text: str) -> tuple[str, str]:
    tables = _TABLE.findall(text)
    if len(tables) != 1:
        raise ValueError(f"a ruleset of a plan has one table, not {len(tables)}")
    family, table = tables[0]
    return family, table


def _fixed(part: re.Match[str], body: str) -> str:
    """What makes it another thing: a set's type and flags, a base chain's hook.

    Size, timeout and collection interval can change in place (nf_tables_api.c, nf_tables_newset; Linux 6.5).
    """
    if part[1] == "set":
        return _SETTLED.sub("", part[3]).strip()
    if part[1] == "chain":
        hook = _HOOK.search(body)
        return hook[0].strip() if hook else ""
    return ""


def replacement(old: str, new: str, *, rebuilt: Collection[str] = ()) -> str:
    """One transaction that puts a text in the place of another and keeps sets with their elements, and counters.

    `flush table` removes rules only. What is there already is no change; what the new text has no more is deleted. A
    set or base chain that cannot become what it should be is made anew, and so are the sets that are to be `rebuilt`:
    they forget what they hold.
    """
    before, after = definitions(old), definitions(new)
    if (before.family, before.table) != (after.family, after.table):
        raise ValueError(f"table {before.table} cannot become table {after.table}")
    commands = [f"flush table {before.family} {before.table}"]
    commands += _deletions(before, [each for each in before.parts if _is_another(each, before, after, rebuilt)])
    gone = [each for each in before.parts if each not in after.parts]
    return "\n".join((*commands, new.rstrip("\n"), *_deletions(before, gone))) + "\n"


def _is_another(part: tuple[str, str], before: Definitions, after: Definitions, rebuilt: Collection[str]) -> bool:
    if part not in after.parts:
        return False
    return before.parts[part] != after.parts[part] or (part[0] == "set" and part[1] in rebuilt)


def _deletions(of: Definitions, parts: Collection[tuple[str, str]]) -> Iterator[str]:
    for kind, name in sorted(parts, key=lambda each: _GOES_FIRST.index(each[0])):
        yield f"delete {kind} {of.family} {of.table} {name}"


def sets_of(text: str) -> frozenset[str]:
    """The names of a ruleset's sets."""
    return frozenset(definitions(text).sizes)


def sets_lost(old: str, new: str) -> frozenset[str]:
    """Sets that lose their elements when one text takes the place of the other, whatever their sizes are."""
    before, after = definitions(old), definitions(new)
    sets = (part for part in before.parts if part[0] == "set")
    return frozenset(part[1] for part in sets if after.parts.get(part) != before.parts[part])


def marks_of(text: str) -> dict[str, int]:
    """Slot set → the connection mark of those who hold a slot in it."""
    sets = sets_of(text)
    return {name: int(mark, 16) for mark, name in _MARK.findall(text) if name in sets}

"""A table of nftables as typed parts (sets, counters, chains), their text, and the change from one table to another.

Text is what the kernel gets (`nft -f -`), since nft's JSON loses the `dynamic` flag (nft 1.0.6); the parts are what the
lab reads back: which sets there are, how large, and which mark belongs to which set.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

__all__ = ["Chain", "Counter", "Family", "Part", "Set", "Table", "chain", "names", "replacement", "sets_lost", "table"]

Family = Literal["ip", "netdev"]


@dataclass(frozen=True, slots=True)
class Set:
    """A set that rules fill (`dynamic`): at most `size` elements, each for `timeout` unless a rule says otherwise."""

    name: str
    type: str
    size: int
    timeout: str | None = None
    gc_interval: str | None = None
    """How often the kernel frees the elements that have expired; its own choice is once in a second."""
    mark: int | None = None
    """Of a set of connection slots: the mark of connections that hold one."""
    kind: Literal["set"] = "set"

    @property
    def lasting(self) -> str:
        """What the kernel cannot change about it: its type and flags.

        Size, timeout and collection interval change in place (nf_tables_api.c, nf_tables_newset; Linux 6.5).
        """
        return f"type {self.type}; flags {'dynamic' if self.timeout is None else 'dynamic,timeout'};"

    @property
    def text(self) -> str:
        """The set's definition as nft writes it in a table."""
        flags = "dynamic" if self.timeout is None else "dynamic,timeout"
        words = [f"type {self.type}; size {self.size}; flags {flags};"]
        words += [f"timeout {self.timeout};"] if self.timeout is not None else []
        words += [f"gc-interval {self.gc_interval};"] if self.gc_interval is not None else []
        return f"set {self.name} {{ {' '.join(words)} }}"


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of packets and bytes with a name."""

    name: str
    by: tuple[str, ...] = ()
    """The rules by which it counts, if under others its number would mean something else: with them it begins anew."""
    kind: Literal["counter"] = "counter"

    @property
    def lasting(self) -> str:
        """The rules by which it counts."""
        return "\n".join(self.by)

    @property
    def text(self) -> str:
        """The counter's definition as nft writes it in a table."""
        return f"counter {self.name} {{ }}"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of rules, each in nft's words; a base chain has a hook."""

    name: str
    rules: tuple[str, ...]
    hook: str | None = None
    """`type filter hook forward priority filter; policy drop;`."""
    kind: Literal["chain"] = "chain"

    @property
    def lasting(self) -> str:
        """What the kernel cannot change about it: where it is hooked."""
        return self.hook or ""

    @property
    def text(self) -> str:
        """The chain and its rules as nft writes them in a table."""
        lines = (self.hook, *self.rules) if self.hook else self.rules
        body = "\n".join(f"    {line}" for line in lines)
        return f"chain {self.name} {{\n{body}\n  }}"


Part = Set | Counter | Chain

_DELETED_FIRST = ("chain", "set", "counter")
"""Nothing can be deleted while something refers to it."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table and all its parts, in the order in which they are defined."""

    name: str
    parts: tuple[Annotated[Part, Field(discriminator="kind")], ...]
    family: Family = "ip"

    @property
    def sets(self) -> dict[str, Set]:
        """Set name → set."""
        return {part.name: part for part in self.parts if isinstance(part, Set)}

    @property
    def marks(self) -> dict[str, int]:
        """Slot set → the mark of connections that hold a slot in it."""
        return {part.name: part.mark for part in self.sets.values() if part.mark is not None}

    @property
    def text(self) -> str:
        """What `nft -f -` reads."""
        return self._text_of(self.parts)

    def pieces(self, most: int) -> Iterator[str]:
        """The same in several texts for a table that is not there, with at most so many parts or rules in each.

        Chains come without rules first, for rules name other chains.
        """
        without_rules = [replace(part, rules=()) if isinstance(part, Chain) else part for part in self.parts]
        for first in range(0, len(without_rules), most):
            yield self._text_of(without_rules[first : first + most])
        for part in self.parts:
            if isinstance(part, Chain):
                for first in range(0, len(part.rules), most):
                    yield self._text_of([replace(part, rules=part.rules[first : first + most], hook=None)])

    def _text_of(self, parts: Iterable[Part]) -> str:
        body = "\n".join(f"  {part.text}" for part in parts)
        return f"table {self.family} {self.name} {{\n{body}\n}}\n"


def names(interfaces: Iterable[str]) -> str:
    """A set of interfaces, as a match has it: `{ "eth0", "eth1" }`."""
    quoted = ", ".join(f'"{interface}"' for interface in interfaces)
    return f"{{ {quoted} }}"


def chain(name: str, *rules: str, hook: str | None = None) -> Chain:
    """A chain of these rules."""
    return Chain(name, rules, hook)


def table(name: str, *parts: Part, family: Family = "ip") -> Table:
    """A table of these parts."""
    return Table(name, parts, family)


def replacement(old: Table, new: Table, *, rebuilt: Collection[str] = ()) -> str:
    """One transaction that puts a table in the place of another and keeps sets with their elements, and counters.

    `flush table` removes rules only. What is there already is no change; what the new table has no more is deleted. A
    set or base chain that cannot become what it should be is made anew, and so are the sets that are to be `rebuilt`:
    they forget what they hold.
    """
    if (old.family, old.name) != (new.family, new.name):
        raise ValueError(f"table {old.name} cannot become table {new.name}")
    kept = {(part.kind, part.name): part for part in new.parts}
    anew = [part for part in old.parts if _is_made_anew(part, kept.get((part.kind, part.name)), rebuilt)]
    gone = [part for part in old.parts if (part.kind, part.name) not in kept]
    commands = (f"flush table {old.family} {old.name}", *_deletions(old, anew), new.text.rstrip("\n"))
    return "\n".join((*commands, *_deletions(old, gone))) + "\n"


def _is_made_anew(old: Part, new: Part | None, rebuilt: Collection[str]) -> bool:
    return new is not None and (old.lasting != new.lasting or (isinstance(old, Set) and old.name in rebuilt))


def _deletions(table: Table, parts: Collection[Part]) -> Iterator[str]:
    for part in sorted(parts, key=lambda part: _DELETED_FIRST.index(part.kind)):
        yield f"delete {part.kind} {table.family} {table.name} {part.name}"


def sets_lost(old: Table, new: Table) -> frozenset[str]:
    """Sets that lose their elements when one table takes the place of the other, whatever their sizes are."""
    after = new.sets
    return frozenset(
        name for name, part in old.sets.items() if name not in after or after[name].lasting != part.lasting
    )

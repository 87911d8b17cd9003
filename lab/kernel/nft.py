"""nftables rulesets, through `nft -f -`: the text in a plan is the text that the kernel gets."""

from __future__ import annotations

from collections.abc import Collection
import errno
import os
from pathlib import Path
import platform
import subprocess

from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces, NamespaceThread
from lab.kernel.preflight import find
from lab.plan.objects import Ruleset
from lab.slots.nft import Table, replacement, sets_lost

__all__ = [
    "apply_ruleset",
    "apply_text",
    "complete_ruleset",
    "flush_sets",
    "remove_ruleset",
    "replace_ruleset",
    "restore_ruleset",
]

_AT_A_TIME = 200
"""Sets, or rules: some 200 bytes each, 1,000 with a list; well below 212,992, the usual net.core.wmem_default."""
_ROOM_FOR_ANY = 4_194_304


def apply_ruleset(namespaces: Namespaces, ruleset: Ruleset) -> None:
    """Load the ruleset of a namespace through which nothing passes yet.

    nft sends one transaction, and several where one is too large for a socket of a user without root.
    """
    inside = namespaces[ruleset.namespace]
    try:
        inside.run(_nft, ruleset.text)
    except OSError as refused:
        if refused.errno != errno.EMSGSIZE:
            raise
        for piece in ruleset.table.pieces(_AT_A_TIME):
            inside.run(_nft, piece)


def apply_text(inside: NamespaceThread, text: str) -> None:
    """Carry out commands in nft's own words, all of them or none."""
    inside.run(_nft, text)


def replace_ruleset(namespaces: Namespaces, old: Ruleset, new: Ruleset, rebuilt: Collection[str] = ()) -> None:
    """Put a ruleset in the place of another in one transaction; sets keep their elements and counters their counts.

    Sets that are to be `rebuilt`, and those that the new one has no more, forget their connections, and conntrack does
    so too. OSError when a set has not taken its new size, with everything as it was.
    """
    inside = namespaces[old.namespace]
    inside.run(_nft, replacement(old.table, new.table, rebuilt=rebuilt))
    if fault := inside.run(_size_fault, new.table):
        inside.run(_nft, replacement(new.table, old.table))
        raise OSError(0, fault)
    marks, lost = old.table.marks, {*sets_lost(old.table, new.table), *rebuilt}
    inside.run(conntrack.forget, [marks[name] for name in sorted(lost & marks.keys())])


def restore_ruleset(namespaces: Namespaces, new: Ruleset, old: Ruleset) -> None:
    """Put the old ruleset back, whether or not the new one has taken its place."""
    inside = namespaces[old.namespace]
    try:
        inside.run(_nft, replacement(new.table, old.table))
    except OSError:  # what only the new one has is not there to be deleted
        inside.run(_nft, replacement(old.table, old.table))


def complete_ruleset(namespaces: Namespaces, ruleset: Ruleset) -> None:
    """Make again what is gone of a table, or all of it; what is there stays, elements and counts too.

    Connections that held a slot in a set that was gone are forgotten.
    """
    inside, table = namespaces[ruleset.namespace], ruleset.table
    family = nftables.FAMILIES[table.family]
    is_there = table.name in inside.run(nftables.tables, family)
    kept = inside.run(nftables.set_names, table.name, family) if is_there else frozenset()
    inside.run(_nft, replacement(table, table) if is_there else ruleset.text)
    inside.run(conntrack.forget, [mark for name, mark in sorted(table.marks.items()) if name not in kept])


def _size_fault(table: Table) -> str | None:
    """Runs inside: a set that is not as large as the table has it, or holds more; then it would have no limit at all.

    nft_dynset.c compares for equality (atomic_add_unless); kernels before 6.5 leave a set's size as it is and say
    nothing (nf_tables_api.c, "permit update of set size").
    """
    family = nftables.FAMILIES[table.family]
    for name, wanted in table.sets.items():
        size = wanted.size
        room = nftables.set_limit(table.name, name, family)
        if room != size:
            return (
                f"set {name} has room for {room:,} and should have {size:,}: kernel {platform.release()} does not "
                "change a set's size, Linux 6.5 does; take the lab down, then up again"
            )
        held = nftables.set_size(table.name, name, family)
        if held > size:
            return f"set {name} holds {held:,} by now, more than {size:,}; try again when connections have ended"
    return None


def remove_ruleset(namespaces: Namespaces, ruleset: Ruleset) -> None:
    """Take a ruleset's table away; one that is not there is no error."""
    table = f"table {ruleset.table.family} {ruleset.table.name}"
    namespaces[ruleset.namespace].run(_nft, f"add {table}\ndelete {table}\n")


def flush_sets(inside: NamespaceThread, table: str, sets: tuple[str, ...]) -> None:
    """Empty sets of a table."""
    inside.run(_nft, "".join(f"flush set ip {table} {name}\n" for name in sets))


def _nft(text: str) -> None:
    done = subprocess.run(
        [find("nft") or "nft", "-f", "-"],
        input=text,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode == 0:
        return
    said = done.stderr.strip() or f"nft ended with status {done.returncode}"
    if os.strerror(errno.EMSGSIZE) in said:
        room = Path("/proc/sys/net/core/wmem_default").read_text(encoding="ascii").strip()
        raise OSError(
            errno.EMSGSIZE,
            f"{said}: without root a change of rules has {room} bytes (net.core.wmem_default); on the machine: "
            f"sudo sysctl -w net.core.wmem_default={_ROOM_FOR_ANY}",
        )
    raise OSError(0, said)

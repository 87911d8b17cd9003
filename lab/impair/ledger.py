"""What faults have dropped since `lab up`, also those that have been cleared: the kernel's counters went with them.

The ledger is a file in the lab's record, made when the first fault is set: without it a burst need not read any fault
from the kernel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
import json
from pathlib import Path
from typing import Any

from lab.errors import UsageError
from lab.impair.faults import Faults, Impairment
from lab.kernel.netns import Namespaces
from lab.kernel.record_files import DamagedFileError, damage_told, opener, read
from lab.plan.objects import Plan

__all__ = ["dropped_between", "dropped_so_far", "note"]


def note(directory: Path, gone: Iterable[Impairment]) -> None:
    """Keep what cleared or replaced faults had dropped."""
    lines = (json.dumps(asdict(impairment)) for impairment in gone)
    with open(_file(directory), "a", encoding="utf-8", opener=opener) as ledger:
        ledger.writelines(f"{line}\n" for line in lines)


def dropped_so_far(namespaces: Namespaces, plan: Plan, directory: Path) -> Counter[Impairment]:
    """Fault (its own count left out) → packets that it has dropped since `up`, whenever it was set."""
    if not _file(directory).exists():
        return Counter()
    from lab.impair.apply import read  # noqa: PLC0415  # only where there are faults

    dropped = Counter[Impairment]()
    for impairment in (*_noted(directory), *read(namespaces, plan, plan.nodes)):
        dropped[replace(impairment, dropped_packets=0)] += impairment.dropped_packets
    return dropped


def dropped_between(before: Counter[Impairment], after: Counter[Impairment]) -> tuple[Impairment, ...]:
    """The faults that dropped packets between the two, each with how many."""
    return tuple(replace(fault, dropped_packets=packets) for fault, packets in (after - before).items())


def _noted(directory: Path) -> Iterator[Impairment]:
    if not _file(directory).stat().st_size:  # faults have been set, and none has been cleared
        return
    with damage_told(_file(directory)):
        for line in read(_file(directory)).splitlines():
            fields = json.loads(line)
            yield Impairment(**fields | {"faults": _faults(fields["faults"])})


def _faults(fields: dict[str, Any]) -> Faults:
    try:
        return Faults(**fields)
    except UsageError as refused:
        raise DamagedFileError(f"has a fault that cannot be set: {refused}") from None


def _file(directory: Path) -> Path:
    return directory / "faults.jsonl"

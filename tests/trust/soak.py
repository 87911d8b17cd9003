"""Labs that come and go, again and again, leave the kernel and the process that made them as they were."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
import time
from typing import NamedTuple

from lab.lab import Lab
from tests.support.labs import eventually
from tests.support.machine import left_of
from tests.trust.promise import Effort, Outcome, Promise

__all__ = ["PROMISE"]

CYCLES = {Effort.SHORT: 4, Effort.FULL: 200}
SOME = 10
"""Cycles at the beginning, and at the end, that are held against each other."""
MOST = 1.2
"""How much more the last ones may use than the first ones."""
SCALE, CONNECTIONS = 1000, 400
"""65 connections per ENI and 55 per Elastic IP: each burst runs into limits."""
TOPOLOGY = Path(__file__).parents[2] / "topologies" / "two_subnets.yaml"


class _Use(NamedTuple):
    """What is in use after a cycle."""

    descriptors: int
    resident_bytes: int
    network_namespaces: int
    conntrack_entries: int


def _check(effort: Effort) -> Outcome:
    name, cycles = f"soak-{os.getpid()}", CYCLES[effort]
    failures, uses, seconds = list[str](), list[_Use](), list[float]()
    with TemporaryDirectory() as directory:
        changed = Path(directory, "changed.yaml")
        changed.write_text(
            TOPOLOGY.read_text(encoding="utf-8").replace("elastic_ips: 3", "elastic_ips: 2"), encoding="utf-8"
        )
        for number in range(cycles):
            start = time.monotonic()
            _cycle(name, changed)
            seconds.append(time.monotonic() - start)
            if left := left_of(name):
                failures.append(f"after cycle {number + 1}: {', '.join(left)}")
            uses.append(_use())
    if effort is Effort.SHORT:  # other tests run beside it: only what is this process's own tells something
        grown = uses[-1].descriptors - uses[0].descriptors
        return Outcome(cycles, "cycles", (*failures, *([f"{grown:+} descriptors"] if grown > 0 else [])))
    eventually(lambda: _use().network_namespaces <= uses[0].network_namespaces)  # the kernel frees them later
    uses[-1] = _use()
    failures += _grown(uses)
    growth = median(seconds[-SOME:]) / median(seconds[:SOME])
    memory = median(use.resident_bytes for use in uses[-SOME:]) / median(use.resident_bytes for use in uses[:SOME])
    remarks = f"last {SOME} cycles over the first {SOME}: time {growth:.2f}, resident memory {memory:.2f}"
    return Outcome(cycles, "cycles", tuple(failures), remarks)


def _cycle(name: str, changed: Path) -> None:
    with Lab.up(TOPOLOGY, name=name, scale=SCALE) as lab:
        lab.burst(CONNECTIONS, connect_timeout_s=1)
        Lab.up(changed, name=name, scale=SCALE, disruptive=True)
        lab.burst(CONNECTIONS, connect_timeout_s=1)


def _grown(uses: list[_Use]) -> list[str]:
    found = []
    for field in _Use._fields:
        first, last = (median(getattr(use, field) for use in some) for some in (uses[:SOME], uses[-SOME:]))
        if last > MOST * max(first, 1):
            found.append(f"{field.replace('_', ' ')}: {first:,.0f} in the first {SOME} cycles, {last:,.0f} in the last")
    return found


def _use() -> _Use:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    lines = Path("/proc/slabinfo").read_text(encoding="ascii").splitlines()[2:]
    slabs = {line.split()[0]: int(line.split()[1]) for line in lines}
    return _Use(
        descriptors=len(list(Path("/proc/self/fd").iterdir())),
        resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        network_namespaces=slabs["net_namespace"],
        conntrack_entries=slabs["nf_conntrack"],
    )


PROMISE = Promise(
    name="soak",
    text="Labs that come and go leave nothing behind, and neither a process nor the kernel grows by it.",
    method="One process brings a lab up, fires a burst, changes the lab, fires another and takes it down. After each "
    "cycle nothing of the lab may be left; descriptors, memory, network namespaces and connection tracking entries "
    f"of the last {SOME} cycles are held against those of the first {SOME}: at most {MOST} times as much.",
    check=_check,
)

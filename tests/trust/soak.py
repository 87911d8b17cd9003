"""Labs that come and go, again and again, leave the kernel and the process that made them as they were."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
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
SIDE_BY_SIDE = 2
"""Processes, with as many cycles each."""
SOME = 10
"""Cycles at the beginning, and at the end, of each process that are held against each other."""
MOST = 1.2
"""How much more the last ones may use than the first ones."""
LEAST = 10
"""Cycles of which one may not leave a network namespace; the allocator's own count is inexact by some."""
SCALE, CONNECTIONS = 1000, 400
"""65 connections per ENI and 55 per Elastic IP: each burst runs into limits."""
TOPOLOGY = Path(__file__).parents[2] / "topologies" / "two_subnets.yaml"


class _Use(NamedTuple):
    """What is in use after a cycle."""

    descriptors: int
    resident_bytes: int
    network_namespaces: int
    conntrack_entries: int


class _Cycles(NamedTuple):
    """What one process saw."""

    left: list[str]
    """What was left after a cycle, and after which."""
    uses: list[_Use]
    seconds: list[float]


def _check(effort: Effort) -> Outcome:
    cycles = CYCLES[effort]
    first = _cycles(1)
    with ProcessPoolExecutor(SIDE_BY_SIDE, get_context("spawn")) as processes:
        done = list(processes.map(_cycles, [cycles // SIDE_BY_SIDE] * SIDE_BY_SIDE))
    failures = [line for each in (first, *done) for line in each.left]
    if effort is Effort.SHORT:  # other tests run beside it: only what is the process's own tells something
        grown = [each.uses[-1].descriptors - each.uses[0].descriptors for each in done]
        failures += [f"{more:+} descriptors" for more in grown if more > 0]
        return Outcome(cycles, "cycles", tuple(failures))
    before, most = first.uses[0].network_namespaces, first.uses[0].network_namespaces + cycles // LEAST
    eventually(lambda: _use().network_namespaces <= most)  # the kernel frees them later
    if (now := _use().network_namespaces) > most:
        failures.append(f"network namespaces: {before} before, {now} in the end")
    failures += [line for each in done for line in _grown(each.uses)]
    growth = max(median(each.seconds[-SOME:]) / median(each.seconds[:SOME]) for each in done)
    memory = max(_ratio(each.uses, "resident_bytes") for each in done)
    remarks = f"last {SOME} cycles over the first {SOME}: time {growth:.2f}, resident memory {memory:.2f}"
    return Outcome(cycles, "cycles", tuple(failures), remarks)


def _cycles(count: int) -> _Cycles:
    name, seen = f"soak-{os.getpid()}", _Cycles([], [], [])
    with TemporaryDirectory() as directory:
        changed = Path(directory, "changed.yaml")
        changed.write_text(
            TOPOLOGY.read_text(encoding="utf-8").replace("elastic_ips: 3", "elastic_ips: 2"), encoding="utf-8"
        )
        for number in range(count):
            start = time.monotonic()
            with Lab.up(TOPOLOGY, name=name, scale=SCALE) as lab:
                lab.burst(CONNECTIONS, connect_timeout_s=0.2)
                Lab.up(changed, name=name, scale=SCALE, disruptive=True)
                lab.burst(CONNECTIONS, connect_timeout_s=0.2)
            seen.seconds.append(time.monotonic() - start)
            if left := left_of(name):
                seen.left.append(f"after cycle {number + 1} of {name}: {', '.join(left)}")
            seen.uses.append(_use())
    return seen


def _grown(uses: list[_Use]) -> list[str]:
    ratios = {field.replace("_", " "): _ratio(uses, field) for field in _Use._fields}
    return [f"{what}: {ratio:.2f} times as many in the end" for what, ratio in ratios.items() if ratio > MOST]


def _ratio(uses: list[_Use], field: str) -> float:
    first, last = (median(getattr(use, field) for use in some) for some in (uses[:SOME], uses[-SOME:]))
    return float(last / max(first, 1))


def _use() -> _Use:
    for slab in ("net_namespace", "nf_conntrack"):  # what is kept for the next such object counts as in use otherwise
        with suppress(OSError):
            Path("/sys/kernel/slab", slab, "shrink").write_text("1", encoding="ascii")
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
    method=f"{SIDE_BY_SIDE} processes, each again and again, bring a lab up, fire a burst, change the lab, fire "
    "another and take it down. After each cycle nothing of the lab may be left; descriptors, memory, network "
    f"namespaces and connection tracking entries of a process's last {SOME} cycles are held against those of its "
    f"first {SOME}: at most {MOST} times as much. In the end there may not be one more network namespace for each "
    f"{LEAST} cycles.",
    check=_check,
)

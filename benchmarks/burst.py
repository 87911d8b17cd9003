"""How fast a burst is, how flat, and what a held connection costs: a fresh lab per run, medians in the end.

    sudo .venv/bin/python benchmarks/burst.py topologies/two_subnets.yaml -n 140000 --runs 10

Rates are those of the connect phase, DNS included. Memory is what there is more of while all connections are held than
before the burst: the kernel's slabs (conntrack entries and slots), and the proportional set size of the processes in
the lab (the generator, most of it the interpreter and its libraries, and what the servers have grown by). The most of
all runs is quoted: the kernel frees a lab's slabs some time after it is gone, and the next lab finds them there.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from lab import Lab
from lab.burst.result import BurstResult
from lab.burst.run import Progress
from lab.kernel.processes import processes_in


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes in use."""

    kernel: int
    processes: int

    @classmethod
    def now(cls, lab: Lab) -> Memory:
        """Slabs (proc(5), /proc/meminfo) and the lab's processes (/proc/PID/smaps_rollup)."""
        pids = {each.pid for each in processes_in(lab.plan.namespaces)}
        return cls(
            _kilobytes(Path("/proc/meminfo"), "Slab:"),
            sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids),
        )


def _kilobytes(path: Path, key: str) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


@dataclass(frozen=True, slots=True)
class Run:
    """One burst and its price."""

    result: BurstResult
    kernel_bytes: float
    """Per connection, as the next."""
    process_bytes: float

    @property
    def evenness(self) -> float:
        """The rate in the last tenth over that in the first."""
        tenths = self.result.timing.tenths_per_s
        return tenths[-1] / tenths[0]

    @property
    def memory(self) -> str:
        """In words."""
        return f"{self.kernel_bytes:,.0f} + {self.process_bytes:,.0f} B/connection"


def measure(topology: str, connections: int) -> Run:
    """One burst in a lab of its own."""
    held: list[Memory] = []

    with Lab.up(topology, name="benchmark") as lab:

        def progress(now: Progress) -> None:
            if now.phase == "closing":
                held.append(Memory.now(lab))

        before = Memory.now(lab)
        result = lab.burst(connections, connect_timeout_s=3, progress=progress)
    count = result.tcp.established
    return Run(result, (held[0].kernel - before.kernel) / count, (held[0].processes - before.processes) / count)


def describe(run: Run) -> str:
    """One line."""
    result = run.result
    return (
        f"{result.tcp.established:>8,} established  threshold {result.drop_threshold}  {result.bottleneck}  "
        f"{result.timing.invocations_per_s:>8,.0f}/s  last/first tenth {run.evenness:.2f}  "
        f"{run.memory}  {'; '.join(result.disagreements) or 'accounts agree'}"
    )


def summary(runs: Sequence[Run]) -> str:
    """The medians, and how often each outcome was seen."""
    outcomes = Counter((run.result.tcp.established, run.result.drop_threshold, run.result.bottleneck) for run in runs)
    return (
        f"median of {len(runs)}: {median(run.result.timing.invocations_per_s for run in runs):,.0f} invocations/s, "
        f"last/first tenth {median(run.evenness for run in runs):.2f}, "
        f"at most {max(run.kernel_bytes for run in runs):,.0f} B/connection in the kernel, "
        f"{max(run.process_bytes for run in runs):,.0f} in processes\n"
        + "\n".join(
            f"{times} x established={e} drop_threshold={t} bottleneck={b}" for (e, t, b), times in outcomes.items()
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology")
    parser.add_argument("-n", dest="connections", type=int, required=True)
    parser.add_argument("--runs", type=int, default=5)
    wanted = parser.parse_args()
    runs = []
    for _ in range(wanted.runs):
        runs.append(measure(wanted.topology, wanted.connections))
        print(describe(runs[-1]), flush=True)
    print(summary(runs))


if __name__ == "__main__":
    main()

"""What looking costs: bursts with everything that looks (collector, `lab watch`, samples of a record), and without.

    sudo .venv/bin/python benchmarks/watching.py topologies/two_subnets.yaml -n 130000 --pairs 8

Each pair is two labs, one after the other, in an order that changes; rates are those of the connect phase. Then
connections are held, and the processor time of `lab watch` and of the collector is taken over a while.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
import os
from pathlib import Path
import pty
import select
from statistics import median
import subprocess
import sys
from threading import Event, Thread
import time

from lab import Lab
from lab.burst.load import Load
from lab.kernel.processes import running
from lab.observe.collector import stop_collecting
from lab.observe.samples import Sample

NAME = "benchmark"
ROWS, COLUMNS = 24, 80


@contextmanager
def watched() -> Iterator[int]:
    """`lab watch` on a terminal of its own, which is read as a terminal emulator would; its process id."""
    main, terminal = pty.openpty()
    environment = os.environ | {"LINES": str(ROWS), "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    command = [sys.executable, "-P", "-c", "from lab.cli import main; main()", "watch", "--lab", NAME]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    done = Event()

    def drain() -> None:
        while not done.is_set():
            if select.select([main], [], [], 0.1)[0]:
                try:
                    os.read(main, 1 << 16)
                except OSError:  # the other end is closed
                    return

    reader = Thread(target=drain)
    reader.start()
    try:
        time.sleep(2)
        if process.poll() is not None:
            raise RuntimeError("lab watch has ended")
        yield process.pid
    finally:
        process.terminate()
        process.wait()
        done.set()
        reader.join()
        os.close(main)


def rate(topology: str, connections: int, *, looking: bool) -> float:
    """Invocations per second of a burst in a lab of its own."""
    samples: list[Sample] = []
    with Lab.up(topology, name=NAME) as lab:
        if not looking:
            stop_collecting(lab.plan)
        with watched() if looking else nullcontext():
            load = Load(connections=connections, connect_timeout_s=3)
            result = lab.carry(load, sampled=samples.append if looking else None)
    return result.timing.invocations_per_s


def processor_share(pid: int, seconds: float) -> float:
    """What share of one processor a process takes over some time (proc(5), /proc/PID/stat)."""

    def used_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before_s, begun_s = used_s(), time.monotonic()
    time.sleep(seconds)
    return (used_s() - before_s) / (time.monotonic() - begun_s)


def held(topology: str, connections: int, seconds: float) -> str:
    """What `lab watch` and the collector take while connections are held and nothing happens."""
    with Lab.up(topology, name=NAME) as lab:
        result = lab.burst(connections, connect_timeout_s=3, leave_open=True)
        (collector,) = running(lab.plan.namespaces, "lab.observe.collector")
        with watched() as watch:
            shares = processor_share(watch, seconds), processor_share(collector.pid, seconds)
    return (
        f"{result.tcp.established:,} connections held: lab watch takes {shares[0]:.1%} of a processor, "
        f"the collector {shares[1]:.1%}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology")
    parser.add_argument("-n", dest="connections", type=int, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the held connections are watched")
    wanted = parser.parse_args()
    rates: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(wanted.pairs):
        for looking in (bool(pair % 2), not pair % 2):
            rates[looking].append(rate(wanted.topology, wanted.connections, looking=looking))
        print(f"pair {pair + 1}: {rates[True][-1]:,.0f}/s looked at, {rates[False][-1]:,.0f}/s not", flush=True)
    if wanted.pairs:
        ratio = median(with_ / without for with_, without in zip(rates[True], rates[False], strict=True))
        print(
            f"medians: {median(rates[True]):,.0f}/s looked at, {median(rates[False]):,.0f}/s not; of ratios {ratio:.3f}"
        )
    print(held(wanted.topology, wanted.connections, wanted.seconds))


if __name__ == "__main__":
    main()

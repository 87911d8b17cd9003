"""Steady state near a limit: connections open and close for minutes or hours, and nothing may grow or be refused early.

    sudo .venv/bin/python benchmarks/churn.py topologies/one_subnet.yaml --load 0.95 --seconds 300
    sudo .venv/bin/python benchmarks/churn.py topologies/one_subnet.yaml --load 1.05 --seconds 60

The rate is such that `--load` times the tightest limit is held: a slot is taken for the hold and, on average, a quarter
of a second more, until the set's collector comes by. One line per interval: connections open, slots, SYNs refused so
far, packets so far, memory of the lab's processes and of the kernel's slabs.

With `--beside` a `lab watch` and a `lab metrics --prometheus` that is scraped once a second run as well, and count.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
import json
from pathlib import Path
import subprocess
import sys
from threading import Event, Thread
import time
from urllib.request import urlopen

from lab import Lab
from lab.burst.run import Progress
from lab.capacity.predict import predict
from lab.kernel.processes import processes_in

_LINGERS_S = 0.25


@dataclass(slots=True)
class Watch:
    """Prints a line from time to time."""

    lab: Lab
    every_s: float
    beside: tuple[int, ...] = ()
    """Process ids of what looks at the lab."""
    next_s: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def __call__(self, progress: Progress) -> None:
        """Called with each progress."""
        now_s = time.monotonic() - self.started_s
        if progress.phase == "connecting" and now_s >= self.next_s:
            self.next_s = now_s + self.every_s
            self.line(now_s, progress)

    def line(self, now_s: float, progress: Progress) -> None:
        """One reading of everything."""
        slots = {
            each.limiter.eip or each.limiter.node: (each.in_use, each.refused_packets)
            for each in self.lab.readings()
            if each.limiter.protocol != "udp"
        }
        held = "  ".join(f"{name} {used:,} ({refused:,} refused)" for name, (used, refused) in slots.items())
        print(
            f"{now_s:7.0f} s  {progress.established:>11,} established  {progress.open:>7,} open  {held}  "
            f"{self.packets():,} packets  processes {self.processes_kb():,} KB  slabs {_kilobytes('Slab:'):,} KB",
            flush=True,
        )

    def packets(self) -> int:
        """Packets in both directions at the fleet's interface."""
        fleet = self.lab.plan.fleets[0]
        command = ("ip", "-n", fleet.namespace, "-s", "-j", "link", "show", fleet.interface)
        (link,) = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return int(link["stats64"]["rx"]["packets"] + link["stats64"]["tx"]["packets"])

    def processes_kb(self) -> int:
        """Resident memory of the lab's processes."""
        pids = [*self.beside, *(each.pid for each in processes_in(self.lab.plan.namespaces))]
        return sum(_kilobytes("VmRSS:", Path(f"/proc/{pid}/status")) for pid in pids)


def _kilobytes(key: str, path: Path = Path("/proc/meminfo")) -> int:
    lines = path.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


@contextmanager
def looking(lab: Lab, port: int) -> Iterator[tuple[int, ...]]:
    """A watch and an exporter that is scraped, until the block ends; their process ids."""
    program = (sys.executable, "-P", "-c", "from lab.cli import main; main()")
    words = ("watch",), ("metrics", "--prometheus", str(port))
    processes = [
        subprocess.Popen((*program, *each, "--lab", lab.name), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for each in words
    ]
    done, scrapes = Event(), [0, 0]

    def scrape() -> None:
        while not done.wait(1):
            try:
                with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    scrapes[0] += bool(answer.read())
            except OSError:
                scrapes[1] += 1

    scraper = Thread(target=scrape)
    try:
        time.sleep(3)
        scraper.start()
        yield tuple(process.pid for process in processes)
    finally:
        done.set()
        ended = [process.poll() for process in processes]
        for process in processes:
            process.terminate()
            process.wait()
        scraper.join()
        print(f"{scrapes[0]:,} scrapes answered, {scrapes[1]:,} not; ended before the burst did: {ended}")


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topology")
    parser.add_argument("--load", type=float, default=0.95, help="of the tightest limit")
    parser.add_argument("--hold", type=float, default=10.0, help="seconds each connection is kept")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--every", type=float, default=30.0, help="seconds from line to line")
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1, help="requests on each connection")
    parser.add_argument("--beside", type=int, metavar="PORT", help="a watch, and an exporter at this port, look on")
    given = parser.parse_args()
    with Lab.up(given.topology, name="churn", scale=given.scale) as lab:
        limit = predict(lab.topology, 1_000_000).drop_threshold or 0
        rate = given.load * limit / (given.hold + _LINGERS_S)
        print(f"limit {limit:,}, load {given.load:.0%}: {rate:,.0f} invocations/s, each held {given.hold:g} s")
        with looking(lab, given.beside) if given.beside else nullcontext(()) as beside:
            result = lab.burst(
                int(rate * given.seconds),
                rate_per_s=rate,
                hold_s=given.hold,
                requests_per_connection=given.requests,
                progress=Watch(lab, given.every, beside),
            )
        tcp = result.tcp
        print(f"{tcp.established:,} established, {tcp.timed_out:,} timed out, {tcp.syn_retransmissions:,} SYNs again")
        for each in result.limits:
            print(f"{each.node} {each.eip or ''}: peak {each.peak:,}, {each.dropped_packets:,} SYNs refused")
        for tracked in result.tracking:
            print(f"{tracked.node}, in the end: {tracked.slots:,} slots, {tracked.conntrack:,} conntrack entries")
        print("the accounts agree" if not result.disagreements else "\n".join(result.disagreements))


if __name__ == "__main__":
    main()

"""A lab's collector: a process that takes a sample of all NAT nodes each second, as CloudWatch does for its minutes.

`python -m lab.observe.collector DIRECTORY NODES` lives in one of the lab's namespaces, so it ends with the lab, and
visits the others. It imports next to nothing, so it starts in some 50 ms and takes 15 MiB: what starts and ends it
imports what that takes only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
import os
from pathlib import Path
import sys
import time
from typing import TYPE_CHECKING

from lab.kernel.netns import call_in
from lab.observe.history import History, read
from lab.observe.sampling import Sampler
from lab.slots.counters import NatNode, nodes_from_json, nodes_to_json
from traffic.privileges import Capability, give_up

if TYPE_CHECKING:
    from lab.kernel.state import Record
    from lab.plan.objects import Plan

__all__ = ["collect", "resume", "start_collecting", "stop_collecting"]

_SHARE_OF_TIME = 0.05
"""What taking samples may take, at most: kernels before 6.16 count a set's elements by walking."""
_MODULE = "lab.observe.collector"
_NEEDED = (Capability.NET_ADMIN, Capability.SYS_ADMIN)
"""It reads nftables and connection tracking of each node in its namespace, and its file is a part of root's record."""
_ARGUMENTS = f"-m\0{_MODULE}"
"""The arguments by which the collector's command line is known, with zero bytes between them."""


def collect(directory: Path, nodes: Iterable[NatNode]) -> None:
    """Take samples on the second, until the directory is gone."""
    sampler, history = Sampler(nodes), History(directory)
    while directory.exists():
        begun_s = time.time()
        sample = sampler.take(call_in)
        with suppress(OSError):  # no room left, or the lab is going: the next sample has all that this one had
            history.add(sample)
        time.sleep(_rest_s(begun_s, time.time()))


def _rest_s(begun_s: float, now_s: float) -> float:
    """Until the next whole second, or a later one if samples would take more than their share of the time."""
    earliest_s = max(now_s, begun_s + (now_s - begun_s) / _SHARE_OF_TIME)
    return earliest_s // 1 + 1 - now_s


# ── Starting and ending it ──────────────────────────────────────────────────────────────────────────────────


def start_collecting(record: Record, plan: Plan) -> None:
    """Start the collector where none runs; it goes on when this process ends, and is not waited for."""
    from lab.kernel.netns import Namespaces
    from lab.kernel.processes import spawn

    home = plan.namespaces[0]
    arguments = [sys.executable, "-P", "-m", _MODULE, str(record.path), nodes_to_json(plan.nat_nodes), home]
    with Namespaces() as namespaces, Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        namespaces[home].run(spawn, arguments, record.logs / "collector.log", nowhere.fileno())


def stop_collecting(plan: Plan) -> None:
    """End the collector, if it runs."""
    from lab.kernel.processes import stop_all

    stop_all(plan.namespaces, _ARGUMENTS)


def resume(record: Record, plan: Plan, up_since_s: float, notice: Callable[[str], None]) -> None:
    """Start it anew if its process has ended, and tell since when samples are missing. The caller holds the lock."""
    from lab.kernel.processes import running

    if running(plan.namespaces, _ARGUMENTS):
        return
    last = time.localtime(max((sample.at_s for sample in read(record.path)), default=up_since_s))
    when = time.strftime("%H:%M:%S" if last[:3] == time.localtime()[:3] else "%Y-%m-%d %H:%M:%S", last)
    start_collecting(record, plan)
    notice(
        f"the process that takes lab {record.lab}'s samples had ended, and runs again; the last change that it noted "
        f"was at {when}, and what has come since then counts as of now"
    )


if __name__ == "__main__":
    os.chdir("/")
    give_up(*_NEEDED, user=0)
    collect(Path(sys.argv[1]), nodes_from_json(sys.argv[2]))

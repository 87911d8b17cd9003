"""The collector of a lab's samples: started when the lab is up, and anew when its NAT nodes change."""

from __future__ import annotations

import os
from pathlib import Path
import sys

from lab.kernel.netns import Namespaces
from lab.kernel.processes import running, spawn, stop_all
from lab.kernel.state import Record
from lab.plan.objects import Plan
from lab.slots.counters import nodes_to_json

__all__ = ["is_collecting", "start_collecting", "stop_collecting"]

_MODULE = "lab.observe.collector"
_ARGUMENTS = f"-m\0{_MODULE}"


def start_collecting(record: Record, plan: Plan) -> None:
    """Start the collector where none runs; it needs no more of this process, and nobody waits for it."""
    arguments = [sys.executable, "-P", "-m", _MODULE, str(record.path), nodes_to_json(plan.nat_nodes)]
    with Namespaces() as namespaces, Path(os.devnull).open("w") as nowhere:
        namespaces[plan.namespaces[0]].run(spawn, arguments, record.logs / "collector.log", nowhere.fileno())


def stop_collecting(plan: Plan) -> None:
    """End the collector, if it runs."""
    stop_all(plan.namespaces, _ARGUMENTS)


def is_collecting(plan: Plan) -> bool:
    """Whether it runs."""
    return bool(running(plan.namespaces, _ARGUMENTS))

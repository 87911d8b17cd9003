"""Forgetting all connections of a lab that is up: its limiters are as `lab up` made them, its counters go on.

Conntrack's entries are removed before the slots. A packet that comes in between is in the middle of a connection
without an entry, and takes no slot; in the other order it would take its slot again, and keep it without an entry.

By the counters, an active connection whose entry is gone has fallen idle (`lab.observe.sampling`). So the active
connections are counted before their entries are removed, in a counter of their own: IdleTimeoutCount stays as it is,
exactly if no other program opens or closes connections meanwhile.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle
import time
from typing import Any

from lab.errors import UsageError
from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces, NamespaceThread
from lab.kernel.nft import apply_text, flush_sets
from lab.kernel.processes import arguments_of, running, stop_all
from lab.kernel.state import Record
from lab.kernel.worker import Worker
from lab.observe.fills import read_with_fills
from lab.observe.readings import Reading
from lab.plan.objects import Plan, Ruleset
from lab.slots.counters import ACTIVE, FORGOTTEN
from lab.slots.nft import Table

__all__ = ["Forgotten", "forget_connections", "require_alone", "reset"]

_AT_A_TIME = 8
_CLOSED_WITHIN_S, _POLL_S = 2.0, 0.01


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a lab held when its connections were forgotten."""

    lab: str
    readings: tuple[Reading, ...]
    """Readings of the limiters that held connections."""

    @property
    def connections(self) -> int:
        """Each holds a slot at one node of each kind on its way, if that has not expired there."""
        by_kind = Counter[str]()
        for reading in self.readings:
            by_kind[reading.limiter.kind] += reading.in_use
        return max(by_kind.values(), default=0)

    def to_json(self) -> dict[str, Any]:
        """The document of `lab reset --json`."""
        return {
            "schema": 1,
            "lab": self.lab,
            "connections": self.connections,
            "limits": [reading.to_json() for reading in self.readings],
        }


def reset(record: Record, plan: Plan) -> Forgotten:
    """Forget all connections of a lab; returns what they were. UsageError while a burst runs in it."""
    with record.alone() as alone, Namespaces() as namespaces:
        require_alone(plan.lab, alone=alone)
        readings = read_with_fills(namespaces, plan.limiters, plan)
        forget_connections(namespaces, plan)
    return Forgotten(plan.lab, tuple(reading for reading in readings if reading.in_use))


def require_alone(lab: str, *, alone: bool) -> None:
    """UsageError where a burst holds the lab."""
    if not alone:
        raise UsageError(f"another burst is running in lab {lab}; wait for it, or use another lab")


def forget_connections(namespaces: Namespaces, plan: Plan) -> None:
    """Empty conntrack and every set of all NAT nodes: slots, refused connections, and which further ENIs appeared.

    Sockets that bursts left open are closed before: their next burst needs the same addresses and ports.
    """
    _close_left_open(namespaces, plan)
    tables = {(item.namespace, item.table.name): item.table for item in plan.objects if isinstance(item, Ruleset)}
    nodes = [(namespaces[node.namespace], tables[node.namespace, node.table]) for node in plan.nat_nodes]
    with ExitStack() as ending:
        workers = [ending.enter_context(Worker()) for _ in range(_AT_A_TIME)]
        for call in [worker.send(partial(_forget, *node)) for worker, node in zip(cycle(workers), nodes, strict=False)]:
            call.result()


def _close_left_open(namespaces: Namespaces, plan: Plan) -> None:
    """End the processes that hold them, and give both ends the time to close."""
    fleets, bursts = [fleet.namespace for fleet in plan.fleets], arguments_of("burst")
    if not running(fleets, bursts):
        return
    stop_all(fleets, bursts)
    nodes = [namespaces[node.namespace] for node in plan.nat_nodes]
    deadline = time.monotonic() + _CLOSED_WITHIN_S
    while any(inside.run(conntrack.marked, ACTIVE) for inside in nodes) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def _forget(inside: NamespaceThread, table: Table) -> None:
    if active := inside.run(conntrack.marked, ACTIVE):
        counters = inside.run(nftables.counters, table.name)
        named = f"counter ip {table.name} {FORGOTTEN}"
        replaced = f"delete {named}\n" if FORGOTTEN in counters else ""
        before = counters[FORGOTTEN].packets if FORGOTTEN in counters else 0
        apply_text(inside, f"{replaced}add {named} {{ packets {before + active} bytes 0 }}\n")
    inside.run(conntrack.flush)
    flush_sets(inside, table.name, tuple(table.sets))

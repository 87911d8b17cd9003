"""What a lab's kernel does while something goes on in it, whatever that is: what is held, refused, reset, dropped.

Limits of flows over UDP alone are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
import time
from typing import Any

from lab.burst.accounts import drops_between, limit_result
from lab.burst.endings import NodeEndings, node_endings
from lab.burst.result import LimitResult
from lab.impair.faults import Impairment
from lab.impair.ledger import dropped_between, dropped_so_far
from lab.kernel.losses import lost
from lab.kernel.netns import Namespaces
from lab.kernel.state import Record
from lab.kernel.worker import Worker
from lab.observe.drops import dropped_packets
from lab.observe.fills import half_open_tuples, read_with_fills
from lab.observe.limiters import read
from lab.observe.readings import Reading
from lab.observe.samples import Sample
from lab.observe.sampling import Sampler
from lab.observe.seldom import Seldom
from lab.plan.objects import Plan
from lab.schema.drops import DropCount

__all__ = ["Observing", "Seen"]

_EVERY_S, _SHARE = 0.2, 0.05
"""How often limits are read, and which share of the time that may take: before Linux 6.16 sets are walked."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel of a lab did from one moment to another; connections of others in the lab are included."""

    seconds: float
    limits: tuple[LimitResult, ...]
    """`peak` is the most that was seen."""
    stops: tuple[DropCount, ...]
    """What was dropped whatever the limits."""
    impairments: tuple[Impairment, ...]
    """Faults of `lab impair` that dropped packets, each with how many."""
    endings: tuple[NodeEndings, ...]
    """NAT nodes that reset connections, or whose idle timeout ended some."""
    lost: tuple[str, ...]
    """What of the lab is gone, down or stopped by now."""

    @property
    def refused_connections(self) -> int:
        """Connections that limits refused."""
        return sum(limit.dropped_connections for limit in self.limits)

    @property
    def reset(self) -> int:
        """Connections that NAT nodes reset because they had no entry for them any more."""
        return sum(node.reset for node in self.endings)

    def to_json(self) -> dict[str, Any]:
        """The document's part about the kernel."""
        return asdict(self)


class Observing:
    """Looks at a lab from its making on."""

    def __init__(
        self,
        namespaces: Namespaces,
        plan: Plan,
        record: Record,
        sampled: Callable[[Sample], None] | None = None,
    ) -> None:
        self._namespaces, self._plan, self._record, self._sampled = namespaces, plan, record, sampled
        self._limiters = tuple(each for each in plan.limiters if each.protocol != "udp")
        self._sampler = Sampler(plan.nat_nodes)
        self._look = Seldom(self._note, _EVERY_S, time.monotonic, _SHARE)
        self._earlier = half_open_tuples(namespaces, self._limiters)
        self._before = self._read()
        self._fullest = list(self._before)
        self._began_s = time.monotonic()
        self._sample_before = self._whole_sample()
        self._dropped = dropped_packets(namespaces, plan.barriers)
        self._faults = dropped_so_far(namespaces, plan, record.path)

    def look(self) -> None:
        """Note what limits hold now, unless that was done a moment ago."""
        self._look()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look again and again while the block runs, in a thread beside it."""
        ends: SimpleQueue[None] = SimpleQueue()

        def watch() -> None:
            while True:
                self.look()
                with suppress(Empty):
                    return ends.get(timeout=_EVERY_S)

        with Worker() as watcher:
            watched = watcher.send(watch)
            try:
                yield
            finally:
                ends.put(None)
            watched.result()

    def seen(self) -> Seen:
        """What has been seen until now."""
        self._note()
        took_s = time.monotonic() - self._began_s
        now = [reading.since(before) for reading, before in zip(self._read(), self._before, strict=True)]
        after = self._whole_sample()
        return Seen(
            seconds=round(took_s, 3),
            limits=tuple(
                limit_result(reading.with_peak(fullest), before, took_s)
                for reading, fullest, before in zip(now, self._fullest, self._before, strict=True)
                if reading.appeared
            ),
            stops=tuple(drops_between((), self._dropped, dropped_packets(self._namespaces, self._plan.barriers))),
            impairments=dropped_between(self._faults, dropped_so_far(self._namespaces, self._plan, self._record.path)),
            endings=tuple(node_endings(self._plan.nat_nodes, self._sample_before, after)),
            lost=tuple(lost(self._plan)),
        )

    def _read(self) -> tuple[Reading, ...]:
        return read_with_fills(self._namespaces, self._limiters, self._plan, self._earlier)

    def _note(self) -> None:
        now = read(self._namespaces, self._limiters)
        self._fullest = [reading.with_peak(most) for reading, most in zip(now, self._fullest, strict=True)]
        if self._sampled is not None:
            self._sampled(self._sampler.take(self._namespaces.call))

    def _whole_sample(self) -> Sample:
        """With lists of connections read now, as a sampler that goes on seldom does: so idle timeouts are counted."""
        sample = Sampler(self._plan.nat_nodes).take(self._namespaces.call)
        if self._sampled is not None:
            self._sampled(sample)
        return sample

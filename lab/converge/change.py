"""The change that leads a lab that is up to what its topology file has now: computed once, then printed or applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from ipaddress import IPv4Address
from os import PathLike
import time
from typing import Self

from lab.converge.diff import Difference, difference, drained_by
from lab.converge.disruption import Breakage, Held, breakages, cut_off, newly_limited, sets_to_rebuild
from lab.errors import ExpectationError
from lab.kernel.netns import Namespaces
from lab.kernel.state import Record, State
from lab.nodes.build import build
from lab.nodes.registry import kind_of
from lab.observe.limiters import held_destinations, held_sources, read
from lab.plan.objects import Plan
from lab.topology import Topology, loaded, scaled, text_of

__all__ = ["Convergence", "Wanted", "convergence", "kept_scale"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topology file asks for, and its text: the file is read once, so what is recorded is what was loaded."""

    topology: Topology
    text: str
    plan: Plan
    """The plan for a lab that is not up; for one that is up `convergence` makes another, which keeps its numbers."""
    scale: int = 1
    """What the file's limits were divided by."""
    without_effect: tuple[str, ...] = ()
    """What in the file has no effect, a line each."""

    @classmethod
    def read(cls, path: str | PathLike[str], name: str | None, scale: int | None, state: State) -> Self:
        """Read the file; its limits are divided by `scale`, or by what those of the lab are divided by if it is up.

        TopologyError lists all its faults.
        """
        text = text_of(path)
        found = loaded(text, str(path))
        if scale is None:
            scale = kept_scale(state, name or found.topology.name)
        topology = scaled(found.topology, scale)
        return cls(topology, text, build(topology, name), scale, found.without_effect)


def kept_scale(state: State, lab: str) -> int:
    """What the limits of a lab that is up are divided by; 1 where none is up."""
    record = state.record(lab)
    return record.scale() if record is not None and record.phase() == "up" else 1


@dataclass(frozen=True, slots=True)
class Convergence:
    """What `up` changes, or would change, of a lab that is up; false where there is nothing to change."""

    old: Plan
    new: Plan
    difference: Difference
    broken: tuple[Breakage, ...]
    """Connections that are held and that it breaks: it is applied only where it may be disruptive."""
    rebuilt: Mapping[str, frozenset[str]]
    """Namespace → slot sets that are made anew, and forget their connections."""

    def __bool__(self) -> bool:
        return self.new != self.old

    def require_harmless(self) -> None:
        """ExpectationError that lists what it would break, if that is anything."""
        if self.broken:
            lines = "".join(f"\n  {breakage}" for breakage in self.broken)
            raise ExpectationError(
                f"lab {self.old.lab} stays as it is, for the change would break connections that are held:{lines}\n"
                f"to do it anyway: lab up … --disruptive"
            )


def convergence(record: Record, wanted: Wanted) -> Convergence:
    """The change from the plan of a record to what is wanted, by what the lab's limiters hold now. Changes nothing.

    What is held decides what the new plan is, too: an Elastic IP that is removed drains while it has connections.
    """
    old, now_s = record.plan(), time.time()
    with Namespaces() as namespaces:
        readings = read(namespaces, old.limiters)
        used = [reading.limiter for reading in readings if reading.in_use]
        enis = [limiter for limiter in used if kind_of(limiter.kind).sees_environments]

        @cache
        def sources() -> tuple[IPv4Address, ...]:
            return tuple(address for address, _ in held_sources(namespaces, enis))

        @cache
        def destinations() -> tuple[IPv4Address, ...]:
            return held_destinations(namespaces, [limiter for limiter in enis if limiter.destination is None])

        held = Held(old, readings, sources, now_s, destinations)
        new = build(wanted.topology, old.lab, drained_by(old, wanted.topology, held.by, now_s))
        steps = difference(old, new)
        held = replace(held, readings=(*readings, *read(namespaces, newly_limited(old, new))))
        broken = (*breakages(new, steps, held), *cut_off(record.topology(), wanted.topology, held))
        return Convergence(old, new, steps, broken, sets_to_rebuild(new, held))

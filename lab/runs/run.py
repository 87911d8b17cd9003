"""One run: a burst, what it met, what the kernel counted meanwhile, and where. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.observe.samples import Sample
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter
from lab.topology import Topology

__all__ = ["Environment", "Run"]


@dataclass(frozen=True, slots=True)
class Environment:
    """The machine and the versions that a run was made with."""

    lab: str
    """The lab's own version."""
    kernel: str
    distribution: str
    processor: str
    processors: int
    memory_bytes: int
    python: str
    nft: str
    packages: dict[str, str]
    """Python package → version."""


@dataclass(frozen=True, slots=True)
class Run:
    """One burst and all that is needed to explain it, to compare it and to make it again."""

    id: str
    """Its directory's name: when it began and in which lab, `20261122-094103-two-subnets`."""
    began_s: float
    """When the burst began, in Unix time."""
    commands: tuple[str, ...]
    """What makes it again: `sudo lab up …`, `sudo lab burst …`."""
    topology_text: str
    """The topology file as it was written."""
    topology: Topology
    """The topology as applied, its limits scaled."""
    load: Load
    result: BurstResult
    nodes: tuple[NatNode, ...]
    """The nodes that samples were taken of."""
    limiters: tuple[Limiter, ...]
    """All limits of the lab."""
    samples: tuple[Sample, ...]
    """What NAT nodes counted from just before the burst until its connections were closed, several each second."""
    environment: Environment

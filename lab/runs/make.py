"""A run out of what a burst leaves in memory."""

from __future__ import annotations

from collections.abc import Iterable
import time

from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.observe.samples import Sample
from lab.plan.objects import Plan
from lab.runs.commands import commands
from lab.runs.environment import read_environment
from lab.runs.run import Run
from lab.topology import Topology

__all__ = ["new_run"]


def new_run(
    *,
    began_s: float,
    plan: Plan,
    topology_text: str,
    topology: Topology,
    load: Load,
    result: BurstResult,
    samples: Iterable[Sample],
) -> Run:
    """The run of a burst that began at `began_s` (Unix time) on this machine, in a lab with this plan."""
    return Run(
        id=f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began_s))}-{plan.lab}",
        began_s=began_s,
        commands=commands(plan.lab, topology_text, topology, load),
        topology_text=topology_text,
        topology=topology,
        load=load,
        result=result,
        nodes=plan.nat_nodes,
        limiters=plan.limiters,
        samples=tuple(samples),
        environment=read_environment(),
    )

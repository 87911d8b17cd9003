"""Samples on demand, from any thread, of a lab that `lab up` may change and `lab down` may remove meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lab.errors import KernelError
from lab.kernel.netns import call_in
from lab.metrics.exposition import Observation
from lab.observe.sampling import Sampler
from lab.plan.objects import Plan

__all__ = ["observer"]


class _Lab(Protocol):
    @property
    def plan(self) -> Plan:
        """The plan that is applied now; `lab up` may replace it."""

    @property
    def gone(self) -> bool:
        """Whether it has been taken down."""


def observer(lab: _Lab) -> Callable[[], Observation | None]:
    """A function that takes a sample, from whichever thread; it returns None when the lab is gone, or being taken down.

    The sampler is kept, for a new one reads the whole list of conntrack entries; namespaces are not, for they would
    outlive their lab.
    """
    nodes = lab.plan.nat_nodes
    sampler = Sampler(nodes)

    def observe() -> Observation | None:
        nonlocal nodes, sampler
        try:
            plan = lab.plan
            if plan.nat_nodes != nodes:
                nodes, sampler = plan.nat_nodes, Sampler(plan.nat_nodes)
            sample = sampler.take(call_in)
        except (OSError, KernelError):  # it is being taken down
            return None
        return None if lab.gone else Observation(plan.lab, plan.nat_nodes, plan.limiters, sample)

    return observe

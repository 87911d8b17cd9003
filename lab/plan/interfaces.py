"""The interfaces of a node: its ends of the lab's links."""

from __future__ import annotations

from lab.errors import UsageError
from lab.plan.objects import NodePlan, Plan, VethPair

__all__ = ["interfaces_of"]


def interfaces_of(plan: Plan, node: NodePlan, interface: str | None = None) -> tuple[str, ...]:
    """All of them, or the one of that name; UsageError lists the known ones."""
    ends = (end for pair in plan.objects if isinstance(pair, VethPair) for end in (pair.a, pair.b))
    known = tuple(end.interface for end in ends if end.namespace == node.namespace)
    if interface is None:
        return known
    if interface not in known:
        raise UsageError(f"no interface {interface!r} in node {node.name}; known: {', '.join(known)}")
    return (interface,)

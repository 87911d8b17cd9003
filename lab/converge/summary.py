"""What has become of a lab between two plans, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from lab.converge.diff import Difference, elastic_ips
from lab.nodes.diagnosis import connections
from lab.nodes.registry import kind_of
from lab.plan.describe import describe_object
from lab.plan.objects import ConntrackMax, NodePlan, Plan, Process, Ruleset, Sysctl
from lab.slots.limiter import Limiter

if TYPE_CHECKING:
    from lab.converge.change import Convergence

__all__ = ["nodes_added", "nodes_removed", "summary", "to_json"]

_IN_FULL = 6


def nodes_added(old: Plan, new: Plan) -> tuple[NodePlan, ...]:
    """Nodes that the new plan has and the old one has not."""
    return _without(new.nodes, old.nodes)


def nodes_removed(old: Plan, new: Plan) -> tuple[NodePlan, ...]:
    """Nodes that the old plan has and the new one has not."""
    return _without(old.nodes, new.nodes)


def _without(nodes: tuple[NodePlan, ...], others: tuple[NodePlan, ...]) -> tuple[NodePlan, ...]:
    names = {node.name for node in others}
    return tuple(node for node in nodes if node.name not in names)


def summary(old: Plan, new: Plan, change_set: Difference, clock: Callable[[int], str]) -> tuple[str, ...]:
    """Lines with `+` for what is new, `-` for what is gone, `~` for what is different; `clock` writes a Unix time."""
    kept = {node.name for node in new.nodes} & {node.name for node in old.nodes}
    lines = [f"+ {_called(node)}" for node in nodes_added(old, new)]
    lines += [f"- {_called(node)}" for node in nodes_removed(old, new)]
    told = {node: tuple(_of_node(node, old, new, clock)) for node in sorted(kept)}
    for node in (kept_node for kept_node in new.nodes if kept_node.name in kept):
        lines += told[node.name] or _other_changes(node, change_set, alone=not lines)
    return tuple(lines or _in_full(change_set))


def to_json(plan: Plan, change: Convergence | None, clock: Callable[[int], str], *, changed: bool) -> dict[str, Any]:
    """The document of `lab up --json`: the lab as it is now, and what was changed if it was up before."""
    return {
        "lab": plan.lab,
        "changed": changed,
        "namespaces": list(plan.namespaces),
        "converged": change is not None,
        "added": [] if change is None else [node.name for node in nodes_added(change.old, change.new)],
        "removed": [] if change is None else [node.name for node in nodes_removed(change.old, change.new)],
        "changes": [] if change is None else list(summary(change.old, change.new, change.difference, clock)),
        "broken": [] if change is None else [breakage._asdict() for breakage in change.broken],
    }


def _in_full(change_set: Difference) -> list[str]:
    """The kernel objects of a difference that changes no node: a route, a setting."""
    signed = (("+", change_set.added), ("-", change_set.removed), ("~", [change.new for change in change_set.changed]))
    told = ((sign, item) for sign, items in signed for item in items if not isinstance(item, ConntrackMax))
    lines = [f"{sign} {describe_object(item).partition(chr(10))[0]}" for sign, item in told]
    more = len(lines) - _IN_FULL
    return lines if more <= 0 else [*lines[:_IN_FULL], f"… and {more} more"]


def _called(node: NodePlan) -> str:
    addresses = f" ({', '.join(node.addresses)})" if node.addresses else ""
    return f"{kind_of(node.kind).words} {node.name}{addresses}"


def _of_node(node: str, old: Plan, new: Plan, clock: Callable[[int], str]) -> Iterator[str]:
    was, now = (next(known for known in plan.nodes if known.name == node).addresses for plan in (old, new))
    if was[:1] != now[:1]:
        yield f"~ {node}: {was[0]} → {now[0]}"
    yield from _elastic_ips(node, old, new, clock)
    reserved, reserves = (_reserved_concurrency(node, plan) for plan in (old, new))
    if reserved != reserves:
        yield f"~ {node}: reserved concurrency {reserved} → {reserves}"
    had, has = (_descriptors(node, plan) for plan in (old, new))
    if had != has:
        yield f"~ {node}: descriptors {had} → {has}"
    before, after = _limits(node, old.limiters), _limits(node, new.limiters)
    for what in dict.fromkeys((*after, *before)):
        if what not in before:
            yield f"~ {node}: no limit → {connections(after[what])}{what}"
        elif what not in after:
            yield f"~ {node}: {connections(before[what])}{what} → no limit"
        elif before[what] != after[what]:
            yield f"~ {node}: {before[what]:,} → {connections(after[what])}{what}"
    was_full, is_full = (
        {limiter.when_full for limiter in plan.limiters if limiter.node == node} for plan in (old, new)
    )
    if was_full and is_full and was_full != is_full:
        yield f"~ {node}: when full, {was_full.pop()} → {is_full.pop()}"


def _reserved_concurrency(node: str, plan: Plan) -> str:
    namespaces = {known.namespace for known in plan.nodes if known.name == node}
    most = (fleet.reserved_concurrency for fleet in plan.fleets if fleet.namespace in namespaces)
    return next((f"{number:,}" for number in most if number is not None), "none")


def _descriptors(node: str, plan: Plan) -> str:
    namespaces = {known.namespace for known in plan.nodes if known.name == node}
    limits = (fleet.descriptors for fleet in plan.fleets if fleet.namespace in namespaces)
    return next((f"{each.limit:,}" for each in limits if each), "without limit")


def _limits(node: str, limiters: Iterable[Limiter]) -> dict[str, int]:
    """What a limit is for → the limit; all Elastic IPs of a NAT gateway have one, or all its clients."""
    of_node = (limiter for limiter in limiters if limiter.node == node and not limiter.drains)
    return {_what_for(limiter): limiter.limit for limiter in of_node}


def _what_for(limiter: Limiter) -> str:
    if limiter.client:
        return " per client and destination"
    return " per Elastic IP and destination" if limiter.eip else ""


def _elastic_ips(node: str, old: Plan, new: Plan, clock: Callable[[int], str]) -> Iterator[str]:
    before, after = _drains(node, old), _drains(node, new)
    numbers = elastic_ips(new)
    for address in dict.fromkeys((*after, *before)):
        was, now = before.get(address), after.get(address)
        of = f"Elastic IP {address} of {node}"
        if was is None and now is not None:
            yield f"+ {of}"
        elif now is None:
            yield f"- {of}" + (", drained" if was else "")
        elif now and not was:
            gateway, number = numbers[IPv4Address(address)]
            ends = clock(new.standing.draining[gateway][number])
            yield f"- {of}: takes no new connections; those that it has are cut at {ends}"
        elif was and not now:
            yield f"+ {of}: takes new connections again"


def _drains(node: str, plan: Plan) -> dict[str, bool]:
    """Elastic IP of a node → whether it drains."""
    return {limiter.eip: limiter.drains for limiter in plan.limiters if limiter.node == node and limiter.eip}


def _other_changes(node: NodePlan, change_set: Difference, *, alone: bool) -> list[str]:
    """Timeouts and processes; rules only where no other line of the node explains them."""
    if kind_of(node.kind).follows_others:
        return []
    changed = [change.new for change in change_set.changed if isinstance(change.new, Sysctl | Process | Ruleset)]
    mine = [item for item in changed if item.namespace == node.namespace]
    words = []
    if any(isinstance(item, Sysctl) and "timeout" in item.key for item in mine):
        words.append("timeouts")
    elif alone and any(isinstance(item, Ruleset) for item in mine):
        words.append("rules")
    if verbs := {item.verb for item in mine if isinstance(item, Process)}:
        words.append("restarted, DNS paused for a moment" if "resolver" in verbs else "restarted")
    return [f"~ {node.name}: {', '.join(words)}"] if words else []

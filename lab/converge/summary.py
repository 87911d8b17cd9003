"""What has become of a lab between two plans, in a few lines for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from lab.converge.diff import Difference, elastic_ips
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
    names = {each.name for each in others}
    return tuple(each for each in nodes if each.name not in names)


def summary(old: Plan, new: Plan, found: Difference, clock: Callable[[int], str]) -> tuple[str, ...]:
    """Lines with `+` for what is new, `-` for what is gone, `~` for what is different; `clock` writes a Unix time."""
    kept = {each.name for each in new.nodes} & {each.name for each in old.nodes}
    lines = [f"+ {_called(each)}" for each in nodes_added(old, new)]
    lines += [f"- {_called(each)}" for each in nodes_removed(old, new)]
    told = {node: tuple(_of_node(node, old, new, clock)) for node in sorted(kept)}
    for node in (each for each in new.nodes if each.name in kept):
        lines += told[node.name] or _other_changes(node, found, alone=not lines)
    return tuple(lines or _in_full(found))


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


def _in_full(found: Difference) -> list[str]:
    """The objects themselves, for a change that shows in no node: a route, a setting."""
    signed = (("+", found.added), ("-", found.removed), ("~", [each.new for each in found.changed]))
    told = ((sign, item) for sign, items in signed for item in items if not isinstance(item, ConntrackMax))
    lines = [f"{sign} {describe_object(item).partition(chr(10))[0]}" for sign, item in told]
    more = len(lines) - _IN_FULL
    return lines if more <= 0 else [*lines[:_IN_FULL], f"… and {more} more"]


def _called(node: NodePlan) -> str:
    addresses = f" ({', '.join(node.addresses)})" if node.addresses else ""
    return f"{kind_of(node.kind).words} {node.name}{addresses}"


def _of_node(node: str, old: Plan, new: Plan, clock: Callable[[int], str]) -> Iterator[str]:
    was, now = (next(each for each in plan.nodes if each.name == node).addresses for plan in (old, new))
    if was[:1] != now[:1]:
        yield f"~ {node}: {was[0]} → {now[0]}"
    yield from _elastic_ips(node, old, new, clock)
    before, after = _limits(node, old.limiters), _limits(node, new.limiters)
    for what in dict.fromkeys((*after, *before)):
        if what not in before:
            yield f"~ {node}: no limit → {after[what]:,} connections{what}"
        elif what not in after:
            yield f"~ {node}: {before[what]:,} connections{what} → no limit"
        elif before[what] != after[what]:
            yield f"~ {node}: {before[what]:,} → {after[what]:,} connections{what}"


def _limits(node: str, limiters: Iterable[Limiter]) -> dict[str, int]:
    """What a limit is for → the limit; all Elastic IPs of a NAT gateway have one."""
    found = (each for each in limiters if each.node == node and not each.drains)
    return {" per Elastic IP and destination" if each.eip else "": each.limit for each in found}


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
    return {each.eip: each.drains for each in plan.limiters if each.node == node and each.eip}


def _other_changes(node: NodePlan, found: Difference, *, alone: bool) -> list[str]:
    """Timeouts and processes; rules only where nothing else has been told that they follow from."""
    if kind_of(node.kind).follows_others:
        return []
    changed = [each.new for each in found.changed if isinstance(each.new, Sysctl | Process | Ruleset)]
    mine = [each for each in changed if each.namespace == node.namespace]
    words = []
    if any(isinstance(each, Sysctl) and "timeout" in each.key for each in mine):
        words.append("timeouts")
    elif alone and any(isinstance(each, Ruleset) for each in mine):
        words.append("rules")
    if verbs := {each.verb for each in mine if isinstance(each, Process)}:
        words.append("restarted, DNS paused for a moment" if "resolver" in verbs else "restarted")
    return [f"~ {node.name}: {', '.join(words)}"] if words else []

"""A plan as text: what `lab up --dry-run` prints, and what the golden tests compare."""

from __future__ import annotations

from collections.abc import Iterator
from functools import singledispatch
from itertools import groupby

from lab.plan.objects import (
    Address,
    Bridge,
    BridgePort,
    Certificate,
    ConntrackMax,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    Plan,
    Process,
    Route,
    Rule,
    Ruleset,
    Sysctl,
    VethPair,
)

__all__ = ["describe", "describe_object"]


def describe(plan: Plan) -> str:
    """The whole plan, one line per object, in the order of making; rulesets in full."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"# plan of lab {plan.lab}: {len(plan.namespaces)} namespaces, {len(plan.objects)} objects"
    for _, group in groupby(plan.objects, key=type):
        yield ""
        yield from (describe_object(item) for item in group)


@singledispatch
def describe_object(item: KernelObject) -> str:
    """One object, in the words of the command that would make it."""
    raise NotImplementedError(type(item).__name__)


@describe_object.register
def _(item: ConntrackMax) -> str:
    return f"host-wide: net.netfilter.nf_conntrack_max at least {item.entries}, restored by the last down"


@describe_object.register
def _(item: Namespace) -> str:
    return f"namespace {item.name}"


@describe_object.register
def _(item: Sysctl) -> str:
    return f"{item.namespace}: sysctl {item.key}={item.value}{' (if there)' if item.optional else ''}"


@describe_object.register
def _(item: VethPair) -> str:
    a, b = item.a, item.b
    return f"veth {a.namespace}/{a.interface} {a.mac} - {b.namespace}/{b.interface} {b.mac}"


@describe_object.register
def _(item: Bridge) -> str:
    return f"{item.namespace}: bridge {item.interface}"


@describe_object.register
def _(item: BridgePort) -> str:
    return f"{item.namespace}: port {item.interface} of bridge {item.bridge}, behind it {item.mac}"


@describe_object.register
def _(item: Address) -> str:
    return f"{item.namespace}: address {item.address} dev {item.interface}"


@describe_object.register
def _(item: Neighbour) -> str:
    return f"{item.namespace}: neighbour {item.address} lladdr {item.mac} dev {item.interface}"


@describe_object.register
def _(item: Route) -> str:
    words = [f"{item.namespace}: route"]
    if item.type != "unicast":
        words.append(item.type)
    words.append("default" if item.destination.prefixlen == 0 else str(item.destination))
    for word, value in (("via", item.via), ("dev", item.interface), ("table", item.table)):
        if value is not None:
            words.append(f"{word} {value}")
    return " ".join(words)


@describe_object.register
def _(item: Rule) -> str:
    matches = (
        ("from", item.source),
        ("to", item.destination),
        ("iif", item.input_interface),
        ("ipproto", item.protocol),
        ("dport", item.destination_port),
    )
    words = [f"{word} {value}" for word, value in matches if value is not None]
    return f"{item.namespace}: rule {item.priority}: {' '.join(words)} lookup {item.table}"


@describe_object.register
def _(item: Ruleset) -> str:
    indented = "\n".join(f"    {line}" for line in item.text.splitlines())
    return f"{item.namespace}: ruleset\n{indented}"


@describe_object.register
def _(item: File) -> str:
    lines = item.text.count("\n")
    return f"file {item.path}, {lines} line{'' if lines == 1 else 's'}"


@describe_object.register
def _(item: Certificate) -> str:
    return f"certificate {item.path} for {', '.join((item.hostname, *map(str, item.addresses)))}"


@describe_object.register
def _(item: Process) -> str:
    return f"{item.namespace}: process python -m traffic {item.verb} '{item.spec}'"

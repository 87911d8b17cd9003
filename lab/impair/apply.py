"""Faults on the way, live: a queueing discipline for what an interface sends, an nftables table for what arrives at it.

Both are in the node's namespace, go with it, and are the only record of what is set: a root qdisc with one of two
handles, and a table with the interface's name, are what this module made. What others have set is left alone.

Silence is a drop at netdev ingress, because nothing behind that hook misses it: a bridge takes its frames there (its
rx_handler), the IP layer after it, and so does an AF_PACKET socket bound to IPv4 alone, as the packet engine's rings
are (net/core/dev.c, __netif_receive_skb_core). A tap on all protocols is before it: tcpdump shows what is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from lab.errors import KernelError, UsageError
from lab.impair.faults import Faults, Impairment
from lab.impair.qdisc import dropped_by, faults_of, tc, words_for
from lab.kernel.invoker import runnable
from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces, NamespaceThread, refusals
from lab.kernel.nft import apply_text
from lab.plan.interfaces import interfaces_of
from lab.plan.objects import NodePlan, Plan

if TYPE_CHECKING:
    from pyroute2 import IPRoute

__all__ = ["clear", "forget", "impair", "read"]

_HANDLES = (0x1AB0, 0x1AB1)
"""Majors of our root qdiscs. They take turns: a new one replaces the old in one step, its counters and parameters
fresh, and when the kernel refuses it the old one stays (net/sched/sch_api.c, tc_modify_qdisc)."""
_ROOT = 0xFFFFFFFF  # TC_H_ROOT, linux/pkt_sched.h
_COUNTER = "dropped"


def impair(
    namespaces: Namespaces, plan: Plan, node: NodePlan, interface: str | None, faults: Faults
) -> tuple[Impairment, ...]:
    """Set just this on one interface of a node or on all; what was set there before is replaced.

    PreflightError says what the kernel lacks, and nothing has changed.
    """
    chosen = interfaces_of(plan, node, interface)
    if not faults:
        raise UsageError(f"nothing to set on {node.name}; give a rate, a loss, a latency or silence")
    if words_for(faults):
        _require_vacant(namespaces, node, chosen)
    try:
        _set(namespaces, node.namespace, chosen, faults)
    except KernelError:
        with suppress(KernelError):
            _set(namespaces, node.namespace, chosen, Faults())
        raise
    return tuple(set_now for set_now in read(namespaces, plan, [node]) if set_now.interface in chosen)


def clear(
    namespaces: Namespaces, plan: Plan, nodes: Iterable[NodePlan], interface: str | None = None
) -> tuple[Impairment, ...]:
    """Take back what was set on these nodes; what that was."""
    cleared: list[Impairment] = []
    for node in nodes:
        chosen = interfaces_of(plan, node, interface)
        impaired = [item for item in read(namespaces, plan, [node]) if item.interface in chosen]
        _set(namespaces, node.namespace, [item.interface for item in impaired], Faults())
        cleared += impaired
    return tuple(cleared)


def forget(namespaces: Namespaces, namespace: str, interface: str) -> None:
    """Take back what is set on an interface that is about to go: its table would outlive it."""
    _set(namespaces, namespace, [interface], Faults())


def read(namespaces: Namespaces, plan: Plan, nodes: Iterable[NodePlan]) -> tuple[Impairment, ...]:
    """What is set on these nodes, as the kernel has it now."""
    return tuple(item for node in nodes for item in _read(namespaces, node, interfaces_of(plan, node)))


def _read(namespaces: Namespaces, node: NodePlan, interfaces: Sequence[str]) -> Iterator[Impairment]:
    with _refusal(node.namespace):
        inside = namespaces[node.namespace]
        roots, silent = _roots(inside, interfaces), _silent(inside, interfaces)
    for interface in interfaces:
        root = roots.get(interface)
        ours = root if root is not None and _major(root) in _HANDLES else None
        if ours is not None or interface in silent:
            faults = Faults() if ours is None else faults_of(ours)
            dropped = (0 if ours is None else dropped_by(ours)) + silent.get(interface, 0)
            yield Impairment(node.name, interface, replace(faults, silence=interface in silent), dropped)


def _set(namespaces: Namespaces, namespace: str, interfaces: Sequence[str], faults: Faults) -> None:
    """Make it so, whatever was set: no faults at all is a way to clear."""
    with _refusal(namespace):
        inside = namespaces[namespace]
        roots, silent = _roots(inside, interfaces), _silent(inside, interfaces)
        if commands := "".join(_command(name, roots.get(name), words_for(faults)) for name in interfaces):
            inside.run(tc, commands, words_for(faults).partition(" ")[0])
        if tables := "".join(_table(name, faults) for name in interfaces if faults.silence or name in silent):
            apply_text(inside, tables)


@contextmanager
def _refusal(namespace: str) -> Iterator[None]:
    try:
        yield
    except refusals() as refused:
        raise KernelError(f"the kernel refused a step: links of {namespace}: {refused}") from refused


# ── What is sent: the root qdisc ────────────────────────────────────────────────────────────────────────────


def _roots(inside: NamespaceThread, interfaces: Iterable[str]) -> dict[str, Any]:
    """Interface → its root qdisc's message, where one was set: the kernel's own default has no handle."""
    return inside.ip(lambda ip: _roots_here(ip, interfaces))


def _roots_here(ip: IPRoute, interfaces: Iterable[str]) -> dict[str, Any]:
    by_index = {qdisc["index"]: qdisc for qdisc in ip.get_qdiscs() if qdisc["parent"] == _ROOT and qdisc["handle"]}
    indices = {name: _index(name) for name in interfaces}
    return {name: by_index[index] for name, index in indices.items() if index in by_index}


def _index(interface: str) -> int:
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        raise OSError(errno.ENODEV, f"{os.strerror(errno.ENODEV)}: {interface}") from None


def _major(root: Mapping[str, int]) -> int:
    return root["handle"] >> 16


def _require_vacant(namespaces: Namespaces, node: NodePlan, interfaces: Sequence[str]) -> None:
    """Refuse where another program has set a qdisc: it would be lost."""
    with _refusal(node.namespace):
        roots = _roots(namespaces[node.namespace], interfaces)
    for interface, root in roots.items():
        if _major(root) not in _HANDLES:
            kind = root.get_attr("TCA_KIND")
            raise KernelError(
                f"interface {interface} of {node.name} has a qdisc that lab impair has not set ({kind} "
                f"{_major(root):x}:); if it is not needed, remove it: "
                + runnable(f"lab exec {node.name} -- tc qdisc del dev {interface} root")
            )


def _command(interface: str, root: Mapping[str, int] | None, qdisc: str) -> str:
    """The line for `tc -batch` that takes this interface from what it has to what it should have."""
    major = 0 if root is None else _major(root)
    if qdisc:
        other = next(handle for handle in _HANDLES if handle != major)
        return f"qdisc replace dev {interface} root handle {other:x}: {qdisc}\n"
    return f"qdisc del dev {interface} root handle {major:x}:\n" if major in _HANDLES else ""


# ── What arrives: a table at netdev ingress ─────────────────────────────────────────────────────────────────


def _table_name(interface: str) -> str:
    return f"lab_impair-{interface}"


def _table(interface: str, faults: Faults) -> str:
    """Replaces the interface's table, or takes it away; adding first makes deleting one that is not there allowed."""
    name = _table_name(interface)
    without = f"add table netdev {name}\ndelete table netdev {name}\n"
    return without + _SILENCE.format(table=name, interface=interface, counter=_COUNTER) if faults.silence else without


_SILENCE = """\
table netdev {table} {{
    counter {counter} {{ }}
    chain arriving {{
        type filter hook ingress device "{interface}" priority -500; policy accept;
        counter name "{counter}" drop
    }}
}}
"""


def _silent(inside: NamespaceThread, interfaces: Iterable[str]) -> dict[str, int]:
    """Interface → packets dropped, of those that are silent."""
    return inside.run(_silent_here, tuple(interfaces))


def _silent_here(interfaces: Iterable[str]) -> dict[str, int]:
    counted = {name: nftables.counters(_table_name(name), nftables.NETDEV) for name in interfaces}
    return {name: counters[_COUNTER].packets for name, counters in counted.items() if counters}

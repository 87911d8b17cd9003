"""What a trace reads from the kernel, node by node; tests give another `View`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.impair.faults import Impairment
from lab.kernel.netfilter import nftables
from lab.kernel.netfilter.conntrack import Endpoint, Entry, Flow, entries_from, entries_to, key_of
from lab.kernel.netns import Namespaces
from lab.kernel.sockets import Socket, sockets
from lab.plan.objects import DropCounter
from lab.slots.counters import REFUSED, NatNode
from lab.slots.ruleset import REFUSED_TIMEOUT_S

__all__ = ["KernelView", "Surroundings", "View"]

_MS_PER_S = 1000


class View(Protocol):
    """What the nodes know of single connections."""

    def entries_from(self, namespace: str, protocol: int, source: Endpoint) -> Sequence[Entry]:
        """Conntrack entries by the source of the original direction."""

    def entries_to(self, namespace: str, protocol: int, translated: Endpoint) -> Sequence[Entry]:
        """Conntrack entries by the source that translation gave."""

    def refused_ago_s(self, node: NatNode, flow: Flow) -> float | None:
        """When a node refused this tuple first; None if it has not, or has forgotten."""

    def sockets(self, namespace: str) -> Sequence[Socket]:
        """The TCP sockets of a namespace."""


class KernelView:
    """A `View` that reads the kernel, inside each node's namespace."""

    def __init__(self, namespaces: Namespaces) -> None:
        self._namespaces = namespaces

    def entries_from(self, namespace: str, protocol: int, source: Endpoint) -> Sequence[Entry]:
        """Conntrack entries by the source of the original direction."""
        return self._namespaces[namespace].run(entries_from, protocol, source)

    def entries_to(self, namespace: str, protocol: int, translated: Endpoint) -> Sequence[Entry]:
        """Conntrack entries by the source that translation gave."""
        return self._namespaces[namespace].run(entries_to, protocol, translated)

    def refused_ago_s(self, node: NatNode, flow: Flow) -> float | None:
        """When a node refused this tuple first; None if it has not, or has forgotten."""
        refusal = self._namespaces[node.namespace].run(nftables.element, node.table, REFUSED, key_of(flow))
        return None if refusal is None else REFUSED_TIMEOUT_S - refusal.expires_ms / _MS_PER_S

    def sockets(self, namespace: str) -> Sequence[Socket]:
        """The TCP sockets of a namespace."""
        return self._namespaces[namespace].run(lambda: list(sockets()))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Drops and faults of a lab, which may have stopped a connection besides limits."""

    dropped: Mapping[DropCounter, int]
    """Counter → packets that were dropped there."""
    impairments: Sequence[Impairment] = ()

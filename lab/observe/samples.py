"""A sample: what the kernel says of every NAT node at one moment. Values only; `lab.observe.sampling` takes them.

It is all that is read of slots, counters and connections: readings of limiters, metrics and the levels of a screen are
made from it. All counts run from the node's making and only ever grow, so the difference of two samples is what
happened between them. What holds a slot and what is active are the state at that moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
import json
import math
from typing import Any, Self

from lab.kernel.interfaces import InterfaceCount
from lab.observe.readings import FirstRefusal, Reading
from lab.slots import counters as counting
from lab.slots.limiter import Limiter

__all__ = ["InterfaceCount", "NodeSample", "Sample"]

_MORE_THAN_ANYTHING = 1 << 80
"""The kernel's counters have 64 bits."""


@dataclass(frozen=True, slots=True)
class NodeSample:
    """One NAT node at one moment, in the kernel's own names; the properties say what they mean."""

    counters: Mapping[str, int]
    """Named counter, or conntrack's own → packets; what is not there is 0."""
    held: Mapping[str, int]
    """Slot set → connections that hold one of its slots; what is not there is 0."""
    active: int
    """TCP connections that are established, neither closed nor fallen idle."""
    inner: InterfaceCount
    """At the clients' side: of a NAT gateway the VPC's."""
    outer: InterfaceCount
    """Packets and bytes at the servers' side."""
    first_refusal: FirstRefusal | None = field(default=None, compare=False)
    """The first connection refused since the node last forgot, where that was read; a history does not keep it."""
    first_reset: FirstRefusal | None = field(default=None, compare=False)
    """The first connection that was reset here because it was forgotten, likewise."""
    absent: frozenset[str] = field(default=frozenset(), compare=False)
    """Slot sets of ENIs that are not there yet, where that was read; a history does not keep it."""
    entries: int | None = field(default=None, compare=False)
    """Conntrack entries of what is to have a slot, where they were counted; a history does not keep it."""

    @property
    def admitted(self) -> int:
        """TCP connections whose initial SYN was let in; what was refused is not among them."""
        return self.counters.get(counting.ADMITTED, 0)

    @property
    def resets_sent(self) -> int:
        """Packets from the inner side that were answered with an RST, because their connection was forgotten."""
        return self.counters.get(counting.RESETS_SENT, 0)

    @property
    def attempted(self) -> int:
        """TCP connections whose first SYN came here: admitted, or refused, or one after the other.

        Where one limit is for both protocols, as in an ENI, refused flows over UDP are among them.
        """
        refused = self._refused(counting.REFUSED_CONNECTIONS, but="_udp")
        return self.admitted - self.counters.get(counting.ADMITTED_LATE, 0) + refused

    @property
    def established(self) -> int:
        """TCP connections whose handshake was completed."""
        return self.counters.get(counting.ESTABLISHED, 0)

    @property
    def closed(self) -> int:
        """Established TCP connections that ended by two FINs or an RST."""
        return self.counters.get(counting.CLOSED, 0)

    @property
    def forgotten(self) -> int:
        """Established TCP connections that `lab reset` has removed: neither closed nor fallen idle."""
        return self.counters.get(counting.FORGOTTEN, 0)

    @property
    def idle_timeouts(self) -> int:
        """Those of them that were forgotten after the idle timeout.

        Exact while nothing is opened or closed as it is read; less, by no more than what was, otherwise.
        """
        return self.established - self.closed - self.forgotten - self.active

    @property
    def refused_packets(self) -> int:
        """Packets of new connections that found no slot: every SYN, and datagrams."""
        return self._refused(counting.REFUSED_PACKETS)

    @property
    def without_port(self) -> int:
        """Packets of new connections for which there was no port: no slot, or none that the kernel found."""
        return self.refused_packets + self.counters.get(counting.PORTS_NOT_FOUND, 0)

    @property
    def refused_connections(self) -> int:
        """Connections that found no slot, each counted once."""
        return self._refused(counting.REFUSED_CONNECTIONS)

    @property
    def dropped_packets(self) -> int:
        """Packets that came in and were neither forwarded nor answered."""
        others = (counting.INVALID_PACKETS, counting.OTHER_PACKETS, counting.CONNTRACK_DROPS)
        return self.refused_packets + sum(self.counters.get(counter, 0) for counter in others)

    def _refused(self, prefix: str, but: str = " ") -> int:
        return sum(n for name, n in self.counters.items() if name.startswith(prefix) and not name.endswith(but))


@dataclass(frozen=True, slots=True)
class Sample:
    """All NAT nodes at one moment."""

    at_s: float
    """When it was taken, in Unix time."""
    nodes: Mapping[str, NodeSample]
    """Name of the node → its sample; a node that is gone is left out."""

    def readings(self, limiters: Iterable[Limiter]) -> tuple[Reading, ...]:
        """What each of these limiters holds and has refused; nothing where its node or its slot set is gone."""
        return tuple(self._reading(limiter) for limiter in limiters)

    def _reading(self, limiter: Limiter) -> Reading:
        node = self.nodes.get(limiter.place)
        if node is None or limiter.refused_packets not in node.counters:
            return Reading(limiter, 0, 0, 0, None)
        return Reading(
            limiter,
            node.held.get(limiter.slots, 0),
            node.counters[limiter.refused_packets],
            node.counters[limiter.refused_connections],
            node.first_refusal,
            appeared=limiter.slots not in node.absent,
        )

    def to_json(self) -> str:
        """The sample as one line of JSON."""
        nodes = {
            name: [_counted(reading.counters), _counted(reading.held), reading.active, reading.inner, reading.outer]
            for name, reading in self.nodes.items()
        }
        return json.dumps([round(self.at_s, 3), nodes], separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The sample that `to_json` wrote; ValueError for anything else."""
        try:
            at_s, nodes = json.loads(line)
            return cls(_finite(at_s), {name: _node(*values) for name, values in nodes.items()})
        except (TypeError, AttributeError, OverflowError, RecursionError) as damaged:
            raise ValueError(f"no sample: {line[:80]!r}") from damaged


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise TypeError(number)
    return float(number)


def _counted(numbers: Mapping[str, int]) -> dict[str, int]:
    """Without zeros, which are most of them."""
    return {name: n for name, n in numbers.items() if n}


def _node(counters: dict[str, int], held: dict[str, int], active: int, inner: Any, outer: Any) -> NodeSample:
    total = sum(counters.values()) + sum(held.values()) + active + sum(inner) + sum(outer)
    if not isinstance(total, int) or total >= _MORE_THAN_ANYTHING:
        raise TypeError(total)
    return NodeSample(counters, held, active, InterfaceCount(*inner), InterfaceCount(*outer))

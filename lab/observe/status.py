"""What `lab status` says: a lab's nodes and addresses, and from the kernel, now, what its limits hold and refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lab.kernel.netns import Namespaces
from lab.observe.fills import read_with_fills
from lab.observe.host_ports import PortsInUse, ports_in_use
from lab.observe.readings import Reading
from lab.observe.samples import NodeSample
from lab.observe.sampling import Sampler
from lab.plan.objects import Plan

__all__ = ["Status", "status"]


@dataclass(frozen=True, slots=True)
class Status:
    """Nodes, limits and connections of a lab at one moment."""

    plan: Plan
    complete: bool
    readings: tuple[Reading, ...] = ()
    """Readings of every limiter that is there."""
    connections: Mapping[str, NodeSample] = field(default_factory=dict)
    """NAT node with limits → its TCP connections since it was made, those without slots among them."""
    ports: tuple[PortsInUse, ...] = ()
    """Ephemeral ports of each client that is no function."""
    lost: tuple[str, ...] = ()
    """What the plan has and the kernel has not, or has set down or stopped."""

    def to_json(self) -> dict[str, Any]:
        """The document of `lab status --json`."""
        return {
            "lab": self.plan.lab,
            "complete": self.complete,
            "lost": list(self.lost),
            "nodes": [
                {
                    "node": node.name,
                    "kind": node.kind,
                    "namespace": node.namespace,
                    "addresses": list(node.addresses),
                }
                for node in self.plan.nodes
            ],
            "limits": [reading.to_json() for reading in self.readings],
            "ephemeral_ports": [{**asdict(ports), "address": str(ports.address)} for ports in self.ports],
            "connections": [
                {
                    "node": name,
                    "admitted": node.admitted,
                    "established": node.established,
                    "closed": node.closed,
                    "idle_timeouts": node.idle_timeouts,
                    "forgotten": node.forgotten,
                    "resets_sent": node.resets_sent,
                }
                for name, node in self.connections.items()
            ],
            "idle_timeouts": {name: node.idle_timeouts for name, node in self.connections.items()},
        }


def status(plan: Plan, *, complete: bool) -> Status:
    """The status of the lab of a plan; without numbers where it is not complete. FileNotFoundError for a lost node."""
    if not complete:
        return Status(plan, complete)
    with Namespaces() as namespaces:
        readings = read_with_fills(namespaces, plan.limiters, plan)
        nodes = Sampler(plan.nat_nodes).take(namespaces.call).nodes
        ports = tuple(ports_in_use(namespaces, plan))
    limited = dict.fromkeys(limiter.place for limiter in plan.limiters)
    return Status(
        plan,
        complete,
        tuple(reading for reading in readings if reading.appeared),
        {name: nodes[name] for name in limited if name in nodes},
        ports,
    )

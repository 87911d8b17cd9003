"""The ways of a function's connections to a server: out through which ENI, on through what, or where they end.

What lies on a way is known from the topology alone. The plan gives it its form in the kernel, predictions and bursts
read which limiters a connection meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.paths.dead_ends import DeadEnd, dead_end
from lab.schema.names import EGRESS
from lab.topology.enis import enis_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.schema.exits import Exit
    from lab.schema.firewall import Transport
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["DeadEnd", "Way", "exit_nodes", "exit_of", "ways"]


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways between which a function's connections take turns."""

    gateway: str
    """The node by which it leaves the service VPC: an ENI, or the service VPC's own egress."""
    eni: Eni | None
    out: Exit | None
    dead_end: DeadEnd | None = None

    doubt: DeadEnd | None = None
    """Where some of its connections end and others pass, by what a topology does not know."""

    @property
    def reached(self) -> Exit | None:
        """What takes its connections out of the VPC, unless they end before."""
        return None if self.dead_end and not self.dead_end.answers else self.out

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes on it that may limit connections."""
        return (self.gateway, *((self.reached.node,) if self.reached else ()))


def ways(topology: Topology, function: str, server: str, transport: Transport = "tcp") -> tuple[Way, ...]:
    """One for each of the function's ENIs, in the order of its subnets; the only one of a function outside the VPC."""
    wanted = next(each for each in topology.servers if each.name == server)
    return tuple(_ways(topology, function, wanted, transport)) or (Way(EGRESS, None, None),)


def _ways(topology: Topology, function: str, server: Server, transport: Transport) -> Iterator[Way]:
    for eni in enis_of(topology, function):
        out = exit_of(topology, eni.subnet, server)
        end = dead_end(topology, eni, out, server, transport)
        if end is None or end.certain:
            yield Way(eni.name, eni, out, end)
        else:
            yield Way(eni.name, eni, out, doubt=end)


def exit_nodes(topology: Topology, subnet: Subnet) -> set[str]:
    """The nodes by which connections from a subnet leave the VPC, whichever server they are for."""
    exits = (exit_of(topology, subnet, server) for server in topology.servers)
    return {out.node for out in exits if out}


def exit_of(topology: Topology, subnet: Subnet, server: Server) -> Exit | None:
    """Where connections from a subnet to a server leave the VPC; None where they do not."""
    taking = (each for each in topology.exits if each.takes(subnet.default_route, server.name))
    return next(taking, None)

"""What of a lab takes part in a burst (fleet, server, paths, limiters), and what the generator is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lab.burst.load import DescriptorLimit, Load
from lab.burst.options import for_generator
from lab.capacity.predict import choose
from lab.errors import UsageError
from lab.paths.dead_ends import DeadEnd
from lab.paths.path import Path
from lab.paths.routes import paths
from lab.plan.names import authority_file
from lab.plan.objects import FleetPlan, Plan, ServerPlan
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.spec import BurstSpec, PortBlocks

__all__ = ["Participants", "participants_of", "spec_of"]

_REST_S = 2.5
"""A slot's garbage collection (1 s) and conntrack's shortest timeout (1 s), and a little more."""

_QUIET_S = 0.1
"""Longer than a program takes from one connection to the next, also in Python."""


@dataclass(frozen=True, slots=True)
class Participants:
    """What of a lab takes part in a burst."""

    plan: Plan
    topology: Topology
    load: Load
    fleet: FleetPlan
    server: ServerPlan
    paths: tuple[Path, ...]

    @property
    def nodes(self) -> frozenset[str]:
        """The nodes that may limit connections, on whichever path."""
        return frozenset(node for path in self.paths for node in path.nodes)

    @property
    def gateways(self) -> frozenset[str]:
        """The ENIs through which connections leave the service VPC."""
        return frozenset(path.gateway for path in self.paths)

    @property
    def ways_differ(self) -> bool:
        """Whether some connections leave the VPCs by one kind of node and some by another."""
        return len({path.exit.KIND for path in self.paths if path.exit}) > 1

    @property
    def dead_ends(self) -> tuple[DeadEnd, ...]:
        """Where some connections, or all, end whatever the limits."""
        return tuple(end for path in self.paths for end in (path.dead_end, path.doubt) if end)

    @property
    def limiters(self) -> tuple[Limiter, ...]:
        """The limiters that may refuse a connection of this burst."""
        nodes, clients = self.nodes, {scoped.scope.client for path in self.paths for _, scoped in path.limits}
        return tuple(
            limiter
            for limiter in self.plan.limiters
            if limiter.place in nodes
            and limiter.destination in (None, self.server.name)
            and (limiter.client is None or limiter.client in clients)
            and limiter.protocol in ("any", self.load.protocol)
            and not limiter.drains
        )

    @property
    def eni_addresses(self) -> dict[str, tuple[IPv4Address, ...]]:
        """ENI → its addresses, which NAT gateways see."""
        return {
            node.name: tuple(map(IPv4Address, node.addresses)) for node in self.plan.nodes if node.name in self.gateways
        }

    @property
    def blocks(self) -> PortBlocks:
        """How environments share ports, as many each as the load has."""
        return replace(self.fleet.blocks, per_environment=self.load.connections_per_environment)

    @property
    def descriptors(self) -> DescriptorLimit | None:
        """How many descriptors each environment has; None is no limit."""
        return self.load.descriptor_limit

    @property
    def most_turns(self) -> int:
        """For how many turns the environments behind each ENI have ports."""
        return min(path.environments for path in self.fleet.paths) * self.blocks.per_environment

    @property
    def connections(self) -> int:
        """How many connections there are to use: one for each invocation, or as many as have ports of their own."""
        if not self.load.over_time:
            return self.load.connections
        return min(self.load.connections, len(self.fleet.paths) * min(self.most_turns, self.blocks.ports))

    @property
    def turns(self) -> int:
        """How many connections each ENI is given at most."""
        return -(-self.connections // len(self.fleet.paths))


def participants_of(plan: Plan, topology: Topology, load: Load) -> Participants:
    """The nodes that take part in a load; UsageError when the fleet has too few ports for it."""
    source = choose((source.name for source in topology.sources), load.source, "function")
    fleet = next(fleet for fleet in plan.fleets if fleet.source == source)
    name = choose((server.name for server in plan.servers), load.server, "server")
    server = next(server for server in plan.servers if server.name == name)
    participants = Participants(plan, topology, load, fleet, server, paths(topology, source, name, load.protocol))
    if topology.service_vpc.resolver.truncate and load.engine != "socket" and not load.syn_only:
        raise UsageError(
            "service_vpc.resolver.truncate: clients ask again over TCP, which the "
            f"{load.engine} engine does not do for DNS; --engine socket does"
        )
    if participants.turns > participants.most_turns:
        most = participants.most_turns * len(fleet.paths)
        raise UsageError(
            f"-n {load.connections}: the fleet of {source} has room for {most:,} connections at a time, "
            f"{load.connections_per_environment} in each execution environment"
        )
    return participants


def spec_of(participants: Participants, first_turn: int = 0) -> BurstSpec:
    """What the generator is told; its first connections take turn `first_turn` of their ENIs."""
    fleet, server, load = participants.fleet, participants.server, participants.load
    resolver = participants.topology.service_vpc.resolver
    return BurstSpec(
        interface=fleet.interface,
        mac=fleet.mac,
        resolver_address=fleet.resolver_address,
        resolver_mac=fleet.resolver_mac,
        paths=fleet.paths,
        blocks=participants.blocks,
        hostname=server.hostname,
        port=server.port,
        connections=participants.connections,
        first_connection=first_turn * len(fleet.paths),
        invocations=load.connections,
        arrivals=load.arrivals,
        growth=load.growth,
        at_a_time=1 if load.engine == "scapy" else None,
        hold_s=load.hold_s if load.over_time else None,
        requests=load.requests,
        quiet_s=_quiet_s(participants),
        rest_s=_REST_S + _longest_port_hold_s(participants.topology),
        authority=authority_file(participants.plan.lab) if load.tls else None,
        destinations=server.addresses if load.syn_only else None,
        # An environment's descriptors are those of sockets at its own addresses, a question's among them.
        questions_apart=resolver.counts_sources or participants.descriptors is not None,
        descriptors=participants.descriptors.connections if participants.descriptors else None,
        **for_generator(load),
    )


def _quiet_s(participants: Participants) -> float:
    """A program of the user's own accepts in its own time, which only connections without requests do not show.

    So does the lab's server where it closes connections beyond its limit.
    """
    load, name = participants.load, participants.server.name
    embedded = next(server.embedded for server in participants.topology.servers if server.name == name)
    asks_nothing = load.protocol == "tcp" and not (load.requests or load.over_time or load.syn_only)
    closes = not embedded or any(limiter.when_full == "close" for limiter in participants.limiters)
    return _QUIET_S if closes and asks_nothing else 0.0


def _longest_port_hold_s(topology: Topology) -> int:
    gateways_s = [gateway.port_hold_s for gateway in topology.nat_gateways]
    endpoints_s = [endpoint.port_hold_s for endpoint in topology.interface_endpoints]
    return max(topology.hyperplane_eni.port_hold_s, *gateways_s, *endpoints_s, 0)

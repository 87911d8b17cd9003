"""What of a lab takes part in a burst (fleet, server, paths, limiters), and what the generator is told. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lab.burst.functions import Invoker
from lab.burst.load import Load
from lab.burst.options import for_generator
from lab.burst.result import SourceResult
from lab.capacity.predict import choose, choose_source, sources_of
from lab.capacity.shares import Shares
from lab.errors import UsageError
from lab.paths.leg import DeadEnd
from lab.paths.path import Path
from lab.paths.routes import paths
from lab.plan.names import NETNS_DIRECTORY, authority_file
from lab.plan.objects import FleetPlan, Plan, ServerPlan
from lab.schema.descriptors import DescriptorLimit
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.resources import MOST_OF_A_PROCESS
from traffic.spec import BurstSpec, FleetSpec, HostPorts, PortBlocks

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
    fleets: tuple[FleetPlan, ...]
    """Of the functions that invoke, in the order in which they take turns."""
    server: ServerPlan
    paths_of: tuple[tuple[Path, ...], ...]
    """Each fleet's paths."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all fleets."""
        return tuple(path for paths in self.paths_of for path in paths)

    @property
    def sources(self) -> tuple[str, ...]:
        """The functions that invoke, by name, or another source."""
        return tuple(fleet.source for fleet in self.fleets)

    @property
    def invokers(self) -> Iterator[Invoker]:
        """The functions that invoke, as results name them."""
        for function, reserved, mine in zip(self.sources, self.reserved, self.paths_of, strict=True):
            yield Invoker(
                function,
                reserved,
                kinds=frozenset(hop.kind for path in mine for hop in path.hops),
                nodes=tuple(dict.fromkeys(node for path in mine for node in path.nodes)),
                dead_ends=tuple(
                    dict.fromkeys(end.point for path in mine for end in (path.dead_end, path.doubt) if end)
                ),
            )

    @property
    def reserved(self) -> tuple[int | None, ...]:
        """The reserved concurrency of each."""
        return tuple(fleet.reserved_concurrency for fleet in self.fleets)

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
        enis = frozenset[str]() if self.from_host else self.gateways
        return {node.name: tuple(map(IPv4Address, node.addresses)) for node in self.plan.nodes if node.name in enis}

    @property
    def from_host(self) -> bool:
        """Whether a client that is no function opens the connections, by ports of its own."""
        return self.fleets[0].own_ports

    @property
    def asks_through_enis(self) -> bool:
        """Whether questions to the name server cross the ENIs, and take connections of theirs."""
        return self.topology.service_vpc.resolver.behind_eni and not self.from_host

    @property
    def source(self) -> SourceResult:
        """What opens the connections; of several functions the first."""
        node = next(node for node in self.plan.nodes if node.namespace == self.fleets[0].namespace)
        return SourceResult(node.kind, self.fleets[0].source, node.name, addresses=len(self.fleets[0].paths))

    @property
    def blocks(self) -> PortBlocks:
        """How environments share ports, as many each as the load has; a host has all of its own."""
        if self.from_host:
            return self.fleets[0].blocks
        return replace(self.fleets[0].blocks, per_environment=self.load.connections_per_environment)

    @property
    def descriptors(self) -> DescriptorLimit | None:
        """How many descriptors each environment, or each address of a client, has; None is no limit."""
        return self.load.descriptor_limit or self.fleets[0].descriptors

    @property
    def lack_descriptors(self) -> bool:
        """Whether some environment, or address of a client, may have more connections to make than descriptors."""
        most = self.turns(0) if self.from_host else self.blocks.per_environment
        return self.descriptors is not None and self.descriptors.connections < most

    def most_turns(self, fleet: FleetPlan) -> int:
        """For how many turns the environments of a fleet behind each ENI have ports, or each address of a client."""
        if self.from_host:
            return self.blocks.ports * self.destinations
        return min(path.environments for path in fleet.paths) * self.blocks.per_environment

    @property
    def destinations(self) -> int:
        """To how many addresses of the server a client's kernel uses each port anew."""
        return 1 if self.load.protocol == "udp" else len({path.answer for path in self.paths_of[0]})

    @property
    def connections(self) -> int:
        """How many connections there are to use: one for each invocation, or as many as have ports of their own.

        Of invocations that come at once those beyond a function's reserved concurrency have none.
        """
        if self.load.over_time:
            most = self.blocks.ports * self.destinations if self.from_host else self.blocks.ports
            ports = (len(fleet.paths) * min(self.most_turns(fleet), most) for fleet in self.fleets)
            return min(self.load.connections, len(self.fleets) * min(ports))
        most = max(self._admitted(place, self.load.connections) for place in range(len(self.fleets)))
        return max(min(self.load.connections, len(self.fleets) * most), 1)

    def turns(self, place: int) -> int:
        """How many connections of a fleet each of its ENIs is given at most."""
        return -(-self._admitted(place, self.connections) // len(self.fleets[place].paths))

    def _admitted(self, place: int, invocations: int) -> int:
        share, most = Shares(len(self.fleets)).of(place, invocations), self.reserved[place]
        at_once = self.load.arrivals.per_s is None and not self.load.over_time
        return share if most is None or not at_once else min(share, most)


def participants_of(plan: Plan, topology: Topology, load: Load) -> Participants:
    """The nodes that take part in a load; UsageError when the fleet has too few ports for it."""
    known = {fleet.source: fleet for fleet in plan.fleets}
    named = load.sources if load.client is None else (choose_source(topology, None, load.client),)
    fleets = tuple(known[source] for source in sources_of(topology, named))
    name = choose((server.name for server in plan.servers), load.server, "server")
    server = next(server for server in plan.servers if server.name == name)
    paths_of = tuple(paths(topology, fleet.source, name, load.protocol) for fleet in fleets)
    participants = Participants(plan, topology, load, fleets, server, paths_of)
    if topology.service_vpc.resolver.truncate and load.engine != "socket" and not load.syn_only:
        raise UsageError(
            "service_vpc.resolver.truncate: clients ask again over TCP, which the "
            f"{load.engine} engine does not do for DNS; --engine socket does"
        )
    for place, fleet in enumerate(fleets):
        if participants.turns(place) > participants.most_turns(fleet) and not participants.from_host:
            most = participants.most_turns(fleet) * len(fleet.paths)
            raise UsageError(
                f"-n {load.connections}: the fleet of {fleet.source} has room for {most:,} connections at a time, "
                f"{load.connections_per_environment} in each execution environment"
            )
    if load.engine == "socket" and len(fleets) > 1 and participants.connections > MOST_OF_A_PROCESS:
        raise UsageError(
            f"-n {load.connections}: real sockets of functions that take turns are those of one process, "
            f"{MOST_OF_A_PROCESS:,} connections at most; --engine packet has no such limit"
        )
    return participants


def spec_of(
    participants: Participants, first_turns: Sequence[int] = (), host: tuple[HostPorts, ...] | None = None
) -> BurstSpec:
    """What the generator is told; the first connections of each fleet take this turn of their ENIs.

    A client has ports of its `host`.
    """
    server, load = participants.server, participants.load
    resolver, first = participants.topology.service_vpc.resolver, participants.fleets[0]
    turns = first_turns or [0] * len(participants.fleets)
    rows = zip(participants.fleets, turns, participants.reserved, strict=True)
    return BurstSpec(
        fleets=tuple(
            FleetSpec(
                interface=fleet.interface,
                mac=fleet.mac,
                paths=fleet.paths,
                first_connection=turn * len(fleet.paths),
                reserved_concurrency=reserved,
                host=host,
                namespace=None if fleet == first else str(NETNS_DIRECTORY / fleet.namespace),
            )
            for fleet, turn, reserved in rows
        ),
        resolver_address=first.resolver_address,
        resolver_mac=first.resolver_mac,
        blocks=participants.blocks,
        hostname=server.hostname,
        port=server.port,
        connections=participants.connections,
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

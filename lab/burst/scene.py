"""Who takes part in a burst: its fleet, its server, the ways between them, the limiters on these. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from lab.burst.load import Load
from lab.capacity.predict import Prediction, choose, predict
from lab.errors import UsageError
from lab.observe.readings import Reading
from lab.paths.ways import Way, ways
from lab.plan.objects import FleetPlan, Plan, ServerPlan
from lab.slots.limiter import Limiter
from lab.topology import Topology
from traffic.spec import BurstSpec, PortBlocks

__all__ = ["Scene", "eni_addresses", "prediction", "scene_of", "spec_of"]

_REST_S = 2.5
"""A slot's garbage collection (1 s) and conntrack's shortest timeout (1 s), and a little more."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Who takes part in a burst."""

    plan: Plan
    topology: Topology
    load: Load
    fleet: FleetPlan
    server: ServerPlan
    ways: tuple[Way, ...]
    nodes: frozenset[str]
    """Those on the ways to the server."""
    limiters: tuple[Limiter, ...]

    @property
    def blocks(self) -> PortBlocks:
        """How environments share ports, as many each as the load has."""
        return replace(self.fleet.blocks, per_environment=self.load.connections_per_environment)

    @property
    def room(self) -> int:
        """How many turns the environments behind each ENI have ports for."""
        return min(path.environments for path in self.fleet.paths) * self.blocks.per_environment

    @property
    def connections(self) -> int:
        """How many connections there are to use: one for each invocation, or what has ports of its own."""
        if not self.load.over_time:
            return self.load.connections
        return min(self.load.connections, len(self.fleet.paths) * min(self.room, self.blocks.ports))

    @property
    def turns(self) -> int:
        """How many connections each ENI is given at most."""
        return -(-self.connections // len(self.fleet.paths))


def scene_of(plan: Plan, topology: Topology, load: Load) -> Scene:
    """Who takes part in a load; UsageError for one that its fleet has no room for."""
    fleet, server = _fleet(plan, load), _server(plan, load)
    found = ways(topology, fleet.function, server.name, load.protocol)
    nodes = frozenset(node for way in found for node in way.nodes)
    scene = Scene(plan, topology, load, fleet, server, found, nodes, _on_the_way(plan, nodes, server, load))
    if scene.turns > scene.room:
        room = scene.room * len(fleet.paths)
        raise UsageError(
            f"-n {load.connections}: the fleet of {fleet.function} has room for {room:,} connections at a time, "
            f"{load.connections_per_environment} in each execution environment"
        )
    return scene


def _fleet(plan: Plan, load: Load) -> FleetPlan:
    name = choose((fleet.function for fleet in plan.fleets), load.function, "function")
    return next(fleet for fleet in plan.fleets if fleet.function == name)


def _server(plan: Plan, load: Load) -> ServerPlan:
    name = choose((server.name for server in plan.servers), load.server, "server")
    return next(server for server in plan.servers if server.name == name)


def _on_the_way(plan: Plan, nodes: Collection[str], server: ServerPlan, load: Load) -> tuple[Limiter, ...]:
    """What may refuse connections to this server over this protocol: the function's ENIs, and what comes after them."""
    return tuple(
        limiter
        for limiter in plan.limiters
        if limiter.place in nodes
        and limiter.destination in (None, server.name)
        and limiter.protocol in ("any", load.protocol)
        and not limiter.drains
    )


def prediction(scene: Scene, before: Iterable[Reading]) -> Prediction:
    """What arithmetic says, of a load over time as far as it says how many connections there are at once."""
    load = scene.load
    holds_s = {limiter.port_hold_s for limiter in scene.limiters}
    at_once = load.at_once(max(holds_s, default=0)) if len(holds_s) <= 1 or not load.over_time else None
    if at_once is None:
        return Prediction(load.connections, None, None, None, ())
    function, server = scene.fleet.function, scene.server.name
    found = predict(
        scene.topology,
        at_once,
        function=function,
        server=server,
        protocol=load.protocol,
        in_use=_in_use(before),
        connect_timeout_s=load.connect_timeout_s,
        questions=_questions(scene),
        per_environment=load.connections_per_environment,
    )
    if not load.over_time or found.bottleneck is None:
        established = found.established if at_once == load.connections or load.reuse else load.connections
        return replace(found, offered=load.connections, established=established)
    # Retries succeed as others close. With a port hold, the rate says how many are open when the limit is reached.
    threshold = None if any(holds_s) else found.drop_threshold
    return replace(found, offered=load.connections, established=None, drop_threshold=threshold)


def _questions(scene: Scene) -> int:
    """How many take slots or count for a quota; a port that is used again asks again, and takes no other slot."""
    if scene.load.syn_only:
        return 0
    return (
        scene.connections if scene.topology.service_vpc.resolver.packets_per_second is None else scene.load.connections
    )


def _in_use(readings: Iterable[Reading]) -> Callable[[str], int]:
    """Slots taken at a node; an ENI that has appeared beside a full one gives it more than it had."""
    used: Counter[str] = Counter()
    for each in readings:
        if each.appeared:
            more = each.limiter.limit if each.limiter.of else 0
            used[each.limiter.place] += each.in_use - more
    return lambda node: used[node]


def eni_addresses(plan: Plan) -> dict[str, tuple[IPv4Address, ...]]:
    """The addresses that NAT gateways see, by ENI."""
    return {node.name: tuple(map(IPv4Address, node.addresses)) for node in plan.nodes if node.kind == "hyperplane_eni"}


def spec_of(scene: Scene, first: int) -> BurstSpec:
    """What the generator is told; `first` is the number of the first connection."""
    fleet, server, load = scene.fleet, scene.server, scene.load
    return BurstSpec(
        interface=fleet.interface,
        mac=fleet.mac,
        resolver_address=fleet.resolver_address,
        resolver_mac=fleet.resolver_mac,
        paths=fleet.paths,
        blocks=scene.blocks,
        hostname=server.hostname,
        port=server.port,
        connections=scene.connections,
        first_connection=first,
        invocations=load.connections,
        engine=load.engine,
        protocol=load.protocol,
        connect_timeout_s=load.connect_timeout_s,
        syn_schedule=load.syn_schedule,
        arrivals=load.arrivals,
        growth=load.growth,
        at_a_time=1 if load.engine == "scapy" else None,
        hold_s=load.hold_s if load.over_time else None,
        duration_s=load.duration_s,
        requests=load.requests,
        reuse=load.reuse,
        close=load.close,
        rest_s=_REST_S + _longest_port_hold_s(scene.topology),
        destination=server.address if load.syn_only else None,
        questions_apart=scene.topology.service_vpc.resolver.counts_sources,
    )


def _longest_port_hold_s(topology: Topology) -> int:
    nat_gateways, endpoints = topology.nat_gateways, topology.interface_endpoints
    holds_s = (*(each.port_hold_s for each in nat_gateways), *(each.port_hold_s for each in endpoints))
    return max(topology.hyperplane_eni.port_hold_s, *holds_s, 0)

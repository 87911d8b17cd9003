"""What a burst will show, by arithmetic, against a simulation that takes one connection at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import assume, given
from hypothesis import strategies as st
import pytest

from lab.capacity.predict import FunctionPrediction, Prediction, predict
from lab.errors import UsageError
from lab.paths.path import Scope
from lab.paths.routes import paths
from lab.schema.names import node_name_of_nat_gateway
from lab.topology import Eni, NatGateway, Server, Topology, enis_of, hyperplane_enis, scaled
from tests.support.examples import examples
from tests.support.topologies import function, nat_gateway, shipped, topologies, topology


def simulate(
    topology: Topology,
    invocations: int,
    callers: Sequence[str],
    in_use: Callable[[str], int],
    first: int,
    *,
    environments: tuple[int, int | None],
) -> Prediction:
    """The same answer without arithmetic: each connection asks its ENI for a slot, then what leads out of the VPC.

    To a server in the VPC none leads out, and from outside there is no way.

    Before, it asks its environment for a descriptor: each makes so many connections, and may have so many open.
    """
    per_environment, descriptors = environments
    held, opened = Counter[str](), Counter[tuple[str, int, int]]()
    lost, emfile = Counter[str](), Counter[str]()
    first_loss: int | None = None
    first_refusal: tuple[int, str] | None = None
    server = topology.servers[0]
    standing = [exit_ for exit_ in topology.exits if exit_.stands_for == server.name]
    addresses = 1 if server.subnet else len(standing or server.addresses)
    each = topology.hyperplane_eni.per_destination
    connections = let_in(topology, invocations, callers)
    enis = {caller: enis_of(topology, caller) for caller in callers}
    outside: dict[tuple[str, str], int | None] = {NOWHERE: None} if topology.servers[0].subnet else {}
    for number, (caller, place) in enumerate(connections):
        turn, path = divmod(first + place, len(enis[caller]) or 1)
        environment = caller, path, turn // per_environment
        if opened[environment] == descriptors:
            emfile[caller] += 1
            continue
        opened[environment] += 1
        way = way_of(topology, enis[caller][path], turn) if enis[caller] else outside
        for (node, kind), limit in way.items():
            slots = f"{node} {turn % addresses}" if each or kind != "hyperplane_eni" else node
            if limit is not None and in_use(node.partition(" ")[0]) + held[slots] >= limit:
                first_refusal = first_refusal or (number, kind)
                break
            held[slots] += 1
        else:
            if NOWHERE not in way:
                continue
        lost[caller] += 1
        first_loss = number - emfile.total() if first_loss is None else first_loss
    admitted = Counter(caller for caller, _ in connections)
    functions = []
    for place, caller in enumerate(callers):
        share = len(range(place, invocations, len(callers)))
        established = admitted[caller] - lost[caller] - emfile[caller]
        functions.append(FunctionPrediction(caller, share, share - admitted[caller], established))
    return Prediction(
        invocations,
        len(connections) - lost.total() - emfile.total(),
        first_loss,
        first_refusal[1] if first_refusal else None,
        (),
        emfile=emfile.total(),
        functions=tuple(functions),
    )


def let_in(topology: Topology, invocations: int, callers: Sequence[str]) -> list[tuple[str, int]]:
    """Whose each connection is, in the order of their SYNs, and its number among those of its function."""
    most = {each.name: each.reserved_concurrency for each in topology.functions}
    begun = Counter[str]()
    connections = []
    for invocation in range(invocations):
        caller = callers[invocation % len(callers)]
        reserved = most[caller]
        if reserved is None or begun[caller] < reserved:
            connections.append((caller, begun[caller]))
            begun[caller] += 1
    return connections


NOWHERE = ("nowhere", "")
"""In place of what leads out of the VPC, where nothing does."""


def way_of(topology: Topology, eni: Eni, turn: int) -> dict[tuple[str, str], int | None]:
    """What a path through an ENI crosses, with its room."""
    out = way_out(topology, eni, topology.servers[0], turn)
    room = {(eni.name, "hyperplane_eni"): topology.hyperplane_eni.connection_limit}
    return {**room, **({NOWHERE: None} if out is None else out)}


def way_out(topology: Topology, eni: Eni, server: Server, turn: int) -> dict[tuple[str, str], int | None] | None:
    """What takes connections out of the VPC, and its room; None where nothing does."""
    if server.subnet is not None:
        return {}
    for endpoint in topology.interface_endpoints:
        if endpoint.server == server.name and endpoint.private_dns:
            cidrs = {subnet.name: subnet.cidr for subnet in topology.subnets}
            exits = sorted(endpoint.exits, key=lambda exit_: cidrs[exit_.subnet])
            limit = endpoint.connections_per_target
            return {(exits[turn % len(exits)].node, "interface_endpoint"): limit and limit * len(server.addresses)}
    for gateway_endpoint in topology.gateway_endpoints:
        if gateway_endpoint.service == server.service and eni.subnet.name in (
            gateway_endpoint.subnets or [eni.subnet.name]
        ):
            return {}
    for each in topology.nat_gateways:
        if each.name == eni.subnet.default_route:
            node = node_name_of_nat_gateway(each.name)
            if each.ports_per_client:
                return {(f"{node} for {eni.name}", "nat_gateway"): ports_of_a_client(topology, each)}
            return {(node, "nat_gateway"): each.elastic_ips * each.connections_per_destination}
    return None


def ports_of_a_client(topology: Topology, gateway: NatGateway) -> int:
    """What each client has when all of an Elastic IP have doubled theirs as often as all of them could."""
    assert gateway.ports_per_client
    behind = {subnet.name for subnet in topology.subnets if subnet.default_route == gateway.name}
    clients = sum(eni.subnet.name in behind for eni in hyperplane_enis(topology))
    clients += sum(host.addresses for host in topology.clients if host.subnet in behind)
    on_the_fullest = -(-clients // gateway.elastic_ips)
    ports, most = gateway.ports_per_client.least, gateway.ports_per_client.most
    while ports < most and min(ports * 2, most) * on_the_fullest <= gateway.connections_per_destination:
        ports = min(ports * 2, most)
    return ports


def predictable(made: Topology) -> bool:
    """Whether no choice of Elastic IP is left to chance."""
    return all(each.spill_over or each.elastic_ips == 1 or each.ports_per_client for each in made.nat_gateways)


# ── Known results ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "connections", "established", "bottleneck"),
    [
        ("one_subnet", 60_000, 55_000, "nat_gateway"),
        ("one_subnet", 55_001, 55_000, "nat_gateway"),
        ("one_subnet", 55_000, 55_000, None),
        ("one_subnet_two_eips", 70_000, 65_000, "hyperplane_eni"),
        ("two_subnets", 140_000, 130_000, "hyperplane_eni"),
        ("two_subnets", 130_001, 130_000, "hyperplane_eni"),
        ("two_subnets", 120_000, 120_000, None),
        ("seven_subnets_eight_eips", 450_000, 440_000, "nat_gateway"),
        ("tiny", 40, 30, "nat_gateway"),
    ],
)
def test_shipped(name: str, connections: int, established: int, bottleneck: str | None) -> None:
    """The topologies that ship show what their headers promise; the first drop is the first one over the limit."""
    found = predict(shipped(name), connections)
    assert (found.established, found.bottleneck) == (established, bottleneck)
    assert found.drop_threshold == (established if bottleneck else None)


def test_loads() -> None:
    """Each limiter's load says what it was offered, refused and held; a NAT gateway is offered what ENIs let pass."""
    found = {each.node: each for each in predict(shipped("two_subnets"), 140_000).limiters}
    assert {node: (each.offered, each.refused, each.admitted) for node, each in found.items()} == {
        "eni-private-a": (70_000, 5_000, 65_000),
        "eni-private-b": (70_000, 5_000, 65_000),
        "natgw": (130_000, 0, 130_000),
    }


def test_both_limits_in_one_burst() -> None:
    """The bottleneck is whoever drops first, though the other drops too."""
    limits = {"connection_limit": 10}
    gateways = (nat_gateway("a", connections_per_destination=4), nat_gateway("b"))
    made = topology({"p": "a", "q": "b"}, function("f", "p", "q"), nat_gateways=gateways, hyperplane_eni=limits)
    found = predict(made, 30)
    assert (found.bottleneck, found.drop_threshold) == ("nat_gateway", 8)
    assert {each.node: each.refused for each in found.limiters if each.refused} == {
        "eni-p": 5,
        "eni-q": 5,
        "nat-a": 6,
    }


def test_several_addresses() -> None:
    """ENIs take turns first, then addresses: all pairs occur, and each address has 55,000 of the Elastic IP."""
    found = predict(shipped("two_addresses"), 120_000)
    assert [each.scope for each in found.limiters] == [
        Scope("eni-private-a"),
        Scope("eni-private-b"),
        Scope("natgw", "cache", 0),
        Scope("natgw", "cache", 1),
    ]
    assert [each.offered for each in found.limiters] == [60_000] * 4
    assert (found.established, found.drop_threshold, found.bottleneck) == (110_000, 110_000, "nat_gateway")


@pytest.mark.parametrize(
    ("descriptors", "asked", "connections", "expected"),
    [
        (9, None, 17, (12, 5, None, None)),  # of 17, 9 and 8 are of its two addresses, of which each has 6 descriptors
        (9, 3, 17, (6, 11, None, None)),
        (13, None, 25, (20, 5, None, None)),
        (14, None, 22, (20, 0, 20, "client")),
        (14, None, 23, (20, None, 20, "client")),  # the port that is missing gives a descriptor back
        (None, None, 23, (20, 0, 20, "client")),
    ],
)
def test_a_client_of_few_descriptors(
    descriptors: int | None, asked: int | None, connections: int, expected: tuple[object, ...]
) -> None:
    """A descriptor is needed before a port, and each address has as many as its client says, unless told."""
    host = {"name": "bastion", "subnet": "private", "addresses": 2, "ephemeral_ports": "40000-40009"}
    made = topology(
        {"private": "natgw"}, function("checkout", "private"), clients=[host | {"descriptors": descriptors}]
    )
    found = predict(made, connections, source="bastion", descriptors=asked)
    assert (found.established, found.emfile, found.drop_threshold, found.bottleneck) == expected


# ── Any topology ────────────────────────────────────────────────────────────────────────────────────────────


@examples(100)
@given(
    topologies(limits=st.integers(1, 12)),
    st.integers(1, 120),
    st.integers(0, 20),
    st.dictionaries(st.integers(0, 20), st.integers(0, 15), max_size=8),
    st.tuples(st.integers(1, 20), st.none() | st.integers(1, 20)),
)
def test_against_simulation(
    made: Topology, connections: int, first: int, used: dict[int, int], environments: tuple[int, int | None]
) -> None:
    """Arithmetic and a simulation of every single connection agree, whatever is in use and wherever a burst starts."""
    assume(predictable(made))
    nodes = sorted({each.name for one in made.functions for each in enis_of(made, one.name)})
    nodes += [each.node for each in made.exits]
    in_use = {node: used.get(index, 0) for index, node in enumerate(nodes)}.__getitem__
    names = [each.name for each in made.functions]
    for callers in ([names[-1]], names, names[::-1]):
        found = predict(
            made,
            connections,
            source=callers,
            in_use=lambda scope: in_use(scope.node),
            first_connections=[first] * len(callers),
            per_environment=environments[0],
            descriptors=environments[1],
        )
        expected = simulate(made, connections, callers, in_use, first, environments=environments)
        assert replace(found, limiters=(), dead_ends=()) == expected
        lost = connections - found.throttled - (found.established or 0) - (found.emfile or 0)
        assert found.dead_ends or sum(each.refused for each in found.limiters) == lost


@examples(50)
@given(topologies(limits=st.integers(1, 40)), st.integers(1, 200))
def test_monotonic(made: Topology, connections: int) -> None:
    """One connection more never establishes fewer, and never moves the threshold or the bottleneck."""
    assume(predictable(made))
    some, more = predict(made, connections), predict(made, connections + 1)
    assert some.established is not None
    assert more.established is not None
    assert some.established <= more.established <= some.established + 1
    if some.drop_threshold is not None:
        assert more.drop_threshold == some.drop_threshold
        assert some.bottleneck in (None, more.bottleneck)  # a limit may come after connections that lead nowhere


@examples(50)
@given(topologies(limits=st.integers(1, 40)), st.integers(1, 200))
def test_threshold_is_the_largest_burst_without_a_drop(made: Topology, connections: int) -> None:
    """A burst as large as the threshold has no drop, and one connection more has one."""
    assume(predictable(made))
    threshold = predict(made, connections).drop_threshold
    if threshold is not None:
        assert predict(made, threshold + 1).established == threshold
        assert threshold == 0 or predict(made, threshold).drop_threshold is None


def test_a_gateway_endpoint_is_for_its_own_vpc() -> None:
    """What a Transit Gateway brings to the central VPC leaves by the NAT gateway, past the endpoint there."""
    document = shipped("transit_gateway").model_dump(mode="json", by_alias=True, exclude_none=True)
    (central,) = (vpc for vpc in document["vpcs"] if vpc.get("nat_gateways"))
    central["gateway_endpoints"] = [{"name": "objects", "service": "s3"}]
    document["servers"][0]["service"] = "s3"
    made = Topology.model_validate(document)
    functions = [function.name for function in made.functions]
    leaving = {path.exit.KIND for name in functions for path in paths(made, name, made.servers[0].name) if path.exit}
    assert leaving == {"nat_gateway"}


def test_scaled() -> None:
    """A hundredth of the limits has a hundredth of the threshold, and the same bottleneck."""
    found = predict(scaled(shipped("two_subnets"), 100), 1_400)
    assert (found.established, found.drop_threshold, found.bottleneck) == (1_300, 1_300, "hyperplane_eni")


# ── Chance ──────────────────────────────────────────────────────────────────────────────────────────────────


def by_hash(*, spill_over: bool, elastic_ips: int = 2) -> Topology:
    """Ten connections per Elastic IP, which a hash picks."""
    gateway = nat_gateway(
        elastic_ips=elastic_ips, connections_per_destination=10, eip_selection="hash", spill_over=spill_over
    )
    return topology({"p": "natgw"}, function("f", "p"), nat_gateways=(gateway,))


def test_hash_without_spill_over() -> None:
    """A hash fills Elastic IPs unevenly: without spill-over nobody can say when the first one refuses."""
    found = predict(by_hash(spill_over=False), 15)
    assert (found.established, found.drop_threshold, found.bottleneck) == (None, None, None)


def test_hash_with_few_connections() -> None:
    """As many connections as one Elastic IP carries are certain, however the hash deals them."""
    assert predict(by_hash(spill_over=False), 10).established == 10


def test_hash_with_few_slots_left() -> None:
    """What is in use may all be in the one Elastic IP that a hash picks next, so it counts against certainty."""

    def in_use(scope: Scope) -> int:
        return 8 if scope.node == "natgw" else 0

    assert predict(by_hash(spill_over=False), 2, in_use=in_use).established == 2
    assert predict(by_hash(spill_over=False), 3, in_use=in_use).established is None


@pytest.mark.parametrize("made", [by_hash(spill_over=True), by_hash(spill_over=False, elastic_ips=1)])
def test_hash_without_chance(made: Topology) -> None:
    """A hash decides nothing when connections spill over, or when there is one Elastic IP."""
    limit = 10 * made.nat_gateways[0].elastic_ips
    assert predict(made, limit + 5).established == limit


# ── Usage ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("connections", [0, -1])
def test_no_connections(connections: int) -> None:
    """A burst of no connections is refused with the number that was given."""
    with pytest.raises(UsageError, match=rf"-n {connections}: "):
        predict(shipped("tiny"), connections)


def test_more_connections_than_a_machine_can_count() -> None:
    """A number of connections that no list could hold has a prediction like any other."""
    assert predict(shipped("tiny"), 10**20).established == 30


def test_unknown_names() -> None:
    """An unknown function or server is refused with the known ones."""
    with pytest.raises(UsageError, match="no function 'payment'; known: checkout"):
        predict(shipped("tiny"), 1, source="payment")
    with pytest.raises(UsageError, match="no server 'database'; known: cache"):
        predict(shipped("tiny"), 1, server="database")

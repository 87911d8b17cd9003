"""What a change would break: counted from what limiters hold, on whose way it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.converge.diff import difference
from lab.converge.disruption import Held, breakages, cut_off, sets_to_rebuild
from lab.nodes.build import build
from lab.observe.readings import Reading
from lab.plan.objects import Plan, Standing
from lab.schema.firewall import NetworkAcl
from lab.slots.limiter import Limiter
from lab.topology import NatGateway, Topology
from tests.support.topologies import function, nat_gateway, server, shipped, topology

TWO = {"private-a": "natgw", "private-b": "natgw"}
CHECKOUT = function("checkout", "private-a", "private-b")
BASE = topology(TWO, CHECKOUT, servers=(server(), server("store", 20)), nat_gateways=(nat_gateway(elastic_ips=2),))
HELD = 10


def everywhere(_: Limiter) -> int:
    """Each limiter holds connections."""
    return HELD


def held_in(plan: Plan, count: Callable[[Limiter], int] = everywhere, now_s: float = 0.0) -> Held:
    """What a lab holds; an ENI's connections come from the first addresses of its first fleet."""
    readings = tuple(Reading(each, count(each), 0, 0, None) for each in plan.limiters)
    enis = {each.node: count(each) for each in plan.limiters if each.kind == "hyperplane_eni"}
    paths = {path.eni: path for fleet in reversed(plan.fleets) for path in fleet.paths}
    sources = [paths[eni].first_address + index for eni, number in enis.items() for index in range(number)]
    return Held(plan, readings, lambda: sources, now_s)


def broken(new: Topology, old: Topology = BASE, count: Callable[[Limiter], int] = everywhere) -> dict[str, int]:
    """Node → connections that break."""
    before = build(old, "t")
    after = build(new, "t", before.standing)
    found = breakages(after, difference(before, after), held_in(before, count))
    return {each.node: each.connections for each in found}


def changed(**changes: object) -> Topology:
    """The base with something else."""
    rest = {"servers": (server(), server("store", 20)), "nat_gateways": (nat_gateway(elastic_ips=2),)} | changes
    private, functions = rest.pop("private", TWO), rest.pop("functions", (CHECKOUT,))
    return topology(private, *functions, **rest)  # type: ignore[arg-type,misc]


def with_gateway(old: Topology, name: str) -> Topology:
    """The same, with a second NAT gateway in the public subnet."""
    second = NatGateway(name=name, subnet=old.nat_gateways[0].subnet)
    vpc = old.vpcs[0].model_copy(update={"nat_gateways": (*old.nat_gateways, second)})
    return old.model_copy(update={"vpc": vpc})


@pytest.mark.parametrize(
    "new",
    [
        changed(nat_gateways=(nat_gateway(elastic_ips=8),)),
        changed(servers=(server(), server("store", 20), server("shop", 30))),
        changed(functions=(CHECKOUT, function("search", "private-a"))),
        changed(private=TWO | {"private-c": "natgw"}, functions=(function("checkout", *TWO, "private-c"),)),
        with_gateway(BASE, "blue"),
        changed(hyperplane_eni={"connection_limit": HELD, "idle_timeout": 400}),
        changed(nat_gateways=(nat_gateway(elastic_ips=2, spill_over=False, eip_selection="hash"),)),
    ],
    ids=(
        "Elastic IPs",
        "a server",
        "a function",
        "a subnet",
        "a NAT gateway",
        "a limit, a timeout",
        "how EIPs are chosen",
    ),
)
def test_what_breaks_nothing(new: Topology) -> None:
    """Additions, limits that hold what is held, longer timeouts, and choices for new connections."""
    assert broken(new) == {}


@pytest.mark.parametrize(
    ("new", "nodes"),
    [
        (changed(servers=(server(),)), {"srv-store": 4 * HELD}),
        (changed(functions=(function("checkout", "private-b"),)), {"eni-private-a": HELD}),
        (changed(hyperplane_eni={"connection_limit": 9}), {"eni-private-a": HELD, "eni-private-b": HELD}),
        (changed(hyperplane_eni={"idle_timeout": 5}), {"eni-private-a": HELD, "eni-private-b": HELD}),
        (changed(servers=(server(port=444), server("store", 20))), {"srv-cache": 4 * HELD}),
        (
            changed(servers=(server(number=11), server("store", 20))),
            {"inet": 2 * HELD, "natgw": 2 * HELD, "srv-cache": 2 * HELD},
        ),
    ],
    ids=("a server", "a subnet", "a limit", "a timeout", "a port", "an address"),
)
def test_what_breaks(new: Topology, nodes: dict[str, int]) -> None:
    """What goes, shrinks or moves breaks what is held there, and nothing of that when nothing is held."""
    found = broken(new)
    assert found.keys() == nodes.keys()
    assert broken(new, count=lambda _: 0) == {}


def test_a_server_behind_an_endpoint() -> None:
    """An endpoint without a limit counts nothing: the ENIs know where their connections go."""
    vpce = {"name": "cache", "subnet": "private-a", "server": "cache"}
    old, new = (changed(servers=(server(port=port), server("store", 20)), endpoints=(vpce,)) for port in (443, 444))
    before = build(old, "t")
    after = build(new, "t", before.standing)
    to_cache = next(each.address for each in before.servers if each.name == "cache")
    held = held_in(before, lambda each: HELD if each.kind == "hyperplane_eni" else 0)
    held = replace(held, destinations=lambda: [to_cache] * 3 + [IPv4Address("203.0.113.20")] * 5)
    found = breakages(after, difference(before, after), held)
    assert [(each.node, each.connections) for each in found] == [("srv-cache", 3)]


def test_a_server_with_a_limit_of_its_own_on_each_eni() -> None:
    """A connection that an ENI and a NAT gateway count for its server is one connection."""
    old, new = (
        changed(servers=(server(port=port), server("store", 20)), hyperplane_eni={"per_destination": True})
        for port in (443, 444)
    )
    found = broken(new, old, lambda each: 7 if each.protocol == "tcp" and each.eip in (None, "198.51.100.1") else 0)
    assert found == {"srv-cache": 14}


def test_a_server_that_counts_its_connections() -> None:
    """What a NAT gateway and the server's front count is one connection, and a larger limit breaks none."""
    keeps = server(max_connections=20)
    old = changed(servers=(keeps, server("store", 20)))
    fewer, other = ({**keeps, **changes} for changes in ({"max_connections": 9}, {"port": 444}))
    assert broken(changed(servers=({**keeps, "max_connections": 30}, server("store", 20))), old) == {}
    assert broken(changed(servers=(fewer, server("store", 20))), old) == {"srv-cache": HELD}
    tcp = broken(changed(servers=(other, server("store", 20))), old, lambda each: 3 if each.kind == "server" else 0)
    assert tcp["srv-cache"] == 3


def test_another_gateway_breaks_what_takes_the_route() -> None:
    """A subnet whose default route changes: the connections of its own ENI."""
    gateways = (nat_gateway("natgw"), nat_gateway("blue"))
    old, new = (
        changed(private={"private-a": name, "private-b": "natgw"}, nat_gateways=gateways) for name in ("natgw", "blue")
    )
    assert broken(new, old) == {"vpc": HELD}


def test_a_function_that_shares_its_eni() -> None:
    """Of two functions on one ENI, the one that goes breaks its own connections: it holds none here."""
    old = changed(functions=(CHECKOUT, function("search", "private-a")))
    assert broken(BASE, old, lambda each: HELD if each.node == "eni-private-a" else 0) == {"fn-search": HELD}


def test_a_vpc_that_goes_breaks_what_comes_from_it() -> None:
    """Of several VPCs behind a Transit Gateway, the one that goes takes its own ENIs' connections, and no other's."""
    both = shipped("transit_gateway")
    orders, _, egress = both.vpcs
    (gateway,) = both.transit_gateways
    attachments = tuple(attachment for attachment in gateway.attachments if attachment.vpc != "payments")
    parts = {
        "listed_vpcs": (orders, egress),
        "transit_gateways": (gateway.model_copy(update={"attachments": attachments}),),
        "functions": both.functions[:1],
    }

    def held_by(node: str) -> Callable[[Limiter], int]:
        return lambda limiter: HELD if limiter.node == node else 0

    assert broken(both.model_copy(update=parts), both, held_by("eni-orders")) == {}
    gone = broken(both.model_copy(update=parts), both, held_by("eni-payments"))
    assert gone["eni-payments"] == gone["vpc-payments"] == HELD
    assert "eni-orders" not in gone


def test_an_elastic_ip_after_its_end_breaks_nothing() -> None:
    """What has been drained holds slots until they time out, and no packet of theirs passes."""
    leases = build(BASE, "t").standing.leases
    old = build(changed(nat_gateways=(nat_gateway(),)), "t", Standing(leases, {"natgw": {2: 1000}}))
    new = build(changed(nat_gateways=(nat_gateway(),)), "t", Standing(leases))
    found = difference(old, new)
    assert breakages(new, found, held_in(old, now_s=1000)) == ()
    before = {each.node: each for each in breakages(new, found, held_in(old, now_s=999))}
    assert before.keys() == {"natgw", "inet"}


def test_a_set_that_holds_more_is_made_anew() -> None:
    """A set is rebuilt when it holds more than its new size, and only then."""
    old = build(BASE, "t")
    for limit, sets in ((HELD, {}), (HELD - 1, {"lab-t-eni-private-a": {"connections"}})):
        new = build(changed(hyperplane_eni={"connection_limit": limit}), "t", old.standing)
        held = held_in(old, lambda each: HELD if each.node == "eni-private-a" else 0)
        assert sets_to_rebuild(new, held) == sets


def test_in_words() -> None:
    """One line: the node, what would happen, how many connections that concerns."""
    old = build(BASE, "t")
    new = build(changed(hyperplane_eni={"connection_limit": 9}), "t", old.standing)
    first, _ = breakages(new, difference(old, new), held_in(old))
    assert str(first) == "eni-private-a: the limit of its connections would be 9: 10 connections held"
    new = build(changed(hyperplane_eni={"idle_timeout": 9}), "t", old.standing)
    first, _ = breakages(new, difference(old, new), held_in(old))
    assert str(first) == "eni-private-a: its timeouts would be shorter: 10 connections held"


def test_held_addresses() -> None:
    """The reader that the tests use puts as many connections as it says behind each ENI."""
    plan = build(BASE, "t")
    assert len(held_in(plan).sources()) == 2 * HELD
    assert IPv4Address("100.65.0.0") in held_in(plan).sources()


def with_acl(old: Topology, **directions: list[dict[str, object]]) -> Topology:
    """The same, with a network ACL for its first private subnet."""
    acl = NetworkAcl.model_validate({"name": "strict", "subnets": ["private-a"], **directions})
    return old.model_copy(update={"vpc": old.vpcs[0].model_copy(update={"network_acls": (acl,)})})


ALLOW: list[dict[str, object]] = [{"rule": 100, "action": "allow"}]
HTTPS: list[dict[str, object]] = [{"rule": 100, "action": "allow", "protocol": "tcp", "ports": "443"}]
HALF: list[dict[str, object]] = [{"rule": 100, "action": "allow", "protocol": "tcp", "ports": "1024-32767"}]


def test_a_network_acl_that_drops_answers_breaks_what_is_held() -> None:
    """It is stateless: answers that it forgets end connections that are there; one that allows them breaks nothing."""
    held = held_in(build(BASE, "t"))
    (found,) = cut_off(BASE, with_acl(BASE, egress=HTTPS), held)
    assert (found.node, found.connections) == ("vpc", HELD)
    assert "strict" in found.what
    assert cut_off(BASE, with_acl(BASE, egress=ALLOW, ingress=ALLOW), held) == ()
    assert cut_off(BASE, with_acl(BASE, egress=HTTPS), held_in(build(BASE, "t"), lambda _: 0)) == ()


def test_a_network_acl_before_an_endpoint() -> None:
    """An endpoint without a limit counts nothing: the ENIs know how many connections the network ACL would drop."""
    vpce = {"name": "cache", "subnet": "pub-natgw", "server": "cache"}
    old = changed(endpoints=(vpce,))
    before = build(old, "t")
    to_cache = next(each.address for each in before.servers if each.name == "cache")
    held = held_in(before, lambda each: HELD if each.kind == "hyperplane_eni" else 0)
    (found,) = cut_off(old, with_acl(old, egress=HTTPS), replace(held, destinations=lambda: [to_cache] * 3))
    assert (found.node, found.connections) == ("vpc", 3)
    assert cut_off(old, with_acl(old, egress=HTTPS), held) == ()


def test_a_network_acl_that_drops_more_than_before() -> None:
    """Where it dropped some and drops all, the rest breaks; as strict as before, or less strict, it breaks nothing."""
    some = with_acl(BASE, egress=HTTPS, ingress=HALF)
    held = held_in(build(some, "t"))
    (found,) = cut_off(some, with_acl(BASE, egress=HTTPS), held)
    assert found.connections == HELD
    assert cut_off(some, some, held) == ()
    assert cut_off(with_acl(BASE, egress=HTTPS), some, held) == ()


def test_a_network_acl_that_drops_one_protocol() -> None:
    """Flows over UDP break when UDP is denied, and no connection over TCP does."""
    without_udp = with_acl(BASE, egress=[{"rule": 90, "action": "deny", "protocol": "udp"}, *ALLOW], ingress=ALLOW)
    plan = build(BASE, "t")
    for protocol, broken_nodes in (("udp", ["vpc"]), ("tcp", [])):
        kinds = ("any", protocol)
        held = held_in(plan, lambda each, kinds=kinds: HELD if each.protocol in kinds else 0)  # type: ignore[misc]
        assert [each.node for each in cut_off(BASE, without_udp, held)] == broken_nodes


def test_a_network_acl_and_limits_for_each_destination() -> None:
    """What the ENI holds to another server, and what another ENI holds, is not cut off with it."""
    old = changed(hyperplane_eni={"per_destination": True})
    held = held_in(build(old, "t"), lambda each: {"cache": 2, "store": HELD}.get(each.destination or "", 0))
    only_store = [ALLOW[0] | {"to": "203.0.113.20/32"}]
    (found,) = cut_off(old, with_acl(old, egress=only_store, ingress=ALLOW), held)
    assert found.connections == 2


def test_a_network_acl_that_goes_breaks_nothing() -> None:
    """What it dropped passes then."""
    strict = with_acl(BASE, egress=ALLOW, ingress=ALLOW)
    assert not broken(BASE, strict)
    assert cut_off(strict, BASE, held_in(build(strict, "t"))) == ()

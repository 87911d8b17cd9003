"""From one plan to another: what is added, changed and removed, and that nothing else is touched."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

from hypothesis import given
import pytest

from lab.converge.diff import Difference, difference, drained_by, elastic_ips, union
from lab.converge.summary import nodes_added, nodes_removed, summary
from lab.nodes.build import build
from lab.plan.objects import (
    Address,
    BridgePort,
    Certificate,
    ConntrackMax,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    Plan,
    Process,
    Route,
    Ruleset,
    Standing,
    Sysctl,
    VethPair,
)
from lab.slots.nft import sets_lost
from lab.topology import Topology
from tests.support.examples import examples
from tests.support.topologies import function, nat_gateway, server, shipped, topologies, topology

ONE = topology({"private-a": "natgw"}, function("checkout", "private-a"))
MORE_EIPS = topology(
    {"private-a": "natgw"}, function("checkout", "private-a"), nat_gateways=(nat_gateway(elastic_ips=3),)
)
MORE_SUBNETS = topology({"private-a": "natgw", "private-b": "natgw"}, function("checkout", "private-a", "private-b"))
MORE_SERVERS = topology(
    {"private-a": "natgw"}, function("checkout", "private-a"), servers=(server(), server("store", 20))
)
MORE_FUNCTIONS = topology(
    {"private-a": "natgw"}, function("checkout", "private-a"), function("search", "private-a", groups=("web",))
)
LARGER = topology(
    {"private-a": "natgw"}, function("checkout", "private-a"), hyperplane_eni={"connection_limit": 64_999}
)


def step(old: Topology, new: Topology) -> tuple[Plan, Plan, Difference]:
    """A lab of one topology that becomes another."""
    before = build(old, "t")
    after = build(new, "t", before.standing)
    return before, after, difference(before, after)


def applied(old: Plan, found: Difference) -> set[KernelObject]:
    """The objects that are there after a difference, as the kernel lets things go with others."""
    there = set(old.objects)
    for item in found.added:
        assert item not in there
        there.add(item)
    for change in found.changed:
        there.remove(change.old)
        there.add(change.new)
    for item in found.removed:
        there.remove(item)
        there -= {each for each in there if goes_with(each, item)}
    return there


def goes_with(item: KernelObject, other: KernelObject) -> bool:
    """Whether the kernel removes an object with another."""
    if isinstance(other, Namespace):
        if isinstance(item, VethPair):
            return other.name in (item.a.namespace, item.b.namespace)
        return getattr(item, "namespace", None) == other.name
    if isinstance(other, VethPair) and isinstance(item, Address | Neighbour | Route | BridgePort):
        ends = {(port.namespace, port.interface) for port in (other.a, other.b)}
        return (item.namespace, item.interface) in ends
    return False


@examples(150)
@given(topologies(), topologies())
def test_a_difference_leads_from_one_plan_to_the_other(old: Topology, new: Topology) -> None:
    """Whatever two topologies are: adding, changing and removing gives the objects of the second, and no others."""
    before, after, found = step(old, new)
    assert applied(before, found) == set(after.objects)


@examples(50)
@given(topologies(), topologies())
def test_what_stays_of_a_union(old: Topology, new: Topology) -> None:
    """A plan of both has every namespace and file of each, so that `down` by it leaves nothing."""
    before, after, _ = step(old, new)
    both = union(before, after)
    assert {*before.namespaces, *after.namespaces} == set(both.namespaces)
    assert len(both.namespaces) == len(set(both.namespaces))
    assert sum(isinstance(each, ConntrackMax) for each in both.objects) == 1


@examples(50)
@given(topologies())
def test_the_same_topology_is_no_change(made: Topology) -> None:
    """With what stood before, the same topology has the same plan."""
    before, after, found = step(made, made)
    assert before == after
    assert not found


@examples(50)
@given(topologies(), topologies())
def test_there_and_back(old: Topology, new: Topology) -> None:
    """A lab that changes and changes back is made of the same kinds of objects in the same namespaces."""
    before, after, _ = step(old, new)
    again = build(old, "t", after.standing)
    assert again.namespaces == before.namespaces
    assert sorted(type(each).__name__ for each in again.objects) == sorted(
        type(each).__name__ for each in before.objects
    )


@pytest.mark.parametrize("new", [MORE_EIPS, MORE_SUBNETS, MORE_SERVERS, MORE_FUNCTIONS, LARGER])
def test_an_addition_touches_nothing_that_is_there(new: Topology) -> None:
    """More Elastic IPs, subnets, servers, functions, connections: nothing is removed, and no set forgets anything."""
    _, _, found = step(ONE, new)
    assert found
    assert found.removed == ()
    for old, changed in found.changed:
        assert isinstance(changed, Ruleset | ConntrackMax | Process)
        if isinstance(old, Ruleset) and isinstance(changed, Ruleset):
            assert sets_lost(old.table, changed.table) == frozenset()
        if isinstance(changed, Process):
            assert changed.verb == "resolver"


def test_a_node_goes_with_all_that_is_its_own() -> None:
    """Of a server that goes, its files, link and namespace are removed, and not one by one what goes with those."""
    _, _, found = step(MORE_SERVERS, ONE)
    store = "lab-t-srv-store"
    assert found.namespaces_gone == {store}
    assert [type(item) for item in found.removed] == [File, File, Certificate, VethPair, Namespace]


def test_a_certificate_follows_the_hostname() -> None:
    """A server that is called otherwise gets another certificate in place of the one that it has."""
    renamed = topology(
        {"private-a": "natgw"}, function("checkout", "private-a"), servers=(server(hostname="renamed.example.com"),)
    )
    _, _, found = step(ONE, renamed)
    changed = [(old, new) for old, new in found.changed if isinstance(old, Certificate)]
    (old, new), *others = changed
    assert isinstance(new, Certificate)
    assert (old.path, new.hostname, others) == (new.path, "renamed.example.com", [])


def test_a_certificate_has_the_address_of_an_endpoint() -> None:
    """Where the resolver answers with an endpoint's address the certificate has it as well as the server's own."""
    plan = build(shipped("privatelink"))
    known_as = {each.name: each.address for each in plan.servers}
    certificates = [each for each in plan.objects if isinstance(each, Certificate)]
    assert all(known_as[Path(each.path).stem] in each.addresses for each in certificates)
    assert any(len(each.addresses) == 2 for each in certificates)


def test_a_route_changes_in_place() -> None:
    """A subnet that is routed through another NAT gateway has one route that changes, none that comes or goes."""
    gateways = (nat_gateway("blue"), nat_gateway("green"))
    old, new = (
        topology({"private": name}, function("checkout", "private"), nat_gateways=gateways)
        for name in ("blue", "green")
    )
    _, _, found = step(old, new)
    (change,) = found.changed
    assert isinstance(change.old, Route)
    assert isinstance(change.new, Route)
    assert (change.old.interface, change.new.interface) == ("nat-blue", "nat-green")
    assert found.added == found.removed == ()
    assert said(build(old, "t"), build(new, "t")) == [
        "~ lab-t-vpc: route default via 10.0.1.4 dev nat-green table 1000"
    ]


def test_a_longer_timeout_is_a_setting() -> None:
    """A timeout that changes is a change of settings and rules."""
    _, _, found = step(
        ONE, topology({"private-a": "natgw"}, function("checkout", "private-a"), hyperplane_eni={"idle_timeout": 400})
    )
    assert {type(each.new) for each in found.changed} == {Sysctl, Ruleset}


# ── Elastic IPs that drain ──────────────────────────────────────────────────────────────────────────────────


def drained(old: Plan, new: Topology, *addresses: str, now_s: float = 1000.5) -> Standing:
    """What stays when these Elastic IPs hold connections."""
    return drained_by(old, new, lambda limiter: 7 if limiter.eip in addresses else 0, now_s)


def test_elastic_ips_by_number() -> None:
    """Each Elastic IP of a plan is known by its gateway and its number."""
    assert elastic_ips(build(MORE_EIPS)) == {
        IPv4Address("198.51.100.1"): ("natgw", 1),
        IPv4Address("198.51.100.2"): ("natgw", 2),
        IPv4Address("198.51.100.3"): ("natgw", 3),
    }


def test_a_removed_elastic_ip_that_holds_connections_drains() -> None:
    """It has the gateway's drain timeout; one that holds nothing just goes, one that stays is not asked."""
    old = build(MORE_EIPS)
    assert drained(old, ONE, "198.51.100.1", "198.51.100.3").draining == {"natgw": {3: 1350}}
    assert drained(old, ONE).draining == {}
    assert drained(old, MORE_EIPS, "198.51.100.3").draining == {}


def test_draining_has_one_end() -> None:
    """Another change meanwhile does not put it off; after it the address goes, whatever it holds."""
    old = build(MORE_EIPS)
    draining = build(ONE, None, drained(old, ONE, "198.51.100.3"))
    assert [each.eip for each in draining.limiters if each.drains] == ["198.51.100.3"] * 2
    later = drained(draining, ONE, "198.51.100.3", now_s=1349)
    assert later.draining == {"natgw": {3: 1350}}
    assert build(ONE, None, later) == draining
    assert drained(draining, ONE, "198.51.100.3", now_s=1350).draining == {}
    assert drained(draining, MORE_EIPS, "198.51.100.3").draining == {}


def test_a_gateway_that_goes_drains_nothing() -> None:
    """What it held is judged with its namespace."""
    gateways = (nat_gateway("blue"), nat_gateway("green", elastic_ips=2))
    old = build(topology({"private": "blue"}, function("checkout", "private"), nat_gateways=gateways))
    new = topology({"private": "blue"}, function("checkout", "private"), nat_gateways=gateways[:1])
    assert drained(old, new, "198.51.100.2", "198.51.100.3").draining == {}


# ── In words ────────────────────────────────────────────────────────────────────────────────────────────────


def said(old: Plan, new: Plan) -> list[str]:
    """The summary of a change."""
    return list(summary(old, new, difference(old, new), lambda at: f"{at} s"))


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (MORE_EIPS, ["+ Elastic IP 198.51.100.2 of natgw", "+ Elastic IP 198.51.100.3 of natgw"]),
        (MORE_SUBNETS, ["+ Hyperplane ENI eni-private-b (10.0.2.4)"]),
        (MORE_SERVERS, ["+ server srv-store (203.0.113.20)", "~ resolver: restarted, DNS paused for a moment"]),
        (LARGER, ["~ eni-private-a: 65,000 → 64,999 connections"]),
        (ONE, []),
    ],
)
def test_summary(new: Topology, lines: list[str]) -> None:
    """A change in a few lines: what is new, and what is different."""
    before, after, _ = step(ONE, new)
    assert said(before, after) == lines
    assert {each.name for each in nodes_added(before, after)} == {each.name for each in nodes_removed(after, before)}


def test_summary_of_a_full_server() -> None:
    """Another limit, and another answer of a server that is full."""
    old = shipped("server_full")
    servers = (old.servers[0].model_copy(update={"max_connections": 80, "when_full": "ignore"}),)
    before, after, _ = step(old, old.model_copy(update={"servers": servers}))
    assert said(before, after)[:2] == [
        "~ srv-orders-db: 40 → 80 connections",
        "~ srv-orders-db: when full, close → ignore",
    ]


def test_summary_of_draining() -> None:
    """An Elastic IP that is removed says until when; then it is gone, or has come back."""
    old = build(MORE_EIPS)
    draining = build(ONE, None, drained(old, ONE, "198.51.100.3"))
    assert said(old, draining) == [
        "- Elastic IP 198.51.100.3 of natgw: takes no new connections; those that it has are cut at 1350 s",
        "- Elastic IP 198.51.100.2 of natgw",
    ]
    assert said(draining, build(ONE, None, Standing(draining.standing.leases))) == [
        "- Elastic IP 198.51.100.3 of natgw, drained"
    ]
    assert "+ Elastic IP 198.51.100.3 of natgw: takes new connections again" in said(
        draining, build(MORE_EIPS, None, Standing(draining.standing.leases))
    )

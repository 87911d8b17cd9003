"""Who ended a burst's connections, by the counters of the NAT nodes on the way or by the clients alone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from lab.burst.accounts import assemble
from lab.burst.endings import Counted, Endings, NodeEndings, by_clients, by_kernel, may_have_forgotten
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.capacity.predict import predict
from lab.kernel.generator_events import Ended
from lab.kernel.interfaces import InterfaceCount
from lab.nodes.build import build
from lab.nodes.resolver.model import Resolver
from lab.observe.readings import FirstRefusal, Reading
from lab.observe.samples import NodeSample, Sample
from lab.paths.routes import paths
from tests.support.bursts import seen, with_tcp
from tests.support.topologies import shipped
from traffic.spec import Close

TOPOLOGY = shipped("one_subnet")
PLAN = build(TOPOLOGY)
PATHS = paths(TOPOLOGY, "checkout", "cache")
ENI, NAT = "eni-private-a", "natgw"
NOBODY = InterfaceCount(0, 0, 0, 0)
BEGAN_S = 1000.0


def node(active: int = 0, first_age_s: float | None = None, **counters: int) -> NodeSample:
    """What a node has counted."""
    first = None if first_age_s is None else FirstRefusal(first_age_s, IPv4Address("10.0.1.4"), 536)
    return NodeSample(counters, {}, active, NOBODY, NOBODY, first_reset=first)


def counted(
    eni: NodeSample, nat: NodeSample, eni_before: NodeSample | None = None, after: Sample | None = None
) -> Counted:
    """Of a burst of 10 s, between these samples."""
    before = Sample(BEGAN_S, {ENI: eni_before or node(), NAT: node()})
    held = Sample(BEGAN_S + 10, {ENI: eni, NAT: nat})
    return Counted(PATHS, PLAN.nat_nodes, before, held, after or held, BEGAN_S)


def test_a_reset_by_the_nat_gateway_is_not_the_server_s() -> None:
    """It passes the ENI from the servers' side as a server's does; the NAT gateway tells the two apart."""
    eni = node(reset_by_server=5, connections_established=7, connections_closed=7)
    nat = node(reset_by_server=2, reset_here=3, connections_established=7, connections_closed=4, first_age_s=4.0)
    assert by_kernel(counted(eni, nat)) == Endings(
        reset_by_server=2, nodes=(NodeEndings(NAT, "nat_gateway", 3, 3, 350, 0, 6.0),)
    )
    assert counted(eni, nat).reset_to_clients == 5


def test_each_connection_counts_once() -> None:
    """FINs pass both nodes and count at the first; what was there before the burst does not count."""
    eni = node(closed_by_server=7, closed_by_client=4)
    nat = node(closed_by_server=6, closed_by_client=3)
    assert by_kernel(counted(eni, nat, node(closed_by_server=2, closed_by_client=1))) == Endings(
        closed_by_server=5, closed_by_client=3
    )


def test_what_clients_close_in_the_end_counts() -> None:
    """Only theirs: the other numbers are those from before."""
    after = Sample(BEGAN_S + 11, {ENI: node(closed_by_client=9, closed_by_server=1), NAT: node()})
    ended = by_kernel(counted(node(closed_by_client=2), node(), after=after))
    assert (ended.closed_by_client, ended.closed_by_server) == (9, 0)


def test_resets_of_other_connections_are_not_idle_timeouts() -> None:
    """As many as fell idle at most; the rest it did not know for another reason."""
    nat = node(reset_here=3, connections_established=9, connections_closed=5, active=3)
    (forgot,) = by_kernel(counted(node(), nat)).nodes
    assert (forgot.reset, forgot.idle_timeouts, forgot.reset_as_idle) == (3, 1, 1)


def test_idle_timeouts_from_before_are_not_the_burst_s() -> None:
    """Also where nothing gave a reason to look for new ones, so that the second sample has none at all."""
    before = Sample(BEGAN_S, {ENI: node(), NAT: node(connections_established=5, connections_closed=2)})
    for active in (1, 6):  # looked for; and not, so that all that was established counts as active
        nat = node(connections_established=8, connections_closed=2, active=active)
        seen_then = replace(counted(node(), nat), before=before)
        expected = 2 if active == 1 else 0
        assert sum(each.idle_timeouts for each in by_kernel(seen_then).nodes) == expected


@pytest.mark.parametrize(
    ("close", "expected"),
    [
        ("fin", Endings(closed_by_client=5, closed_by_server=3, reset_by_server=2, account="clients")),
        ("reset", Endings(reset_by_client=5, closed_by_server=3, reset_by_server=2, account="clients")),
    ],
)
def test_outside_the_vpc_the_clients_account_is_all_there_is(close: Close, expected: Endings) -> None:
    """No NAT node is on the way."""
    tcp = with_tcp(seen(8), reset=2, closed_by_server=3).tcp
    assert by_clients(tcp, Ended(closed=5), close) == expected


@pytest.mark.parametrize(
    ("at_first", "kernel", "at_last", "differ"),
    [(3, 3, 3, False), (1, 2, 3, False), (3, 2, 3, True), (3, 4, 3, True)],
)
def test_both_accounts_of_what_the_server_closed(at_first: int, kernel: int, at_last: int, *, differ: bool) -> None:
    """The kernel is asked between the clients' two counts; outside of them the accounts differ."""
    clients = with_tcp(seen(8), closed_by_server=at_first)
    observation = Observation(
        clients=clients,
        readings=(),
        ended=Ended(closed_by_server=at_last),
        counted=counted(node(closed_by_server=kernel), node()),
    )
    result = assemble("one-subnet", Load(8), Resolver(), predict(TOPOLOGY, 8), observation)
    assert bool(result.disagreements) is differ
    assert result.tcp.closed_by_server == at_last


@pytest.mark.parametrize(("lasted_s", "packets", "looks"), [(10, 0, False), (10, 1, True), (351, 0, True)])
def test_when_idle_timeouts_are_looked_for(lasted_s: float, packets: int, *, looks: bool) -> None:
    """Once a timeout of 350 s may be over, or a packet has come of a connection that a node did not know."""
    before = Sample(BEGAN_S, {NAT: node()})
    now = Sample(BEGAN_S + lasted_s, {NAT: node(invalid_packets=packets)})
    assert may_have_forgotten(PLAN.nat_nodes, before, now) is looks


@pytest.mark.parametrize(("fell_idle", "differ"), [(3, False), (2, True)])
def test_slots_of_idle_connections_are_free_again(fell_idle: int, *, differ: bool) -> None:
    """Of 8 connections that the clients have, 5 hold a slot of the NAT gateway: it has forgotten the other 3."""
    limiter = next(each for each in PLAN.limiters if each.node == NAT and each.protocol == "tcp")
    nat = node(connections_established=8, active=8 - fell_idle)
    observation = Observation(
        clients=seen(8), readings=(Reading(limiter, 5, 0, 0, None),), counted=counted(node(), nat)
    )
    result = assemble("one-subnet", Load(8), Resolver(), predict(TOPOLOGY, 8), observation)
    assert bool(result.disagreements) is differ


def test_what_ends_during_the_hold_counts() -> None:
    """A connection that was reset while the others were held was not established to the end."""
    observation = Observation(
        clients=seen(8), readings=(), ended=Ended(reset=2), counted=counted(node(reset_by_server=2), node())
    )
    tcp = assemble("one-subnet", Load(8), Resolver(), predict(TOPOLOGY, 8), observation).tcp
    assert (tcp.established, tcp.reset) == (6, 2)
    assert replace(tcp, established=8, reset=0) == seen(8).tcp

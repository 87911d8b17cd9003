"""The name server's place and quota: what they mean for the plan, the prediction, the two accounts and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lab.burst.accounts import assemble
from lab.burst.load import Load
from lab.burst.observation import Observation
from lab.burst.result import BurstResult
from lab.capacity.predict import predict
from lab.diagnosis.verdict import judge
from lab.nodes.build import build
from lab.nodes.resolver.model import Resolver
from lab.plan.objects import DropCounter, File, Plan, Ruleset, VethPair
from lab.schema.drops import DropCount
from lab.topology import Topology, scaled
from tests.support.bursts import ENI_A, burst_result, reading, seen
from tests.support.network import Network, spec
from tests.support.topologies import function, shipped, topology
from traffic.clients.reports import result
from traffic.result import DnsCount, RingCount, UnansweredCount

BEHIND = Resolver(location="vpc")


def two_enis(**resolver: Any) -> Topology:
    """Two ENIs of 100 connections each, and this name server."""
    return topology(
        {"a": "natgw", "b": "natgw"},
        function("f", "a", "b"),
        service_vpc={"resolver": resolver},
        hyperplane_eni={"connection_limit": 100},
    )


# ── The plan ────────────────────────────────────────────────────────────────────────────────────────────────


def links_of(plan: Plan, namespace: str) -> set[str]:
    """The namespaces at the far ends of a namespace's links."""
    pairs = (each for each in plan.objects if isinstance(each, VethPair))
    ends = ((pair.a.namespace, pair.b.namespace) for pair in pairs)
    return {far for near, far in (*ends, *((b, a) for a, b in ends)) if near == namespace}


def test_in_the_vpc() -> None:
    """Its only port is in the VPC, at an address of its subnet; programs ask there, engines by the ENI."""
    plan = build(two_enis(**{"in": "vpc", "subnet": "b"}))
    assert links_of(plan, "lab-made-resolver") == {"lab-made-vpc"}
    (node,) = (each for each in plan.nodes if each.kind == "resolver")
    (fleet,) = plan.fleets
    assert (str(fleet.resolver_address), fleet.resolver_mac) == (node.addresses[0], None)
    assert node.addresses[0].startswith("10.0.2.")
    texts = [each.text for each in plan.objects if isinstance(each, File)]
    assert f"nameserver {node.addresses[0]}\n" in texts


def test_the_first_subnet() -> None:
    """Without a subnet it is in the first of the VPC's."""
    assert str(build(two_enis(**{"in": "vpc"})).fleets[0].resolver_address) == "10.0.0.4"


def test_no_quota() -> None:
    """By default it has no quota, and drops nothing."""
    assert build(two_enis()).barriers == ()


def test_the_quota_has_a_counter() -> None:
    """The quota has a bucket of a second's packets for each source, at the port's ingress, and counts the rest."""
    plan = build(two_enis(packets_per_second=7))
    assert plan.barriers == (
        DropCounter(
            "resolver",
            "dns_quota",
            "7 packets/s per interface",
            namespace="lab-made-resolver",
            table="resolver",
            counter="over_quota",
            family="netdev",
        ),
    )
    (text,) = (each.text for each in plan.objects if isinstance(each, Ruleset) and "netdev" in each.text)
    assert (
        "update @interfaces { ip saddr limit rate over 7/second burst 7 packets } counter name over_quota drop" in text
    )


def test_scale() -> None:
    """A scaled lab has a scaled quota."""
    assert scaled(shipped("resolver_quota"), 100).service_vpc.resolver.packets_per_second == 10


# ── The prediction ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("connections", "established"), [(99, 99), (100, 100), (101, None), (150, None)])
def test_two_connections_for_each(connections: int, established: int | None) -> None:
    """It is certain that all succeed while each ENI has room for a question and a connection of each."""
    found = predict(two_enis(**{"in": "vpc"}), connections)
    assert found.established == established
    assert (found.unknown is None) == (established is not None)


def test_nothing_left() -> None:
    """Through a full ENI no question passes; those of another, and their connections, do."""
    held = {"eni-a": 100}
    found = predict(two_enis(**{"in": "vpc"}), 20, in_use=lambda scope: held.get(scope.node, 0))
    assert (found.established, found.bottleneck, found.drop_threshold) == (10, "hyperplane_eni", None)


def test_syns_alone_ask_nothing() -> None:
    """A load without questions has all of the ENI for its connections."""
    assert predict(two_enis(**{"in": "vpc"}), 200, look_ups=0).established == 200


@pytest.mark.parametrize(
    ("resolver", "connections", "known"),
    [
        ({"packets_per_second": 100}, 150, True),  # 100 of an environment at most
        ({"packets_per_second": 74}, 150, False),  # 75 each, of the first environment behind each ENI
        ({"in": "vpc", "packets_per_second": 40}, 80, True),
        ({"in": "vpc", "packets_per_second": 39}, 80, False),
    ],
)
def test_more_questions_than_the_quota(resolver: dict[str, Any], connections: int, known: bool) -> None:  # noqa: FBT001
    """Beyond a second's packets of one interface nobody knows: it depends on how fast they come."""
    found = predict(two_enis(**resolver), connections)
    assert (found.established == connections) == known
    assert known or "quota" in (found.unknown or "")


@pytest.mark.parametrize(("look_ups", "known"), [(20, True), (21, False)])
def test_a_look_up_of_two_packets(look_ups: int, known: bool) -> None:  # noqa: FBT001
    """With A and AAAA at once the quota is half as many look-ups, and each takes one connection of the ENI still."""
    found = predict(two_enis(**{"in": "vpc", "packets_per_second": 40}), 2 * look_ups, questions_each=2)
    assert found.established == (2 * look_ups if known else None)
    assert known or "42 questions (A and AAAA of 21 look-ups)" in (found.unknown or "")


@pytest.mark.parametrize(("connections", "known"), [(20, True), (21, True), (41, False)])
def test_look_ups_over_tcp(connections: int, known: bool) -> None:  # noqa: FBT001
    """Beyond the name server's connections of one interface nobody knows; each of two ENIs has its own."""
    found = predict(two_enis(**{"in": "vpc", "truncate": True, "tcp_connections": 20}), connections)
    assert found.established == (connections if known else None)
    assert known or "21 look-ups over TCP" in (found.unknown or "")


def test_a_look_up_over_tcp_takes_two_connections() -> None:
    """Of 100 connections of an ENI a datagram, a connection to the name server and one to the server are three each."""
    topology = two_enis(**{"in": "vpc", "truncate": True})
    assert predict(topology, 66).established == 66
    assert predict(topology, 67).established is None


# ── The accounts ────────────────────────────────────────────────────────────────────────────────────────────


def test_unanswered_questions_are_counted_with_their_repetitions() -> None:
    """A client that hears nothing asks after 0, 1 and 2 s: three unanswered questions of one invocation."""
    network = Network(spec(10, connect_timeout_s=3.0))
    network.mute = True
    network.run(4.0)
    told = result(network.counts, 10, drop_threshold=None, duration_s=4.0, series=(), ring=RingCount(0, 0))
    assert (told.dns, told.unanswered) == (DnsCount(10, 0, 10), UnansweredCount(30, 10))


def failing(stops: tuple[DropCount, ...] = (), resolver: Resolver = BEHIND, packets: int = 3) -> BurstResult:
    """Ten invocations, three without an answer to their one question, which a limiter or a barrier dropped."""
    clients = replace(seen(7, failed=3), unanswered=UnansweredCount(3, 3))
    made = reading(ENI_A, 65_000, packets, packets, (1.0, "100.65.0.0", 536) if packets else None)
    return assemble(
        "t",
        Load(connections=10),
        resolver,
        predict(shipped("resolver_in_vpc"), 10),
        Observation(clients=clients, readings=(made,), first_to_refuse=made if packets else None, stops=stops),
    )


def test_refused_questions_agree() -> None:
    """Three questions unanswered, three refused: the accounts agree, and the ENI is the bottleneck."""
    told = failing()
    assert (told.disagreements, told.bottleneck) == ((), "hyperplane_eni")
    assert "DNS failed for 3 of 10 invocations, because the name server is behind the ENI" in judge(told).explanation[0]


def test_a_lost_question_is_no_refusal() -> None:
    """A question that was neither refused nor answered is a difference between the accounts."""
    assert failing(packets=2).disagreements != ()


def test_beside_the_eni_questions_are_not_compared() -> None:
    """In the service VPC no limiter sees a question; what it refused are SYNs."""
    told = failing(resolver=Resolver(), packets=0)
    assert (told.disagreements, told.bottleneck) == ((), None)
    assert judge(told).headline == "DNS failed for 3 of 10 invocations, and no limit refused their questions"


def test_the_quota_in_words() -> None:
    """The verdict names the quota and what helps."""
    stop = DropCount("resolver", "dns_quota", "1,024 packets/s per interface", dropped_packets=3)
    told = failing((stop,), Resolver(packets_per_second=1024), packets=0)
    verdict = judge(told)
    assert told.disagreements == ()
    assert verdict.headline == "The resolver's quota reached: 1,024 packets/s per interface"
    assert verdict.explanation[0].startswith("DNS failed for 3 of 10 invocations; 3 questions")
    assert "Keep DNS answers" in verdict.remedies[0]


def test_a_limit_beside_the_quota() -> None:
    """Where a limit refused connections, that is the headline, and the quota is told of as well."""
    stop = DropCount("resolver", "dns_quota", "5 packets/s per interface", dropped_packets=3)
    told = failing((stop,))
    assert "eni-private-a" in judge(told).headline
    assert any("more than 5 packets/s per interface" in text for text in judge(told).explanation)


def test_in_the_service_vpc() -> None:
    """The usual sentence stays: DNS succeeds because its name server is in the service VPC."""
    made = reading(ENI_A, 65_000, 6, 3, (1.0, "100.65.0.0", 536))
    told = burst_result(seen(7, 3), made, first=made)
    assert any("in the service VPC" in text for text in judge(told).explanation)

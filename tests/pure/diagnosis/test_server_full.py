"""A full server: the verdict names it whatever its clients see, and remedies are judged by prediction."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.burst.endings import Counted
from lab.burst.load import Load
from lab.burst.result import BurstResult
from lab.diagnosis.remedies import remedies
from lab.diagnosis.verdict import judge
from lab.nodes.build import build
from lab.observe.samples import Sample
from lab.paths.routes import paths
from lab.slots.limiter import WhenFull
from tests.support.bursts import burst_result, reading, seen, with_tcp
from tests.support.topologies import shipped
from traffic.result import EngineResult, InvocationCount

PLAN = build(shipped("server_full"))
ENI, NAT, SERVER = (
    next(each for each in PLAN.limiters if each.kind == kind) for kind in ("hyperplane_eni", "nat_gateway", "server")
)

CLIENTS: dict[WhenFull, EngineResult] = {
    "close": with_tcp(seen(100), closed_by_server=60, open=40),
    "reset": seen(40, refused=60),
    "ignore": seen(40, 60, retransmissions=120),
}
"""Answer of a full server → what 100 clients see of one that keeps 40."""


def burst(when_full: WhenFull) -> BurstResult:
    """100 connections; the server refuses 60, which have passed the ENI and the NAT gateway."""
    held, packets = (100, 180) if when_full == "ignore" else (40, 60)
    full = reading(replace(SERVER, when_full=when_full), 40, packets, 60)
    return burst_result(CLIENTS[when_full], reading(ENI, held), reading(NAT, held), full, first=full)


@pytest.mark.parametrize("when_full", CLIENTS)
def test_both_accounts_agree(when_full: WhenFull) -> None:
    """40 are established and 60 are not, in the clients' account and in the kernel's."""
    result = burst(when_full)
    assert (result.tcp.established, result.invocations.served, result.invocations.failed) == (40, 40, 60)
    assert (result.drop_threshold, result.bottleneck) == (40, "server")
    assert result.disagreements == ()


@pytest.mark.parametrize("load", [Load(100, reuse=True), Load(100, requests_per_connection=1)])
def test_a_request_without_an_answer_has_failed_once(load: Load) -> None:
    """Clients that make requests, any number of them or one, have counted those that the server turned away."""
    full = reading(replace(SERVER, when_full="close"), 40, 60, 60)
    clients = replace(CLIENTS["close"], invocations=InvocationCount(100, 40, 60, 0))
    assert burst_result(clients, full, first=full, load=load).invocations == clients.invocations


@pytest.mark.parametrize("when_full", CLIENTS)
def test_the_verdict_names_the_server(when_full: WhenFull) -> None:
    """Also where no client timed out."""
    assert judge(burst(when_full)).headline == "Server full: orders-db keeps 40 connections"


def test_each_answer_is_told_apart() -> None:
    """What a full server does is in the explanation, and differs."""
    told = {when_full: judge(burst(when_full)).explanation[1] for when_full in CLIENTS}
    assert "closes it at once" in told["close"]
    assert "answers a SYN with a RST" in told["reset"]
    assert "the same as a full Hyperplane ENI" in told["ignore"]


def test_what_clients_do_not_see_is_told() -> None:
    """A client that did not see its FIN, though the server had refused its connection: the accounts differ."""
    full = reading(SERVER, 40, 60, 60)
    clients = with_tcp(CLIENTS["close"], closed_by_server=59)
    result = burst_result(clients, reading(ENI, 41), full, first=full)
    assert result.disagreements == (
        "clients: 59 connections closed by the server; kernel: 60 connections turned away by a full server",
    )


def test_what_was_held_before_takes_room() -> None:
    """The drop threshold is what this burst held: here the server kept ten of another."""
    full = reading(SERVER, 40, 70, 70)
    clients = with_tcp(seen(100), closed_by_server=70, open=30)
    result = burst_result(clients, full, first=full, held_before=(reading(SERVER, 10),))
    assert (result.tcp.established, result.drop_threshold) == (30, 30)


def test_remedies() -> None:
    """More room at the server helps; what helps against the network's limits changes nothing."""
    judged = {each.what: each for each in remedies(shipped("server_full"))}
    assert [what for what, each in judged.items() if each.effect == "nothing"] == [
        "a second Elastic IP for natgw",
        "one more private subnet for checkout, with a Hyperplane ENI of its own",
        "an interface endpoint (PrivateLink) for orders-db",
        "checkout outside the VPC",
    ]
    larger = judged["twice as many connections at orders-db"]
    assert (larger.threshold_before, larger.threshold_after, larger.binds_after) == (40, 80, "server")
    assert [what for what, each in judged.items() if each.effect == "saves"] == [
        "a connection pool before orders-db (RDS Proxy, PgBouncer)",
        "reuse of connections across invocations",
    ]
    spared = judged["reserved concurrency of 40 for checkout"]
    assert (spared.effect, spared.threshold_after, spared.binds_after) == ("throttles", 40, None)


def test_outside_the_vpc_nothing_of_a_vpc_is_proposed() -> None:
    """A function without subnets can have no endpoint, and is not told to leave the VPC."""
    made = shipped("server_full")
    outside = made.model_copy(update={"functions": (made.functions[0].model_copy(update={"subnets": ()}),)})
    assert not [each.what for each in remedies(outside) if "VPC" in each.what or "endpoint" in each.what]


def test_outside_the_vpc_the_server_is_the_first_to_count() -> None:
    """Who ended a connection is read at the first node of its path that tracks it, and at the last."""
    made = shipped("server_full")
    outside = made.model_copy(update={"functions": (made.functions[0].model_copy(update={"subnets": ()}),)})
    ways = paths(outside, "checkout", "orders-db")
    nothing = Sample(0.0, {})
    counted = Counted(ways, build(outside).nat_nodes, nothing, nothing, nothing, 0.0)
    assert counted.first == counted.last == frozenset({"srv-orders-db"})

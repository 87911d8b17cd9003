"""Numbers stay with their owners, whatever comes and goes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.errors import UsageError
from lab.nodes.build import build
from lab.plan.leases import Leases
from lab.plan.objects import Plan, Ruleset, Standing, plan_from_json, plan_to_json
from lab.topology import Subnet, Topology
from tests.support.examples import examples
from tests.support.topologies import function, nat_gateway, server, topologies, topology

POOL = "addresses"


@given(st.lists(st.text(min_size=1, max_size=2), unique=True), st.lists(st.text(min_size=1, max_size=2), unique=True))
def test_owners_keep_their_numbers(before: list[str], after: list[str]) -> None:
    """Who stays keeps the number; who is new gets one that nobody has or had."""
    first = Leases({})
    had = {owner: first.take(POOL, owner, 1000) for owner in before}
    second = Leases(first.given())
    has = {owner: second.take(POOL, owner, 1000) for owner in after}
    assert all(has[owner] == had[owner] for owner in {*before} & {*after})
    new = [has[owner] for owner in after if owner not in had]
    assert len({*has.values()}) == len(has)
    assert not {*new} & {*had.values()}
    assert second.given() == ({POOL: has} if after else {})


def test_lowest_first() -> None:
    """Without a past, owners are numbered in their order."""
    leases = Leases({})
    assert [leases.take(POOL, owner, 3) for owner in "abca"] == [0, 1, 2, 0]


def test_no_number_left() -> None:
    """What has run out says so, and what to do."""
    leases = Leases({POOL: {"gone": 0}})
    with pytest.raises(UsageError, match=r"all 1 numbers .* none is left for new; take the lab down"):
        leases.take(POOL, "new", 1)


@examples(25)
@given(topologies(firewalls=True))
def test_a_plan_stands(made: Topology) -> None:
    """The same topology after itself is the same plan, also from its record."""
    plan = build(made)
    assert plan_from_json(plan_to_json(plan)) == plan
    assert build(made, standing=plan.standing) == plan


def _gateway_rules(plan: Plan) -> str:
    return next(each.text for each in plan.objects if isinstance(each, Ruleset) and "-natgw" in each.namespace)


def test_another_elastic_ip_adds_only() -> None:
    """Every object but the NAT gateway's ruleset stays, and that keeps its sets and their marks."""
    one, two = (
        topology({"a": "natgw"}, function("f", "a"), nat_gateways=(nat_gateway(elastic_ips=count),)) for count in (1, 2)
    )
    before = build(one)
    after = build(two, standing=before.standing)
    gone = [each for each in before.objects if each not in after.objects]
    assert [type(each) for each in gone] == [Ruleset]
    kept = [line for line in _gateway_rules(before).splitlines() if "set eip1" in line or "ct mark set" in line]
    assert kept
    assert not [line for line in kept if line not in _gateway_rules(after)]


def test_what_comes_before_moves_nothing() -> None:
    """A function, subnet, NAT gateway and server before all others in the file take nothing from them."""
    gateways, functions, servers = (nat_gateway(),), (function("f", "a"),), (server(),)
    before = build(topology({"a": "natgw"}, *functions, nat_gateways=gateways, servers=servers))
    wanted = topology(
        {"a": "natgw", "b": "early"},
        function("first", "b", "a"),
        *functions,
        nat_gateways=(nat_gateway("early", elastic_ips=3), *gateways),
        servers=(server("new", 9), *servers),
    )
    wanted = wanted.model_copy(
        update={"vpc": wanted.vpcs[0].model_copy(update={"subnets": _as_before(wanted.subnets)})}
    )
    after = build(wanted, standing=before.standing)
    gone = [each for each in before.objects if each not in after.objects and not isinstance(each, Ruleset)]
    assert {type(each).__name__ for each in gone} <= {"Bridge", "Process", "ConntrackMax"}


def _as_before(subnets: tuple[Subnet, ...]) -> tuple[Subnet, ...]:
    """With the ranges that `a` and its public subnet had."""
    ranges = {"pub-natgw": "10.0.0.0/24", "a": "10.0.1.0/24", "pub-early": "10.0.2.0/24", "b": "10.0.3.0/24"}
    return tuple(type(each).model_validate(each.model_dump() | {"cidr": ranges[each.name]}) for each in subnets)


def test_a_drained_address_takes_nothing_new() -> None:
    """It keeps its set and its tracking, ends at its time, and no new connection starts there."""
    two = topology({"a": "natgw"}, function("f", "a"), nat_gateways=(nat_gateway(elastic_ips=2),))
    one = topology({"a": "natgw"}, function("f", "a"))
    before = build(two)
    after = build(one, standing=replace(before.standing, draining={"natgw": {2: 1_800_000_000}}))
    text = _gateway_rules(after)
    assert "set eip2_cache_tcp" in text
    assert "meta time >= 1800000000 counter name other_packets drop" in text
    assert "goto start_eip2" not in text
    assert [each.eip for each in after.limiters if each.drains] == ["198.51.100.2"] * 2
    assert after.standing == Standing(before.standing.leases, {"natgw": {2: 1_800_000_000}})

"""Every plan holds together: whatever an object refers to is made, before it and in the same namespace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
import re
from typing import NamedTuple, TypeVar, get_args

from hypothesis import given
import pytest

from lab.nodes.build import build
from lab.plan import Plan, describe
from lab.plan.describe import describe_object
from lab.plan.objects import (
    LOCAL_TABLE,
    MAIN_TABLE,
    Address,
    Bridge,
    BridgePort,
    Certificate,
    ConntrackMax,
    File,
    KernelObject,
    Namespace,
    Neighbour,
    Route,
    Rule,
    Ruleset,
    VethPair,
    plan_from_json,
    plan_to_json,
)
from lab.topology import Topology, load
from tests.support.examples import examples
from tests.support.topologies import each_shipped, shipped, topologies

T = TypeVar("T")


class At(NamedTuple):
    """An interface in a namespace."""

    namespace: str
    interface: str


# ── The checker ─────────────────────────────────────────────────────────────────────────────────────────────


def interfaces(plan: Plan) -> set[At]:
    """Every interface that the plan makes, or that a namespace is born with."""
    made = {At(name, "lo") for name in plan.namespaces}
    for each in plan.objects:
        if isinstance(each, VethPair):
            made |= {At(port.namespace, port.interface) for port in (each.a, each.b)}
        if isinstance(each, Bridge):
            made.add(At(each.namespace, each.interface))
    return made


def references(plan: Plan) -> Iterator[tuple[KernelObject, At]]:
    """Every interface that an object takes to be there."""
    for each in plan.objects:
        if isinstance(each, Address | Neighbour | Route) and each.interface is not None:
            yield each, At(each.namespace, each.interface)
        if isinstance(each, Rule) and each.input_interface is not None:
            yield each, At(each.namespace, each.input_interface)
        if isinstance(each, BridgePort):
            yield from ((each, At(each.namespace, name)) for name in (each.bridge, each.interface))


def reachable_macs(plan: Plan) -> dict[At, frozenset[str]]:
    """Interface → MAC addresses on its link: the peer's, or those behind the peer's bridge."""
    peers = {}
    for each in plan.objects:
        if isinstance(each, VethPair):
            peers[At(each.a.namespace, each.a.interface)] = each.b
            peers[At(each.b.namespace, each.b.interface)] = each.a
    bridges: dict[At, list[At]] = {}
    for each in _only(plan, BridgePort):
        bridges.setdefault(At(each.namespace, each.bridge), []).append(At(each.namespace, each.interface))
    bridged: dict[At, frozenset[str]] = {}
    for ports in bridges.values():
        bridged |= dict.fromkeys(ports, frozenset(peers[port].mac for port in ports if port in peers))
    return {at: bridged.get(At(peer.namespace, peer.interface), frozenset((peer.mac,))) for at, peer in peers.items()}


def link_faults(plan: Plan) -> Iterator[str]:
    """Objects on interfaces that nobody makes, next hops without a neighbour, neighbours out of reach."""
    made, macs = interfaces(plan), reachable_macs(plan)
    neighbours = {(each.namespace, each.interface, each.address): each for each in _only(plan, Neighbour)}
    yield from (f"{each}: no interface {at}" for each, at in references(plan) if at not in made)
    for route in _only(plan, Route):
        if route.via and (route.namespace, route.interface, route.via) not in neighbours:
            yield f"{route}: no neighbour {route.via}"
    for neighbour in neighbours.values():
        if neighbour.mac not in macs.get(At(neighbour.namespace, neighbour.interface), ()):
            yield f"{neighbour}: nobody on the link has that MAC address"


def table_faults(plan: Plan) -> Iterator[str]:
    """Rules that look up a table without routes, tables that no rule looks up."""
    routed = {(each.namespace, each.table) for each in _only(plan, Route)}
    looked_up = {(each.namespace, each.table) for each in _only(plan, Rule)}
    yield from (f"{each}: no route in it" for each in looked_up - routed if each[1] != MAIN_TABLE)
    # A subnet without network interfaces has a route table all the same.
    exempt = {each.namespace for each in plan.nodes if each.kind == "vpc"}
    unused = {each for each in routed - looked_up if each[1] not in (MAIN_TABLE, LOCAL_TABLE)}
    yield from (f"{each}: no rule" for each in unused if each[0] not in exempt)


def namespace_faults(plan: Plan) -> Iterator[str]:
    """Objects in namespaces that nobody makes, nodes without one."""
    known = set(plan.namespaces)
    named = {str(each.namespace) for each in plan.objects if hasattr(each, "namespace")}
    named |= {port.namespace for each in _only(plan, VethPair) for port in (each.a, each.b)}
    named |= {each.namespace for each in plan.nodes} | {each.namespace for each in plan.limiters}
    named |= {each.namespace for each in plan.fleets}
    yield from (f"no namespace {name}" for name in named - known)
    yield from (f"{name} is no node's" for name in known - {each.namespace for each in plan.nodes})


def ruleset_faults(plan: Plan) -> Iterator[str]:
    """Rulesets that name what they do not define, limiters whose numbers the kernel does not keep."""
    texts = {each.namespace: each.text for each in _only(plan, Ruleset)}
    for namespace, text in texts.items():
        for what, named in _NAMED_IN_NFT.items():
            missing = set(re.findall(named, text)) - set(re.findall(rf"^  {what} (\w+) {{", text, re.MULTILINE))
            yield from (f"{namespace}: no {what} {name}" for name in sorted(missing))
    for each in plan.limiters:
        text = texts[each.namespace]
        sets = (each.slots, each.refused, each.first_refused)
        counters = (each.refused_packets, each.refused_connections)
        key = _WHOLE_TUPLE if each.protocol == "any" else _SOURCE_ONLY
        wanted = [f"table ip {each.table} {{", f"set {each.slots} {{ type {key}; size {each.limit};"]
        wanted += [f"set {name} {{" for name in (*sets, each.asked, each.growing) if name] + [
            f"counter {name} {{" for name in counters
        ]
        yield from (f"{each}: no {line}" for line in wanted if line not in text)


_WHOLE_TUPLE = "ipv4_addr . inet_service . ipv4_addr . inet_service . inet_proto"
_SOURCE_ONLY = "ipv4_addr . inet_service"
_NAMED_IN_NFT = {"chain": r"(?:goto|jump) (\w+)", "set": r"@(\w+)", "counter": r"counter name (\w+)"}


def fleet_faults(plan: Plan) -> Iterator[str]:
    """Fleets that are told to send to a MAC address that is not on their link."""
    macs = reachable_macs(plan)
    for fleet in plan.fleets:
        wanted = {*filter(None, [fleet.resolver_mac]), *(path.gateway_mac for path in fleet.paths)}
        missing = wanted - macs.get(At(fleet.namespace, fleet.interface), frozenset())
        yield from (f"{fleet.source}: {mac} is out of reach" for mac in missing)


def faults(plan: Plan) -> list[str]:
    """Everything that does not hold together."""
    twice = [f"{each}: twice" for each, count in Counter(plan.objects).items() if count > 1]
    judges = (namespace_faults, link_faults, table_faults, ruleset_faults, fleet_faults)
    return twice + [fault for judge in judges for fault in judge(plan)]


def _only(plan: Plan, kind: type[T]) -> Iterator[T]:
    return (each for each in plan.objects if isinstance(each, kind))


# ── Plans ───────────────────────────────────────────────────────────────────────────────────────────────────


@each_shipped
def test_shipped(path: Path) -> None:
    """The plan of each topology that ships holds together."""
    assert faults(build(load(path))) == []


@examples(25)
@given(topologies(firewalls=True))
def test_any(made: Topology) -> None:
    """The plan of any topology holds together, is made in the order of its stages, and survives JSON."""
    plan = build(made)
    assert faults(plan) == []
    stages = [get_args(KernelObject).index(type(each)) for each in plan.objects]
    assert stages == sorted(stages)
    assert plan_from_json(plan_to_json(plan)) == plan


@each_shipped
def test_json(path: Path) -> None:
    """A plan comes back from JSON as it was, and says the same."""
    plan = build(load(path))
    back = plan_from_json(plan_to_json(plan))
    assert back == plan
    assert describe(back) == describe(plan)


@each_shipped
def test_same_input_same_plan(path: Path) -> None:
    """A topology that is read twice has one plan, to the letter."""
    assert plan_to_json(build(load(path))) == plan_to_json(build(load(path)))


def test_every_kind_is_described() -> None:
    """A plan has every kind of object, and each has a line of its own in the dry run."""
    plan = build(shipped("two_subnets"))
    assert {type(each) for each in plan.objects} == set(get_args(KernelObject))
    first_lines = [describe_object(each).partition("\n")[0] for each in plan.objects]
    assert len(set(first_lines)) == len(plan.objects)
    assert set(first_lines) <= set(describe(plan).splitlines())


def test_sealed() -> None:
    """No object is outside the lab's namespaces but the namespaces, one host-wide setting and the lab's own files."""
    plan = build(shipped("two_subnets"))
    outside = [each for each in plan.objects if not hasattr(each, "namespace") and not isinstance(each, VethPair)]
    assert {type(each) for each in outside} == {ConntrackMax, Namespace, File, Certificate}
    assert all(each.path.startswith("/etc/netns/lab-two-subnets-") for each in _only(plan, File))


# ── The checker itself ──────────────────────────────────────────────────────────────────────────────────────

TINY = build(shipped("tiny"))


def without(plan: Plan, kind: type, **values: object) -> Plan:
    """A plan that lacks the first object of a kind that has these values."""
    gone = next(
        each
        for each in plan.objects
        if isinstance(each, kind) and all(getattr(each, name) == value for name, value in values.items())
    )
    return replace(plan, objects=tuple(each for each in plan.objects if each != gone))


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (replace(TINY, objects=(*TINY.objects, TINY.objects[-1])), "twice"),
        (without(TINY, Namespace), "no namespace lab-tiny-svc"),
        (without(TINY, VethPair), "no interface"),
        (without(TINY, Bridge), "no interface"),
        (without(TINY, BridgePort), "nobody on the link"),
        (without(TINY, Neighbour, address=IPv4Address("100.64.1.1")), "no neighbour"),
        (without(TINY, Route, table=1000), "no route in it"),
        (without(TINY, Rule, table=1000), "no rule"),
        (replace(TINY, fleets=(replace(TINY.fleets[0], resolver_mac="02:00"),)), "out of reach"),
        (replace(TINY, limiters=(replace(TINY.limiters[0], slots="nothing"),)), "no set nothing"),
        (replace(TINY, limiters=(replace(TINY.limiters[0], limit=21),)), "size 21"),
        (replace(TINY, nodes=TINY.nodes[1:]), "is no node's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_checker(broken: Plan, fault: str) -> None:
    """The checker sees what is missing."""
    assert any(fault in found for found in faults(broken))

"""What is lost of a lab, in words; and which objects of a plan the kernel's lists have."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from lab.kernel.losses import Loss, told
from lab.kernel.present import Links, has
from lab.plan.objects import (
    MAIN_TABLE,
    Address,
    Bridge,
    BridgePort,
    KernelObject,
    Namespace,
    Neighbour,
    Port,
    Process,
    Route,
    Rule,
    Sysctl,
    VethPair,
)

NATGW, VPC = "lab-x-natgw", "lab-x-vpc"
MAC = "02:00:00:00:00:01"
ADDRESS = Address(NATGW, "inet", IPv4Interface("203.0.113.1/32"))
NEIGHBOUR = Neighbour(NATGW, "inet", IPv4Address("203.0.113.9"), MAC)
ROUTE = Route(NATGW, IPv4Network("10.0.0.0/16"), "vpc", IPv4Address("10.0.0.1"))
BLACKHOLE = Route(NATGW, IPv4Network("10.9.0.0/16"), type="blackhole")
RULE = Rule(NATGW, 100, 7, IPv4Network("10.0.1.0/24"), None, "vpc", "tcp", 53)
BRIDGE, BRIDGE_PORT = Bridge(NATGW, "br"), BridgePort(NATGW, "br", "vpc", MAC)
PAIR = VethPair(Port(NATGW, "vpc", MAC), Port(VPC, "natgw", MAC))
FORWARDING = Sysctl(NATGW, "net.ipv4.ip_forward", "1")

WHOLE = Links(
    names=frozenset({"lo", "br", "inet", "vpc"}),
    up=frozenset({"lo", "br", "inet", "vpc"}),
    bridges={"vpc": "br"},
    addresses=frozenset({("inet", ADDRESS.address)}),
    neighbours=frozenset({("inet", NEIGHBOUR.address, MAC)}),
    routes=frozenset(
        {
            (MAIN_TABLE, ROUTE.destination, "unicast", "inet", IPv4Address("203.0.113.9")),  # a user's own
            (MAIN_TABLE, ROUTE.destination, "unicast", "vpc", ROUTE.via),
            (MAIN_TABLE, BLACKHOLE.destination, "blackhole", None, None),
        }
    ),
    rules=frozenset({(100, 7, RULE.source, None, "vpc", 6, 53)}),
)
OBJECTS: tuple[KernelObject, ...] = (ADDRESS, NEIGHBOUR, ROUTE, BLACKHOLE, RULE, BRIDGE, BRIDGE_PORT)


@pytest.mark.parametrize("item", OBJECTS, ids=lambda item: f"{item.kind}-{getattr(item, 'type', '')}")
def test_an_object_is_there_or_is_not(item: KernelObject) -> None:
    """Each kind is found in the lists of a whole namespace, and in none of one that has lost all."""
    nothing = Links(frozenset(), frozenset(), {}, frozenset(), frozenset(), frozenset(), frozenset())

    assert has(WHOLE, item)
    assert not has(nothing, item)


@pytest.mark.parametrize(
    "item",
    [
        replace(ADDRESS, address=IPv4Interface("203.0.113.1/24")),
        replace(NEIGHBOUR, mac="02:00:00:00:00:02"),
        replace(ROUTE, via=IPv4Address("10.0.0.2")),
        replace(ROUTE, interface="inet"),
        replace(ROUTE, table=7),
        replace(BLACKHOLE, type="unicast"),
        replace(RULE, table=8),
        replace(RULE, input_interface="inet"),
        replace(RULE, destination_port=443),
        replace(BRIDGE_PORT, bridge="other"),
    ],
)
def test_what_is_there_otherwise_is_lost(item: KernelObject) -> None:
    """An object in whose place another one is does not count as there."""
    assert not has(WHOLE, item)


def lost(item: KernelObject, text: str = "it") -> Loss:
    """An object that is gone."""
    return Loss(item, text)


def test_a_namespace_takes_its_links_with_it() -> None:
    """What went with a namespace is not listed beside it, but a process that must be started again is."""
    process = Process(NATGW, "server", "{}")
    found = [lost(Namespace(NATGW), f"namespace {NATGW}"), lost(process, "the process"), lost(PAIR, "interface natgw")]

    assert told(found) == [f"namespace {NATGW}", "the process"]


@pytest.mark.parametrize("down", [None, (NATGW, "vpc")])
def test_an_interface_takes_what_is_on_it(down: tuple[str, str] | None) -> None:
    """Routes, addresses and neighbours of an interface that is gone or set down are not listed beside it."""
    pair = Loss(PAIR, "interface vpc", down=down)

    assert told([pair, lost(ROUTE), lost(ADDRESS, "address of inet"), lost(BRIDGE_PORT)]) == [
        "interface vpc",
        "address of inet",
    ]


def test_many_of_a_kind_are_a_number() -> None:
    """One has its own words; several of a kind in a namespace are counted, and those of another apart from them."""
    several = [lost(replace(ROUTE, destination=IPv4Network((IPv4Address(number << 24), 8)))) for number in range(1, 4)]
    other = lost(replace(ROUTE, namespace=VPC), "the route to 10.0.0.0/16")

    assert told([*several, other, lost(FORWARDING, "setting x")]) == [
        f"3 routes in {NATGW}",
        "the route to 10.0.0.0/16",
        "setting x",
    ]

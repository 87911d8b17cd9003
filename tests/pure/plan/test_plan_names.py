"""Names of namespaces and interfaces, and MAC addresses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.nodes.build import build
from lab.plan import Plan
from lab.plan.names import INTERFACE_NAME_MAX, interface_name, mac_address, namespace_name
from lab.plan.objects import Port, VethPair
from lab.topology import Topology
from tests.support.examples import examples
from tests.support.topologies import shipped, topologies

node_names = st.from_regex(r"[a-z]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True)


def ports(plan: Plan) -> list[Port]:
    """Both ends of every veth pair."""
    return [port for each in plan.objects if isinstance(each, VethPair) for port in (each.a, each.b)]


@given(node_names)
def test_interface_names_fit(node: str) -> None:
    """Any node's name makes an interface name that Linux takes, the same one each time."""
    name = interface_name(node)
    assert 0 < len(name) <= INTERFACE_NAME_MAX
    assert not set(name) & set("/: \t")
    assert name == interface_name(node)


@given(node_names)
def test_short_names_stay(node: str) -> None:
    """An interface is called exactly as the node at its far end where that name fits."""
    assert (interface_name(node) == node) == (len(node) <= INTERFACE_NAME_MAX)


def test_long_names_differ() -> None:
    """Long names that share their beginning or their end stay apart, and keep a head that one can read."""
    long = ["eni-private-subnet-a", "eni-private-subnet-b", "eni-private-subnet-aa", "eni-another-private-subnet-a"]
    names = [interface_name(each) for each in long]
    assert len(set(names)) == len(long)
    assert all(name.startswith(node[:8]) for name, node in zip(names, long, strict=True))


@given(node_names, node_names)
def test_mac_addresses_are_private(namespace: str, interface: str) -> None:
    """A MAC address is a locally administered one of a single host, the same one each time."""
    mac = mac_address(namespace, interface)
    octets = bytes.fromhex(mac.replace(":", ""))
    assert len(octets) == 6
    assert octets[0] & 0b11 == 0b10
    assert mac == mac_address(namespace, interface)


@examples(25)
@given(topologies())
def test_mac_addresses_are_distinct(topology: Topology) -> None:
    """No two ports share a MAC address: within a lab, and between two labs of one topology."""
    macs = [port.mac for lab in ("one", "two") for port in ports(build(topology, lab))]
    assert len(set(macs)) == len(macs)


@examples(25)
@given(topologies())
def test_interfaces_are_distinct(topology: Topology) -> None:
    """No namespace has two interfaces of one name."""
    interfaces = [(port.namespace, port.interface) for port in ports(build(topology))]
    assert len(set(interfaces)) == len(interfaces)


def test_namespaces_say_lab_and_node() -> None:
    """`ip netns` shows `lab-NAME-NODE`, under the name that the lab was given."""
    assert namespace_name("two-subnets", "eni-private-a") == "lab-two-subnets-eni-private-a"
    plan = build(shipped("two_subnets"), "other")
    assert plan.lab == "other"
    assert all(name.startswith("lab-other-") for name in plan.namespaces)
    assert "lab-other-natgw" in plan.namespaces


def test_labs_share_nothing() -> None:
    """Two labs of one topology have no namespace, and so no interface and no file, in common."""
    one, two = (build(shipped("tiny"), lab) for lab in ("one", "two"))
    assert not set(one.namespaces) & set(two.namespaces)

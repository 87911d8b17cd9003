"""Who gets which address."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.nodes.build import build
from lab.plan import addressing
from lab.plan.layout import Layout, lay_out
from lab.plan.objects import Address
from lab.schema.limits import EIP_POOL
from lab.topology import Topology
from tests.support.examples import examples
from tests.support.topologies import function, nat_gateway, topologies, topology

SERVICE_VPC = IPv4Network("100.64.0.0/10")

service_vpcs = st.sampled_from([SERVICE_VPC, IPv4Network("172.16.0.0/12"), IPv4Network("11.0.0.0/8")])


def addresses(layout: Layout) -> Iterator[IPv4Address]:
    """What each node calls its own."""
    yield layout.resolver.address
    yield from (each.address for each in layout.fleets)
    yield from (address for each in layout.enis for address in (each.service_address, *each.addresses))
    for nat in layout.nat_gateways:
        yield from (nat.address, *(each.address for each in nat.elastic_ips))
    yield from _of_servers(layout)
    yield addressing.INTERNET_ROUTER


def _of_servers(layout: Layout) -> set[IPv4Address]:
    """Servers with ports of their own may have the same."""
    return {address for each in layout.servers for address in each.own_addresses}


@examples(25)
@given(topologies())
def test_no_address_twice(made: Topology) -> None:
    """No two nodes share an address, on an interface or in the layout, unless they are servers."""
    laid_out = lay_out(made, "t")
    layout = list(addresses(laid_out))
    assert len(set(layout)) == len(layout)
    held = {(each.address.ip, each.namespace) for each in build(made).objects if isinstance(each, Address)}
    held = {pair for pair in held if pair[0] not in _of_servers(laid_out)}
    assert len({address for address, _ in held}) == len(held)


@examples(25)
@given(topologies())
def test_environments_have_networks_of_their_own(made: Topology) -> None:
    """The networks of (function, ENI) pairs overlap neither each other nor the segment, and stay in the VPC."""
    layout = lay_out(made, "t")
    cidr = made.service_vpc.cidr
    networks = [network for fleet in layout.fleets for pair in fleet.pairs for network in (pair.rings, pair.sockets)]
    assert not any(a.overlaps(b) for a, b in combinations([*networks, addressing.segment(cidr)], 2))
    assert all(network.subnet_of(cidr) for network in networks)


@given(service_vpcs, st.integers(0, 100))
def test_halves_of_a_pair(cidr: IPv4Network, index: int) -> None:
    """A pair's halves are equally large neighbours: one for the rings, one for real sockets."""
    rings, sockets = addressing.pair_networks(cidr, index)
    assert rings.num_addresses == sockets.num_addresses == 4096
    assert rings.supernet() == sockets.supernet()


@examples(25)
@given(topologies())
def test_aws_keeps_its_addresses(made: Topology) -> None:
    """No ENI and no NAT gateway takes one of the five addresses that AWS keeps of each subnet."""
    layout = lay_out(made, "t")
    taken = [(each.eni.subnet.cidr, address) for each in layout.enis for address in each.addresses]
    taken += [(each.subnet.cidr, each.address) for each in layout.nat_gateways]
    for cidr, address in taken:
        assert 4 <= int(address) - int(cidr.network_address) < cidr.num_addresses - 1


def test_smallest_subnet() -> None:
    """A /28 has eleven addresses to give, from .4 to .14, and its router has .1."""
    subnet = IPv4Network("10.0.0.16/28")
    assert addressing.subnet_host(subnet, 0) == IPv4Address("10.0.0.20")
    assert addressing.subnet_host(subnet, 10) == IPv4Address("10.0.0.30")
    assert addressing.subnet_router(subnet) == IPv4Address("10.0.0.17")


def test_elastic_ips() -> None:
    """Elastic IPs are TEST-NET-2, which the loader keeps free of everything else, dealt in file order."""
    gateways = (nat_gateway("a", elastic_ips=2), nat_gateway("b", elastic_ips=3))
    made = topology({"p": "a", "q": "b"}, function("f", "p", "q"), nat_gateways=gateways)
    a, b = (each.elastic_ips for each in lay_out(made, "t").nat_gateways)
    assert [str(each.address) for each in (*a, *b)] == [f"198.51.100.{n}" for n in range(1, 6)]
    assert all(each.address in EIP_POOL for each in (*a, *b))


def test_resolver() -> None:
    """The resolver has the service VPC's base address plus two, as in every VPC."""
    assert addressing.resolver_address(SERVICE_VPC) == IPv4Address("100.64.0.2")


@pytest.mark.parametrize("count", [1, 254])
def test_segment_has_room(count: int) -> None:
    """Resolver, ENIs and fleets have addresses of their own in the segment, up to 254 of each kind."""
    taken = [addressing.resolver_address(SERVICE_VPC)]
    taken += [addressing.gateway_address(SERVICE_VPC, index) for index in range(count)]
    taken += [addressing.fleet_address(SERVICE_VPC, index) for index in range(count)]
    assert len(set(taken)) == 2 * count + 1
    assert set(taken) <= set(addressing.segment(SERVICE_VPC).hosts())

"""A gateway endpoint: routes to a service's addresses past the NAT gateway, in the tables of some subnets.

The prefix list is the addresses of the topology's servers of the service. The VPC's router asks it before the default
route, for what comes from network interfaces in those subnets; what a Transit Gateway brings does not get it. The
endpoint translates nothing and tracks nothing: "the source IPv4 addresses from instances in your affected subnets as
received by Amazon S3 change from public IPv4 addresses to private IPv4 addresses" (AWS PrivateLink guide, "Gateway
endpoints for Amazon S3"). So the way back is by the private address, through the same endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.nodes.gateway_endpoint import KIND
from lab.plan.addressing import INTERNET_ROUTER, subnet_router
from lab.plan.layout import GatewayEndpointLayout, Layout
from lab.plan.objects import Neighbour, NodePlan, Route, Rule

__all__ = ["plan"]

_BEFORE_DEFAULT_ROUTES = 60
"""The priority of the rules that lead to prefix lists, in VPC routers."""
_FIRST_TABLE = 10_000
_WAY_BACK, _FIRST_TABLE_BACK = 1_000, 20_000
"""Priorities and routing tables of the ways back, in the internet's router."""


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all gateway endpoints."""
    for endpoint in layout.gateway_endpoints:
        yield from _ports(endpoint)
        yield from _prefix_lists(layout, endpoint)
        yield from _way_back(layout, endpoint)
        yield NodePlan(endpoint.node, KIND.name, endpoint.namespace, (), alias=endpoint.settings.name)


def _ports(endpoint: GatewayEndpointLayout) -> Iterator[parts.Part]:
    cidr = endpoint.vpc.cidr
    yield from parts.router(endpoint.namespace)
    yield parts.veth(endpoint.link)
    yield parts.veth(endpoint.internet)
    yield from parts.through(endpoint.link, cidr, subnet_router(cidr))
    yield from parts.through(endpoint.internet, parts.ANYWHERE, INTERNET_ROUTER)


def _prefix_lists(layout: Layout, endpoint: GatewayEndpointLayout) -> Iterator[parts.Part]:
    at = endpoint.link.far
    for address in endpoint.prefixes:
        yield Neighbour(at.namespace, at.interface, address, endpoint.link.near.mac)
    for subnet in endpoint.subnets if endpoint.prefixes else ():
        table = _FIRST_TABLE + layout.subnet_index(subnet)
        for address in endpoint.prefixes:
            yield Route(at.namespace, parts.host(address), at.interface, table=table)
        for interface in layout.interfaces(endpoint.vpc):
            if interface.subnet == subnet and interface.clients and not interface.of_other_vpcs:
                port = interface.link.far.interface
                yield Rule(at.namespace, _BEFORE_DEFAULT_ROUTES, table, input_interface=port)


def _way_back(layout: Layout, endpoint: GatewayEndpointLayout) -> Iterator[parts.Part]:
    at = endpoint.internet.far
    yield parts.own_address(at, INTERNET_ROUTER)
    for server in endpoint.servers:
        index = layout.server_index(server)
        table = _FIRST_TABLE_BACK + index
        yield Rule(
            at.namespace,
            _WAY_BACK + index,
            table,
            destination=endpoint.vpc.cidr,
            input_interface=layout.server(server).uplink.far.interface,
        )
        for subnet in endpoint.subnets:
            via = subnet_router(subnet.cidr)
            yield Neighbour(at.namespace, at.interface, via, endpoint.internet.near.mac)
            yield Route(at.namespace, subnet.cidr, at.interface, via, table=table)

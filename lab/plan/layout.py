"""The resolved topology: every node with its namespace, ports and addresses, before any kernel object is named.

Three forms, one after the other: what the user wrote (`lab.topology`), what it resolves to (here), what the kernel
is asked to make (`lab.plan.nodes`). Node modules read this layout and never each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from lab.plan import addressing
from lab.plan.names import interface_name, mac_address, namespace_name
from lab.plan.objects import Port
from lab.topology import Eni, Function, NatGateway, Server, Subnet, Topology, hyperplane_enis
from lab.topology.names import (
    INTERNET,
    RESOLVER,
    SERVICE_VPC,
    VPC,
    node_name_of_function,
    node_name_of_nat_gateway,
    node_name_of_server,
)

__all__ = [
    "EniLayout",
    "FleetLayout",
    "Layout",
    "Link",
    "NatLayout",
    "Pair",
    "ResolverLayout",
    "ServerLayout",
    "lay_out",
]

FIRST_PAIR_TABLE = 1000
"""Routing tables of (function, ENI) pairs, in the fleets."""


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair seen from a node: its own port, and the port at the far end."""

    near: Port
    far: Port


@dataclass(frozen=True, slots=True)
class Pair:
    """A function's execution environments behind one of its ENIs."""

    function: str
    eni: str
    subnet: str
    index: int
    rings: IPv4Network
    sockets: IPv4Network

    @property
    def network(self) -> IPv4Network:
        """Both halves in one."""
        return self.rings.supernet()

    @property
    def table(self) -> int:
        """The fleet's routing table for this pair."""
        return FIRST_PAIR_TABLE + self.index


@dataclass(frozen=True, slots=True)
class FleetLayout:
    """A function's fleet of execution environments."""

    function: Function
    node: str
    namespace: str
    service: Link
    address: IPv4Address
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class ResolverLayout:
    """The service VPC's name server."""

    node: str
    namespace: str
    service: Link
    address: IPv4Address


@dataclass(frozen=True, slots=True)
class EniLayout:
    """A Hyperplane ENI: one port in the service VPC, one in a customer subnet."""

    eni: Eni
    node: str
    namespace: str
    service: Link
    service_address: IPv4Address
    vpc: Link
    address: IPv4Address
    """The private address in the subnet: what the customer's VPC sees as the source of every connection."""
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class NatLayout:
    """A NAT gateway: one port in its public subnet, one to the internet, and its Elastic IPs."""

    gateway: NatGateway
    subnet: Subnet
    node: str
    namespace: str
    vpc: Link
    address: IPv4Address
    internet: Link
    elastic_ips: tuple[IPv4Address, ...]


@dataclass(frozen=True, slots=True)
class ServerLayout:
    """A remote server."""

    server: Server
    node: str
    namespace: str
    internet: Link


@dataclass(frozen=True, slots=True)
class Layout:
    """All nodes of a lab. `service`, `router` and `internet` are the namespaces that others plug into."""

    lab: str
    topology: Topology
    service: str
    router: str
    internet: str
    resolver: ResolverLayout
    fleets: tuple[FleetLayout, ...]
    enis: tuple[EniLayout, ...]
    nat_gateways: tuple[NatLayout, ...]
    servers: tuple[ServerLayout, ...]

    def fleet(self, function: str) -> FleetLayout:
        """A function's fleet."""
        return next(fleet for fleet in self.fleets if fleet.function.name == function)

    def eni(self, node: str) -> EniLayout:
        """The ENI of that name."""
        return next(eni for eni in self.enis if eni.node == node)

    def nat_gateway(self, name: str) -> NatLayout:
        """The NAT gateway that a route's target names."""
        return next(nat for nat in self.nat_gateways if nat.gateway.name == name)


def lay_out(topology: Topology, lab: str) -> Layout:
    """Resolve a topology under a lab's name."""
    return _Surveyor(topology, lab).layout()


class _Surveyor:
    """Gives out namespaces, ports and addresses; each is taken once, in file order."""

    def __init__(self, topology: Topology, lab: str) -> None:
        self._topology = topology
        self._lab = lab
        self._service_vpc = topology.service_vpc.cidr
        self._subnets = {subnet.name: subnet for subnet in topology.vpc.subnets}
        self._hosts = {subnet.name: addressing.subnet_hosts(subnet.cidr) for subnet in topology.vpc.subnets}
        self._elastic_ips = addressing.elastic_ips()
        self._enis = hyperplane_enis(topology)
        self._pairs = tuple(self._all_pairs())

    def layout(self) -> Layout:
        topology = self._topology
        return Layout(
            lab=self._lab,
            topology=topology,
            service=self._namespace(SERVICE_VPC),
            router=self._namespace(VPC),
            internet=self._namespace(INTERNET),
            resolver=self._resolver(),
            fleets=tuple(self._fleet(index, each) for index, each in enumerate(topology.functions)),
            enis=tuple(self._eni(index, each) for index, each in enumerate(self._enis)),
            nat_gateways=tuple(self._nat_gateway(each) for each in topology.vpc.nat_gateways),
            servers=tuple(self._server(each) for each in topology.servers),
        )

    def _namespace(self, node: str) -> str:
        return namespace_name(self._lab, node)

    def _port(self, node: str, far: str) -> Port:
        namespace, interface = self._namespace(node), interface_name(far)
        return Port(namespace, interface, mac_address(namespace, interface))

    def _link(self, node: str, far: str) -> Link:
        return Link(near=self._port(node, far), far=self._port(far, node))

    def _all_pairs(self) -> Iterator[Pair]:
        index = 0
        for eni in self._enis:
            for function in eni.functions:
                rings, sockets = addressing.pair_networks(self._service_vpc, index)
                yield Pair(function, eni.name, eni.subnet.name, index, rings, sockets)
                index += 1

    def _resolver(self) -> ResolverLayout:
        return ResolverLayout(
            node=RESOLVER,
            namespace=self._namespace(RESOLVER),
            service=self._link(RESOLVER, SERVICE_VPC),
            address=addressing.resolver_address(self._service_vpc),
        )

    def _fleet(self, index: int, function: Function) -> FleetLayout:
        node = node_name_of_function(function.name)
        pairs = [pair for pair in self._pairs if pair.function == function.name]
        return FleetLayout(
            function=function,
            node=node,
            namespace=self._namespace(node),
            service=self._link(node, SERVICE_VPC),
            address=addressing.fleet_address(self._service_vpc, index),
            pairs=tuple(sorted(pairs, key=lambda pair: function.subnets.index(pair.subnet))),
        )

    def _eni(self, index: int, eni: Eni) -> EniLayout:
        return EniLayout(
            eni=eni,
            node=eni.name,
            namespace=self._namespace(eni.name),
            service=self._link(eni.name, SERVICE_VPC),
            service_address=addressing.eni_address(self._service_vpc, index),
            vpc=self._link(eni.name, VPC),
            address=next(self._hosts[eni.subnet.name]),
            pairs=tuple(pair for pair in self._pairs if pair.eni == eni.name),
        )

    def _nat_gateway(self, gateway: NatGateway) -> NatLayout:
        node = node_name_of_nat_gateway(gateway.name)
        return NatLayout(
            gateway=gateway,
            subnet=self._subnets[gateway.subnet],
            node=node,
            namespace=self._namespace(node),
            vpc=self._link(node, VPC),
            address=next(self._hosts[gateway.subnet]),
            internet=self._link(node, INTERNET),
            elastic_ips=tuple(next(self._elastic_ips) for _ in range(gateway.elastic_ips)),
        )

    def _server(self, server: Server) -> ServerLayout:
        node = node_name_of_server(server.name)
        return ServerLayout(
            server=server,
            node=node,
            namespace=self._namespace(node),
            internet=self._link(node, INTERNET),
        )

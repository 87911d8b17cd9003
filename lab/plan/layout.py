"""The resolved topology: every node with its namespace, ports and addresses, before any kernel object is named.

Three forms, one after the other: what the user wrote (`lab.topology`), what it resolves to (here), what the kernel
is asked to make (`lab.plan.nodes`). Node modules read this layout and never each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import cycle, permutations
from typing import Generic, TypeVar, cast

from lab.nodes.client.model import Client
from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.peering.model import Peering
from lab.nodes.transit_gateway.model import TransitGateway
from lab.nodes.vpc.model import Vpc
from lab.plan import addressing
from lab.plan.leases import Leases
from lab.plan.names import interface_name, mac_address, namespace_name
from lab.plan.objects import Port, Standing
from lab.schema.exits import Exit
from lab.schema.limits import (
    BEHIND_ENDPOINTS,
    ENVIRONMENT_BLOCK,
    NAT_EIPS,
    PAIRS,
    RESERVED_SUBNET_ADDRESSES,
    SERVICE_VPC_HEAD,
    TOTAL_EIPS,
)
from lab.schema.names import (
    DEFAULT_SECURITY_GROUPS,
    EGRESS,
    INTERNET,
    RESOLVER,
    SERVICE_VPC,
    front_of_server,
    name_of_further_eni,
    node_name_of_function,
)
from lab.topology import Eni, Function, NatGateway, Server, Subnet, Topology, enis_of, hyperplane_enis
from lab.topology.joined import beyond, joined
from lab.topology.nat_clients import clients_of

__all__ = [
    "AttachmentLayout",
    "ClientLayout",
    "Destination",
    "EgressLayout",
    "ElasticIp",
    "EniLayout",
    "ExitLayout",
    "FleetLayout",
    "FurtherEni",
    "GatewayEndpointLayout",
    "Layout",
    "Link",
    "NatClient",
    "NatLayout",
    "Pair",
    "PeeringLayout",
    "PeeringPort",
    "ResolverLayout",
    "ServerLayout",
    "TransitGatewayLayout",
    "VpcInterface",
    "VpcLayout",
    "lay_out",
]

E = TypeVar("E", bound=Exit)

FIRST_PAIR_TABLE = 1000
"""Routing tables of (function, ENI) pairs, in the fleets."""
_SUBNETS = 4096
"""A /16 has no more of the smallest subnets; the VPC's router has a routing table and a rule for each."""
NAT_CLIENTS = 4096
"""Clients with ports of their own behind one NAT gateway."""
_PORT_SHARES = 0xF000 - 1
"""Connection marks name a client and a destination in 16 bits (`nodes.nat_gateway`)."""
_DESTINATIONS = 0xF000 // (2 * NAT_EIPS) - 1
"""Connection marks name a destination, TCP or UDP, and one of up to 8 Elastic IPs in 16 bits (`nodes.nat_gateway`)."""


@dataclass(frozen=True, slots=True)
class Link:
    """A veth pair seen from a node: its own port, and the port at the far end."""

    near: Port
    far: Port


@dataclass(frozen=True, slots=True)
class Pair:
    """A function's execution environments behind one of its ways out: an ENI, or the service VPC's own egress."""

    function: str
    gateway: str
    index: int
    rings: IPv4Network
    sockets: IPv4Network

    @property
    def network(self) -> IPv4Network:
        """Both blocks of addresses, for rings and for real sockets, as one network."""
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
    """The name server, in the service VPC or in one of the customer's subnets."""

    node: str
    namespace: str
    link: Link
    address: IPv4Address
    subnet: Subnet | None = None
    """None in the service VPC."""


@dataclass(frozen=True, slots=True)
class EgressLayout:
    """The service VPC's own way to the internet, for functions outside the customer's VPC."""

    node: str
    namespace: str
    service: Link
    service_address: IPv4Address
    internet: Link
    address: IPv4Address
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, slots=True)
class FurtherEni:
    """An ENI that appears beside a full one: a name and a private address, in the first one's namespace."""

    name: str
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
    further: tuple[FurtherEni, ...] = ()
    """ENIs that may appear when this one is full, in the order of their appearance."""

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """The private addresses of this ENI and of those that may appear beside it."""
        return (self.address, *(eip.address for eip in self.further))


@dataclass(frozen=True, slots=True)
class ElasticIp:
    """One address of a NAT gateway; one that has been removed drains until a Unix time."""

    number: int
    """From 1: the primary address."""
    address: IPv4Address
    drains_until: int | None = None


@dataclass(frozen=True, slots=True)
class NatClient:
    """A client of a NAT gateway, where each has ports of its own."""

    name: str
    addresses: tuple[IPv4Address, ...]
    number: int
    """From 1, by which its slot sets are called."""
    eip: ElasticIp
    """The one from which its ports are."""


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
    elastic_ips: tuple[ElasticIp, ...]
    clients: tuple[NatClient, ...] = ()
    """With `ports_per_client`, all of its clients; elsewhere none is told apart."""


@dataclass(frozen=True, slots=True)
class ExitLayout(Generic[E]):
    """A way out of the VPC that has a network interface in a subnet."""

    settings: E
    subnet: Subnet
    node: str
    namespace: str
    vpc: Link
    address: IPv4Address
    internet: Link


@dataclass(frozen=True, slots=True)
class ClientLayout:
    """A client that is no function, in a subnet."""

    client: Client
    subnet: Subnet
    node: str
    namespace: str
    vpc: Link
    addresses: tuple[IPv4Address, ...]
    """Those of real sockets."""
    rings: tuple[IPv4Address, ...]
    """As many, of connections whose TCP is the packet engine's: its kernel knows neither them nor their ports."""


@dataclass(frozen=True, slots=True)
class GatewayEndpointLayout:
    """A gateway endpoint: a port at the VPC's router, which only route tables know, and one to the internet."""

    settings: GatewayEndpoint
    vpc: Vpc
    node: str
    namespace: str
    link: Link
    """To the VPC's router."""
    internet: Link
    servers: tuple[Server, ...]
    """Those of its service."""

    @property
    def prefixes(self) -> tuple[IPv4Address, ...]:
        """The prefix list: addresses of the service."""
        return tuple(dict.fromkeys(address for server in self.servers for address in server.addresses))

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """Those in whose route tables it is."""
        return tuple(subnet for subnet in self.vpc.subnets if self.settings.is_routed_from(subnet.name))


@dataclass(frozen=True, slots=True)
class VpcLayout:
    """A customer VPC's router."""

    vpc: Vpc
    node: str
    namespace: str
    service: Link | None = None
    """Its way to the name server in the service VPC; None where no client in the VPC needs it."""


@dataclass(frozen=True, slots=True)
class AttachmentLayout:
    """A Transit Gateway's port in a VPC."""

    vpc: Vpc
    subnet: Subnet
    link: Link
    address: IPv4Address
    is_egress: bool
    """Whether the Transit Gateway's default route leads here, so that connections come in by it."""
    is_two_way: bool
    """Whether connections may come in by it and go out by it: servers are in VPCs."""


@dataclass(frozen=True, slots=True)
class TransitGatewayLayout:
    """A Transit Gateway: one port in each attached VPC."""

    gateway: TransitGateway
    node: str
    namespace: str
    attachments: tuple[AttachmentLayout, ...]


@dataclass(frozen=True, slots=True)
class PeeringPort:
    """A peering's port at one of its VPCs, in none of their subnets."""

    vpc: Vpc
    link: Link


@dataclass(frozen=True, slots=True)
class PeeringLayout:
    """A VPC peering."""

    peering: Peering
    node: str
    namespace: str
    ports: tuple[PeeringPort, ...]


@dataclass(frozen=True, slots=True)
class VpcInterface:
    """A network interface in a subnet, as the VPC's router knows it."""

    subnet: Subnet
    link: Link
    addresses: tuple[IPv4Address, ...]
    clients: bool = False
    """Whether connections come in by it: a Hyperplane ENI, to which nothing connects, or an egress VPC's attachment."""
    of_other_vpcs: bool = False
    """Whether a Transit Gateway brings them."""
    two_way: bool = False
    """Whether they come in by it and go out by it, too."""
    node: str = ""
    """What it belongs to, where its security groups are judged by the VPC's router."""
    ingress_groups: tuple[str, ...] = ()
    """The security groups that say what may connect to it."""
    ingress_drop: str = "ingress"
    """The cause of what these drop."""
    serves: bool = False
    """Whether a server is there, whose answers take the routes of its subnet."""

    @property
    def sends(self) -> bool:
        """Whether what comes in by it takes the routes of its subnet."""
        return self.clients or self.two_way or self.serves


@dataclass(frozen=True, slots=True)
class Destination:
    """An address and port of a server: what AWS calls a unique destination, but for the protocol."""

    server: Server
    address: IPv4Address
    name: str
    """The server's, and from its second address on a number: `cache`, `cache-A2`. No server's name has a capital."""
    index: int
    """By which connection marks go."""
    label: str | None
    """The address as text, where there are several."""


@dataclass(frozen=True, slots=True)
class ServerLayout:
    """A server, on the internet or in a subnet."""

    server: Server
    address: IPv4Address
    """Of one in a subnet that the file gives none, the one that was chosen."""
    node: str
    namespace: str
    port: Link
    """Its own port, and what that is plugged into."""
    uplink: Link
    """The link that ends at the internet or at the VPC's router: the same, or its front's."""
    next_hop: IPv4Address
    """The address of the router at the end of that link."""
    subnet: Subnet | None = None
    """None on the internet."""
    front: str | None = None
    """The namespace that counts its connections; None without a limit."""

    @property
    def turned_away(self) -> tuple[IPv4Address, ...]:
        """A second address for each of its own, where connections beyond its limit are closed; none where none come.

        Not a second port: a packet's port is the same wherever it passes, by which the scapy engine knows it again.
        """
        if not self.front or self.server.refusal != "close":
            return ()
        return tuple(addressing.SECOND_ADDRESS + number for number in range(len(self.server.addresses)))

    @property
    def addresses(self) -> tuple[IPv4Address, ...]:
        """All that it has."""
        return (*self.own_addresses, *self.turned_away)

    @property
    def own_addresses(self) -> tuple[IPv4Address, ...]:
        """Those by which it is known, without the ones for connections that are turned away."""
        return (self.address,) if self.subnet else self.server.addresses


@dataclass(frozen=True, slots=True)
class Layout:
    """All nodes of a lab. `service` and `internet` are the namespaces that others plug into, as into each VPC's."""

    lab: str
    topology: Topology
    service: str
    internet: str
    vpcs: tuple[VpcLayout, ...]
    resolver: ResolverLayout
    fleets: tuple[FleetLayout, ...]
    egress: tuple[EgressLayout, ...]
    """One, or none where every function is in the VPC."""
    enis: tuple[EniLayout, ...]
    nat_gateways: tuple[NatLayout, ...]
    exits: tuple[ExitLayout[Exit], ...]
    """All ways out that are in subnets, NAT gateways included."""
    gateway_endpoints: tuple[GatewayEndpointLayout, ...]
    transit_gateways: tuple[TransitGatewayLayout, ...]
    clients: tuple[ClientLayout, ...]
    peerings: tuple[PeeringLayout, ...]
    servers: tuple[ServerLayout, ...]
    leases: Leases

    def fleet(self, function: str) -> FleetLayout:
        """A function's fleet."""
        return next(fleet for fleet in self.fleets if fleet.function.name == function)

    def server(self, server: Server) -> ServerLayout:
        """A server's place."""
        return next(laid_out for laid_out in self.servers if laid_out.server == server)

    def gateway(self, node: str) -> EniLayout | EgressLayout:
        """The way out of the service VPC that bears this name."""
        gateways: tuple[EniLayout | EgressLayout, ...] = (*self.enis, *self.egress)
        return next(gateway for gateway in gateways if gateway.node == node)

    @property
    def vpcs_of_servers(self) -> tuple[Vpc, ...]:
        """The VPCs that servers are in."""
        subnets = {server.subnet.name for server in self.servers if server.subnet}
        return tuple(vpc for vpc in self.topology.vpcs if subnets & {subnet.name for subnet in vpc.subnets})

    def exits_of(self, kind: type[E]) -> Iterator[ExitLayout[E]]:
        """The ways out of one kind."""
        return (cast("ExitLayout[E]", way_out) for way_out in self.exits if isinstance(way_out.settings, kind))

    def addresses_of(self, server: Server) -> tuple[IPv4Address, ...]:
        """What the resolver answers for a server's name: its own addresses, or those of what stands for it; sorted."""
        standing_for = [exit_.address for exit_ in self.exits if exit_.settings.stands_for == server.name]
        return tuple(sorted(standing_for or self.server(server).own_addresses))

    def destinations(self, *, answered: bool = False) -> Iterator[Destination]:
        """The unique destinations of all servers, at their own or the answered addresses; what stays keeps its name."""
        for server in self.topology.servers:
            pool = f"addresses {'answered for' if answered else 'of'} the server {server.name}"
            addresses = self.addresses_of(server) if answered else self.server(server).own_addresses
            for address in addresses:
                number = self.leases.take(pool, str(address), _DESTINATIONS)
                name = server.name if number == 0 else f"{server.name}-A{number + 1}"
                index = self.leases.take("destinations", name, _DESTINATIONS)
                label = str(address) if len(addresses) > 1 else None
                yield Destination(server, address, name, index, label)

    def interfaces(self, vpc: Vpc) -> Iterator[VpcInterface]:
        """Everything that is plugged into a VPC's router."""
        subnets = {subnet.name for subnet in vpc.subnets}
        for eni in self.enis:
            if eni.eni.subnet.name in subnets:
                yield VpcInterface(eni.eni.subnet, eni.vpc, eni.addresses, clients=True)
        for exit_ in self.exits:
            if exit_.subnet.name in subnets:
                yield VpcInterface(
                    exit_.subnet,
                    exit_.vpc,
                    (exit_.address,),
                    node=exit_.node,
                    ingress_groups=exit_.settings.ingress_groups,
                    ingress_drop="endpoint_ingress",
                )
        for client in self.clients_in(vpc):
            yield VpcInterface(client.subnet, client.vpc, (*client.addresses, *client.rings), clients=True)
        if self.resolver.subnet is not None and self.resolver.subnet.name in subnets:
            yield VpcInterface(self.resolver.subnet, self.resolver.link, (self.resolver.address,))
        for port in self.attachments(vpc):
            yield VpcInterface(
                port.subnet,
                port.link,
                (port.address,),
                clients=port.is_egress,
                of_other_vpcs=True,
                two_way=port.is_two_way,
            )
        for server in self.servers:
            if server.subnet in vpc.subnets:
                yield VpcInterface(
                    server.subnet,
                    server.uplink,
                    (server.address,),
                    node=server.node,
                    ingress_groups=server.server.security_groups,
                    serves=True,
                )

    def addresses_with(self, group: str, vpc: Vpc) -> Iterator[IPv4Network]:
        """The private addresses of all that have a security group, as a rule of a group of a VPC means it.

        `default` is the VPC's own; other names mean one group wherever it is.
        """
        subnets = {subnet.name for subnet in vpc.subnets}
        having = [(eni.eni.security_groups, eni.eni.subnet.name, eni.addresses) for eni in self.enis]
        having += [
            (server.server.security_groups, server.subnet.name, (server.address,))
            for server in self.servers
            if server.subnet is not None
        ]
        having += [
            (client.client.security_groups, client.subnet.name, (*client.addresses, *client.rings))
            for client in self.clients
        ]
        for groups, subnet, addresses in having:
            if group in groups and (group not in DEFAULT_SECURITY_GROUPS or subnet in subnets):
                yield from map(IPv4Network, addresses)

    def peered(self, vpc: Vpc, subnet: Subnet) -> Iterator[tuple[Vpc, PeeringPort]]:
        """The VPCs to which peerings lead from a subnet of a VPC, each with the port in that VPC."""
        for at in self.peerings:
            for near, far in permutations(at.ports):
                if near.vpc == vpc and at.peering.leads(vpc.name, subnet.name, far.vpc.name):
                    yield far.vpc, near

    def prefixes(self, subnet: Subnet) -> tuple[IPv4Address, ...]:
        """The addresses to which a subnet's route table leads by gateway endpoints."""
        return tuple(
            address
            for endpoint in self.gateway_endpoints
            if subnet in endpoint.subnets
            for address in endpoint.prefixes
        )

    def clients_in(self, vpc: Vpc) -> Iterator[ClientLayout]:
        """The clients in the subnets of a VPC."""
        return (client for client in self.clients if client.subnet in vpc.subnets)

    def attachments(self, vpc: Vpc) -> Iterator[AttachmentLayout]:
        """The ports of Transit Gateways in a VPC."""
        ports = (port for gateway in self.transit_gateways for port in gateway.attachments)
        return (port for port in ports if port.vpc == vpc)

    def joined(self, vpc: Vpc) -> Iterator[tuple[Vpc, AttachmentLayout]]:
        """The other VPCs to which Transit Gateways lead from a VPC, each with the port in it that leads there."""
        for other, gateway in joined(self.topology, vpc):
            (at,) = (known for known in self.transit_gateways if known.gateway == gateway)
            yield other, next(port for port in at.attachments if port.vpc == vpc)

    def beyond(self, gateway: TransitGatewayLayout) -> Iterator[tuple[Vpc, AttachmentLayout]]:
        """The VPCs that are behind others of a Transit Gateway's, each with its port that leads there."""
        ports = {port.vpc.name: port for port in gateway.attachments}
        return ((vpc, ports[attachment.vpc]) for vpc, attachment in beyond(self.topology, gateway.gateway))

    def next_hop(self, subnet: Subnet) -> tuple[Link, IPv4Address] | None:
        """Where the default route of a subnet leads: the link and address of a NAT gateway or a Transit Gateway."""
        for nat in self.nat_gateways:
            if nat.gateway.name == subnet.default_route:
                return nat.vpc, nat.address
        for gateway in self.transit_gateways:
            for port in gateway.attachments:
                if gateway.gateway.name == subnet.default_route and subnet in port.vpc.subnets:
                    return port.link, port.address
        return None

    def subnet_index(self, subnet: Subnet) -> int:
        """The subnet's number, by which its route table goes."""
        return self.leases.take("subnets", subnet.name, _SUBNETS)

    def endpoint_index(self, node: str) -> int:
        """The number of an interface endpoint's network interface, by which servers tell it from others."""
        return self.leases.take("endpoints", node, BEHIND_ENDPOINTS.num_addresses >> 16)

    def server_index(self, server: Server) -> int:
        """The server's number, by which routing tables go."""
        return self.leases.take("destinations", server.name, _DESTINATIONS)

    def port_share(self, gateway: NatGateway, name: str) -> int:
        """The number of a client's ports to one destination, by which connection marks go."""
        return self.leases.take(f"ports of {gateway.name}", name, _PORT_SHARES)


def lay_out(topology: Topology, lab: str, standing: Standing | None = None) -> Layout:
    """Resolve a topology under a lab's name; what stood before keeps its numbers."""
    return _Surveyor(topology, lab, standing or Standing()).layout()


class _Surveyor:
    """Gives out namespaces, ports and addresses; each is taken once, in file order."""

    def __init__(self, topology: Topology, lab: str, standing: Standing) -> None:
        self._topology = topology
        self._lab = lab
        self._service_vpc = topology.service_vpc.cidr
        self._subnets = {subnet.name: subnet for subnet in topology.subnets}
        self._leases = Leases(standing.leases)
        self._fix_addresses()
        self._draining = standing.draining
        self._enis = hyperplane_enis(topology)
        self._pairs = tuple(self._all_pairs())

    def layout(self) -> Layout:
        topology = self._topology
        return Layout(
            lab=self._lab,
            topology=topology,
            service=self._namespace(SERVICE_VPC),
            internet=self._namespace(INTERNET),
            vpcs=tuple(self._vpc(vpc) for vpc in topology.vpcs),
            resolver=self._resolver(),
            fleets=tuple(self._fleet(function) for function in topology.functions),
            egress=tuple(self._egress()),
            enis=tuple(self._eni(eni) for eni in self._enis),
            nat_gateways=tuple(self._nat_gateway(gateway) for gateway in topology.nat_gateways),
            exits=tuple(self._exit(way_out) for way_out in topology.exits if way_out.in_subnet),
            gateway_endpoints=tuple(
                self._gateway_endpoint(vpc, endpoint) for vpc in topology.vpcs for endpoint in vpc.gateway_endpoints
            ),
            transit_gateways=tuple(self._transit_gateway(gateway) for gateway in topology.transit_gateways),
            clients=tuple(self._client(client) for client in topology.clients),
            peerings=tuple(self._peering(peering) for peering in topology.peerings),
            servers=tuple(self._server(server) for server in topology.servers),
            leases=self._leases,
        )

    def _namespace(self, node: str) -> str:
        return namespace_name(self._lab, node)

    def _port(self, node: str, far: str) -> Port:
        namespace, interface = self._namespace(node), interface_name(far)
        return Port(namespace, interface, mac_address(namespace, interface))

    def _link(self, node: str, far: str) -> Link:
        return Link(near=self._port(node, far), far=self._port(far, node))

    def _link_to_vpc(self, node: str, subnet: Subnet) -> Link:
        return self._link(node, self._topology.vpc_of(subnet.name).node)

    def _all_pairs(self) -> Iterator[Pair]:
        for eni in self._enis:
            yield from (self._pair(function, eni.name) for function in eni.functions)
        yield from (self._pair(function.name, EGRESS) for function in self._topology.functions if not function.subnets)

    def _pair(self, function: str, gateway: str) -> Pair:
        room = (self._service_vpc.num_addresses - SERVICE_VPC_HEAD) // ENVIRONMENT_BLOCK
        index = self._leases.take("environments", f"{function} {gateway}", room)
        return Pair(function, gateway, index, *addressing.pair_networks(self._service_vpc, index))

    def _vpc(self, vpc: Vpc) -> VpcLayout:
        subnets = {subnet.name for subnet in vpc.subnets}
        asks = any(client.subnet in subnets for client in self._topology.clients)
        asks_outside = asks and not self._topology.service_vpc.resolver.behind_eni
        service = self._link(vpc.node, SERVICE_VPC) if asks_outside else None
        return VpcLayout(vpc, vpc.node, self._namespace(vpc.node), service)

    def _client(self, client: Client) -> ClientLayout:
        subnet = self._subnets[client.subnet]
        names = client.names_of_addresses
        return ClientLayout(
            client=client,
            subnet=subnet,
            node=client.node,
            namespace=self._namespace(client.node),
            vpc=self._link_to_vpc(client.node, subnet),
            addresses=tuple(self._subnet_address(subnet, name) for name in names),
            rings=tuple(self._subnet_address(subnet, f"{name} of the packet engine") for name in names),
        )

    def _resolver(self) -> ResolverLayout:
        settings, namespace = self._topology.service_vpc.resolver, self._namespace(RESOLVER)
        if not settings.behind_eni:
            address = addressing.resolver_address(self._service_vpc)
            return ResolverLayout(RESOLVER, namespace, self._link(RESOLVER, SERVICE_VPC), address)
        subnet = self._subnets[settings.subnet or self._topology.subnets[0].name]
        address = self._subnet_address(subnet, RESOLVER)
        return ResolverLayout(RESOLVER, namespace, self._link_to_vpc(RESOLVER, subnet), address, subnet)

    def _fleet(self, function: Function) -> FleetLayout:
        node = node_name_of_function(function.name)
        pairs = {pair.gateway: pair for pair in self._pairs if pair.function == function.name}
        gateways = [eni.name for eni in enis_of(self._topology, function.name)] or [EGRESS]
        return FleetLayout(
            function=function,
            node=node,
            namespace=self._namespace(node),
            service=self._link(node, SERVICE_VPC),
            address=addressing.fleet_address(self._service_vpc, self._leases.take("fleets", node, PAIRS)),
            pairs=tuple(pairs[gateway] for gateway in gateways),
        )

    def _eni(self, eni: Eni) -> EniLayout:
        return EniLayout(
            eni=eni,
            node=eni.name,
            namespace=self._namespace(eni.name),
            service=self._link(eni.name, SERVICE_VPC),
            service_address=self._service_address(eni.name),
            vpc=self._link_to_vpc(eni.name, eni.subnet),
            address=self._subnet_address(eni.subnet, eni.name),
            pairs=self._pairs_behind(eni.name),
            further=tuple(
                FurtherEni(name, self._subnet_address(eni.subnet, name))
                for number in range(2, self._topology.hyperplane_eni.most_enis + 1)
                for name in (name_of_further_eni(eni.name, number),)
            ),
        )

    def _egress(self) -> Iterator[EgressLayout]:
        if pairs := self._pairs_behind(EGRESS):
            yield EgressLayout(
                node=EGRESS,
                namespace=self._namespace(EGRESS),
                service=self._link(EGRESS, SERVICE_VPC),
                service_address=self._service_address(EGRESS),
                internet=self._link(EGRESS, INTERNET),
                address=addressing.EGRESS_ROUTER,
                pairs=pairs,
            )

    def _pairs_behind(self, gateway: str) -> tuple[Pair, ...]:
        return tuple(pair for pair in self._pairs if pair.gateway == gateway)

    def _service_address(self, gateway: str) -> IPv4Address:
        return addressing.gateway_address(self._service_vpc, self._leases.take("gateways", gateway, PAIRS + 1))

    def _nat_gateway(self, gateway: NatGateway) -> NatLayout:
        port, eips = self._exit(gateway), tuple(self._elastic_ips(gateway))
        return NatLayout(
            gateway=gateway,
            subnet=port.subnet,
            node=port.node,
            namespace=port.namespace,
            vpc=port.vpc,
            address=port.address,
            internet=port.internet,
            elastic_ips=eips,
            clients=tuple(self._clients(gateway, eips)) if gateway.ports_per_client else (),
        )

    def _clients(self, gateway: NatGateway, eips: Sequence[ElasticIp]) -> Iterator[NatClient]:
        """Dealt out to the Elastic IPs in turn."""
        names = zip(clients_of(self._topology, gateway), cycle(eips[: gateway.elastic_ips]), strict=False)
        addresses: dict[str, tuple[IPv4Address, ...]] = {
            eni.name: (self._subnet_address(eni.subnet, eni.name),) for eni in self._enis
        }
        for host in map(self._client, self._topology.clients):
            both = zip(host.addresses, host.rings, strict=True)
            addresses |= zip(host.client.names_of_addresses, both, strict=True)
        for name, eip in names:
            number = self._leases.take(f"clients of {gateway.name}", name, NAT_CLIENTS) + 1
            yield NatClient(name, addresses[name], number, eip)

    def _exit(self, way_out: E) -> ExitLayout[E]:
        subnet = self._subnets[way_out.in_subnet or ""]
        return ExitLayout(
            settings=way_out,
            subnet=subnet,
            node=way_out.node,
            namespace=self._namespace(way_out.node),
            vpc=self._link_to_vpc(way_out.node, subnet),
            address=self._subnet_address(subnet, way_out.node),
            internet=self._link(way_out.node, INTERNET),
        )

    def _gateway_endpoint(self, vpc: Vpc, endpoint: GatewayEndpoint) -> GatewayEndpointLayout:
        return GatewayEndpointLayout(
            settings=endpoint,
            vpc=vpc,
            node=endpoint.node,
            namespace=self._namespace(endpoint.node),
            link=self._link(endpoint.node, vpc.node),
            internet=self._link(endpoint.node, INTERNET),
            servers=tuple(server for server in self._topology.servers if server.service == endpoint.service),
        )

    def _elastic_ips(self, gateway: NatGateway) -> Iterator[ElasticIp]:
        """A NAT gateway's own Elastic IPs, then removed ones that drain."""
        draining = self._draining.get(gateway.name, {})
        for number in range(1, NAT_EIPS + 1):
            if number <= gateway.elastic_ips or number in draining:
                index = self._leases.take("elastic_ips", f"{gateway.name} {number}", TOTAL_EIPS)
                until = None if number <= gateway.elastic_ips else draining[number]
                yield ElasticIp(number, addressing.elastic_ip(index), until)

    def _transit_gateway(self, gateway: TransitGateway) -> TransitGatewayLayout:
        vpcs = {vpc.name: vpc for vpc in self._topology.vpcs}
        return TransitGatewayLayout(
            gateway=gateway,
            node=gateway.node,
            namespace=self._namespace(gateway.node),
            attachments=tuple(
                AttachmentLayout(
                    vpc=vpcs[attachment.vpc],
                    subnet=self._subnets[attachment.subnet],
                    link=self._link(gateway.node, vpcs[attachment.vpc].node),
                    address=self._subnet_address(self._subnets[attachment.subnet], gateway.node),
                    is_egress=attachment == gateway.towards_the_internet,
                    is_two_way=any(server.subnet for server in self._topology.servers),
                )
                for attachment in gateway.attachments
            ),
        )

    def _subnet_address(self, subnet: Subnet, owner: str) -> IPv4Address:
        room = subnet.cidr.num_addresses - RESERVED_SUBNET_ADDRESSES
        return addressing.subnet_host(subnet.cidr, self._leases.take(f"addresses of {subnet.name}", owner, room))

    def _peering(self, peering: Peering) -> PeeringLayout:
        vpcs = [vpc for vpc in self._topology.vpcs if vpc.name in peering.vpcs]
        ports = tuple(PeeringPort(vpc, self._link(peering.node, vpc.node)) for vpc in vpcs)
        return PeeringLayout(peering, peering.node, self._namespace(peering.node), ports)

    def _fix_addresses(self) -> None:
        """The addresses that servers in subnets have in the file, before any other is given out."""
        for server in self._topology.servers:
            if server.subnet is not None and server.address is not None:
                number = addressing.subnet_index(self._subnets[server.subnet].cidr, server.address)
                self._leases.fix(f"addresses of {server.subnet}", server.node, number)

    def _server(self, server: Server) -> ServerLayout:
        node, subnet = server.node, self._subnets[server.subnet] if server.subnet else None
        front = None if server.max_connections is None else front_of_server(server.name)
        router = self._topology.vpc_of(subnet.name).node if subnet else INTERNET
        uplink = self._link(front or node, router)
        return ServerLayout(
            server=server,
            address=server.addresses[0]
            if server.addresses
            else self._subnet_address(self._subnets[server.subnet or ""], node),
            node=node,
            namespace=self._namespace(node),
            port=uplink if front is None else self._link(node, front),
            uplink=uplink,
            next_hop=addressing.subnet_router(subnet.cidr) if subnet else addressing.INTERNET_ROUTER,
            subnet=subnet,
            front=None if front is None else self._namespace(front),
        )

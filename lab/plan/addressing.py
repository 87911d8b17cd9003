"""Addresses of all nodes: pure functions from a topology's networks to addresses, in file order.

Service VPC (default 100.64.0.0/10), one L2 segment of /22 for what is plugged into it, and blocks behind the fleets:

    +0.0.2          resolver: the network address plus two, as in every VPC (Amazon VPC user guide, "Amazon DNS server")
    +0.1.1 …        Hyperplane ENIs and the egress, their port in the service VPC
    +0.2.1 …        fleets, one per function
    +1.0.0 …        per (function, ENI) pair a /19: a /20 of execution environments whose packets only the rings
                    see, and a /20 that is local to the fleet's kernel, for real sockets

Customer subnets keep their first four addresses and the last for AWS (Amazon VPC user guide, "Subnet sizing").
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from lab.schema.limits import BEHIND_ENDPOINTS, EIP_POOL, ENVIRONMENT_BLOCK, INTERNET, SERVICE_VPC_HEAD

__all__ = [
    "EGRESS_ROUTER",
    "INTERNET_ROUTER",
    "PEERING",
    "SECOND_ADDRESS",
    "behind_endpoint",
    "elastic_ip",
    "fleet_address",
    "gateway_address",
    "pair_networks",
    "resolver_address",
    "segment",
    "subnet_host",
    "subnet_index",
    "subnet_router",
]

INTERNET_ROUTER = INTERNET.network_address + 1
"""The internet node's address on each of its ports."""
EGRESS_ROUTER = INTERNET.network_address + 2
"""The address of the service VPC's egress on its port to the internet."""
PEERING = INTERNET.broadcast_address - 1
"""The address of each peering on both of its ports: the next hop of routes, which no packet bears."""
SECOND_ADDRESS = INTERNET.network_address + 3
"""The first of the second addresses of each server that closes connections beyond its limit: one for each that it has.

Only its front has routes to them."""

_RESERVED_AT_START = 4
_GATEWAYS = 0x100
_FLEETS = 0x200
_SEGMENT_PREFIX = 22


def segment(service_vpc: IPv4Network) -> IPv4Network:
    """The L2 segment that fleets, resolver and ENIs share."""
    return IPv4Network((service_vpc.network_address, _SEGMENT_PREFIX))


def resolver_address(service_vpc: IPv4Network) -> IPv4Address:
    """The name server's address."""
    return service_vpc.network_address + 2


def gateway_address(service_vpc: IPv4Network, index: int) -> IPv4Address:
    """The address in the service VPC of an ENI's port, or of the egress's."""
    return service_vpc.network_address + _GATEWAYS + index + 1


def fleet_address(service_vpc: IPv4Network, index: int) -> IPv4Address:
    """The fleet's own address, next hop of all its execution environments."""
    return service_vpc.network_address + _FLEETS + index + 1


def pair_networks(service_vpc: IPv4Network, index: int) -> tuple[IPv4Network, IPv4Network]:
    """The two /20 of a (function, ENI) pair: execution environments for the rings, and for real sockets."""
    first = service_vpc.network_address + SERVICE_VPC_HEAD + index * ENVIRONMENT_BLOCK
    pair = IPv4Network((first, 33 - ENVIRONMENT_BLOCK.bit_length()))
    rings, sockets = pair.subnets()
    return rings, sockets


def subnet_router(subnet: IPv4Network) -> IPv4Address:
    """The VPC router's address in a subnet: the network address plus one."""
    return subnet.network_address + 1


def subnet_host(subnet: IPv4Network, index: int) -> IPv4Address:
    """One of the addresses that AWS leaves to a subnet's network interfaces, in order."""
    return subnet.network_address + _RESERVED_AT_START + index


def behind_endpoint(index: int, prefix: int) -> IPv4Network:
    """What an endpoint's network interface makes of the addresses of a VPC with this prefix length."""
    return IPv4Network((BEHIND_ENDPOINTS.network_address + (index << 16), prefix))


def subnet_index(subnet: IPv4Network, address: IPv4Address) -> int:
    """The number of one of these addresses."""
    return int(address) - int(subnet.network_address) - _RESERVED_AT_START


def elastic_ip(index: int) -> IPv4Address:
    """One of the Elastic IPs, in the order in which gateways take them."""
    return EIP_POOL.network_address + index + 1

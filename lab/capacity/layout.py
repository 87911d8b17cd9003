"""Which subnets and Elastic IPs carry a demand: `lab predict` turned round. Pure arithmetic.

Connections take turns over a function's subnets and a server's addresses, as in `lab.capacity.predict`, and go evenly
to the servers. To one of n addresses go as many as to a server with one from n times as many subnets. A
Hyperplane ENI counts all of its connections; a NAT gateway counts those to each server apart, from the subnets that
route to it. Which of the subnets takes the first turn is not known, so a gateway's share of an uneven rest is the
larger one. To servers in the VPC, and through gateway endpoints, ENIs alone count.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from string import ascii_lowercase

from lab.capacity.demand import Demand
from lab.schema.limits import ENI_CONNECTIONS, FUNCTION_SUBNETS, NAT_CONNECTIONS_PER_DESTINATION, NAT_EIPS

__all__ = ["Gateway", "Layout", "smallest"]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A NAT gateway: how many of the function's subnets route to it, and its Elastic IPs."""

    subnets: int
    elastic_ips: int

    @property
    def ports(self) -> int:
        """Connections to one server that its Elastic IPs carry."""
        return self.elastic_ips * NAT_CONNECTIONS_PER_DESTINATION


@dataclass(frozen=True, slots=True)
class Layout:
    """One function's way out; the gateway that fills first is the first."""

    gateways: tuple[Gateway, ...]
    without_gateway: int = 0
    """Subnets that route to no NAT gateway."""

    @property
    def subnets(self) -> int:
        """Private subnets of the function, a Hyperplane ENI each."""
        return sum(gateway.subnets for gateway in self.gateways) + self.without_gateway

    @property
    def elastic_ips(self) -> int:
        """Elastic IPs of all NAT gateways together."""
        return sum(gateway.elastic_ips for gateway in self.gateways)

    @property
    def most_elastic_ips(self) -> int:
        """Elastic IPs of the NAT gateway that has most."""
        return max((gateway.elastic_ips for gateway in self.gateways), default=0)

    @property
    def eni_capacity(self) -> int:
        """Connections that the Hyperplane ENIs carry."""
        return self.subnets * ENI_CONNECTIONS

    def nat_capacity(self, servers: int, addresses: int) -> int:
        """Connections that NAT gateways carry, spread evenly over the subnets, the servers and their addresses."""
        return servers * min(_carries(gateway, self.subnets * addresses) for gateway in self.gateways)

    def offered(self, gateway: Gateway, connections: int, addresses: int) -> int:
        """The most to one address that a NAT gateway sees of connections to a server, which take turns over subnets."""
        return _offered(connections, self.subnets * addresses, gateway.subnets)

    def endpoint_interfaces(self, connections: int, usable: int) -> int:
        """The fewest network interfaces of an endpoint that carry so many, each no more than is usable of its limit."""
        interfaces = count(-(-connections // usable))
        return next(many for many in interfaces if _offered(connections, self.subnets * many, self.subnets) <= usable)

    @property
    def gateway_names(self) -> tuple[str, ...]:
        """What the NAT gateways are called in the topology: `natgw`, or `natgw-a` and so on."""
        return self.lettered("natgw")

    def lettered(self, name: str) -> tuple[str, ...]:
        """A name for each NAT gateway, with a letter where there are several."""
        gateways = len(self.gateways)
        return (name,) if gateways == 1 else tuple(f"{name}-{letter}" for letter in ascii_lowercase[:gateways])

    @property
    def subnet_names(self) -> tuple[str, ...]:
        """What the function's subnets are called in the topology."""
        return tuple(f"private-{letter}" for letter in ascii_lowercase[: self.subnets])


def _offered(connections: int, subnets: int, behind: int) -> int:
    """The most that a NAT gateway behind some of the subnets sees of connections that take turns over all of them."""
    rounds, rest = divmod(connections, subnets)
    return rounds * behind + min(rest, behind)


def _carries(gateway: Gateway, subnets: int) -> int:
    """The largest number of which a gateway is offered no more than it has ports: the reverse of `_offered`."""
    rounds, rest = divmod(gateway.ports, gateway.subnets)
    return rounds * subnets + rest


def smallest(demand: Demand, most_elastic_ips: int = NAT_EIPS) -> Layout | None:
    """The layout with fewest NAT gateways, of these with fewest Elastic IPs, of these with fewest subnets.

    In this order because AWS charges by the hour for the first two, and nothing for subnets and Hyperplane ENIs.
    """
    if not demand.through_nat_gateways:
        subnets = _fewest_subnets(demand)
        return Layout((), subnets) if subnets <= FUNCTION_SUBNETS else None
    for gateways in range(demand.nat_gateways, FUNCTION_SUBNETS + 1):
        if layouts := list(_layouts(demand, gateways, most_elastic_ips)):
            return min(layouts, key=lambda layout: (layout.elastic_ips, layout.subnets, _unevenness(layout)))
    return None


def _layouts(demand: Demand, gateways: int, most_elastic_ips: int) -> Iterator[Layout]:
    """Every layout with so many NAT gateways that carries the demand."""
    per_eip = demand.usable(NAT_CONNECTIONS_PER_DESTINATION)
    for subnets in range(max(gateways, _fewest_subnets(demand)), FUNCTION_SUBNETS + 1):
        for parts in _parts(subnets, gateways):
            turns = subnets * demand.addresses
            made = [Gateway(part, -(-_offered(demand.to_one_server, turns, part) // per_eip)) for part in parts]
            if all(gateway.elastic_ips <= most_elastic_ips for gateway in made):
                yield Layout(tuple(sorted(made, key=lambda gateway: _carries(gateway, subnets))))


def _fewest_subnets(demand: Demand) -> int:
    """How many Hyperplane ENIs carry it."""
    return -(-demand.connections // demand.usable(ENI_CONNECTIONS))


def _parts(total: int, number: int, most: int | None = None) -> Iterator[tuple[int, ...]]:
    """Every way to divide subnets among NAT gateways, each with one or more, the largest part first."""
    if number == 1:
        if most is None or total <= most:
            yield (total,)
        return
    for first in range(min(total - number + 1, most or total), 0, -1):
        yield from ((first, *rest) for rest in _parts(total - first, number - 1, first))


def _unevenness(layout: Layout) -> int:
    sizes = [gateway.subnets for gateway in layout.gateways]
    return max(sizes) - min(sizes)

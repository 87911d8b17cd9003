"""The clients of a NAT gateway: what has a private address in a VPC, and whose connections come to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.topology.enis import Eni, hyperplane_enis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.nodes.vpc.model import Subnet
    from lab.schema.exits import Exit
    from lab.topology.model import Topology

__all__ = ["clients_between", "clients_of"]


def clients_of(topology: Topology, exit_: Exit) -> tuple[str, ...]:
    """Those of a NAT gateway by name, from whichever VPC they come."""
    subnets = {subnet.name: subnet for subnet in topology.subnets}
    return tuple(clients_between(hyperplane_enis(topology), subnets, topology.transit_gateways, exit_.name))


def clients_between(
    enis: Iterable[Eni], subnets: Mapping[str, Subnet], transit_gateways: Iterable[TransitGateway], name: str
) -> Iterator[str]:
    """Those of these ENIs whose default routes lead to the NAT gateway of that name."""
    by_name = {gateway.name: gateway for gateway in transit_gateways}
    return (eni.name for eni in enis if _way_out(eni.subnet, subnets, by_name) == name)


def _way_out(
    subnet: Subnet | None, subnets: Mapping[str, Subnet], transit_gateways: Mapping[str, TransitGateway]
) -> str | None:
    """Where default routes lead from a subnet, over Transit Gateways; None for a routing loop, or a dead end."""
    entered: set[str] = set()
    while subnet is not None and subnet.name not in entered:
        entered.add(subnet.name)
        gateway = transit_gateways.get(subnet.default_route or "")
        if gateway is None:
            return subnet.default_route
        onward = gateway.towards_the_internet
        subnet = subnets.get(onward.subnet) if onward else None
    return None

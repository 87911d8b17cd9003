"""The clients of a NAT gateway: what has a private address in a VPC, and whose connections come to it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lab.topology.enis import Eni, enis_between, hyperplane_enis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from lab.nodes.client.model import Client
    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.nodes.vpc.model import Subnet
    from lab.schema.exits import Exit
    from lab.topology.draft import Draft
    from lab.topology.model import Topology

__all__ = ["clients_of", "how_many"]


def clients_of(topology: Topology, exit_: Exit) -> tuple[str, ...]:
    """Those of a NAT gateway by name, from whichever VPC they come: ENIs, and each address of other hosts."""
    subnets = {subnet.name: subnet for subnet in topology.subnets}
    all_ = _ways_out(hyperplane_enis(topology), topology.clients, subnets, topology.transit_gateways)
    return tuple(name for name, way_out in all_ if way_out == exit_.name)


def how_many(draft: Draft) -> Counter[str | None]:
    """NAT gateway → the number of its clients."""
    subnets = draft.subnets_by_name
    enis = enis_between((item.value for item in draft.functions), subnets)
    hosts, gateways = (item.value for item in draft.clients), (item.value for item in draft.transit_gateways)
    return Counter(way_out for _, way_out in _ways_out(enis, hosts, subnets, gateways))


def _ways_out(
    enis: Iterable[Eni],
    hosts: Iterable[Client],
    subnets: Mapping[str, Subnet],
    transit_gateways: Iterable[TransitGateway],
) -> Iterator[tuple[str, str | None]]:
    """Each client, and to which NAT gateway its default routes lead."""
    by_name = {gateway.name: gateway for gateway in transit_gateways}
    for eni in enis:
        yield eni.name, _way_out(eni.subnet, subnets, by_name)
    for host in hosts:
        way_out = _way_out(subnets.get(host.subnet), subnets, by_name)
        yield from ((name, way_out) for name in host.names_of_addresses)


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

"""From a topology to its paths: which route leads where, VPC after VPC, until a connection leaves them or ends.

What lies on a path is known from the topology alone. The plan gives it its form in the kernel; predictions, bursts,
drawings and explanations walk its hops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lab.nodes import client as client_kind
from lab.nodes import egress, hyperplane_eni, peering, transit_gateway, vpc
from lab.nodes import server as server_kind
from lab.nodes.client.model import Client
from lab.paths.dead_ends import dead_end
from lab.paths.leg import Leg
from lab.paths.path import Hop, Path, Scope, Scoped
from lab.paths.unrouted import outside
from lab.schema.names import EGRESS
from lab.topology.enis import Eni, enis_of
from lab.topology.joined import peering_to, transit_to
from lab.topology.nat_clients import clients_of

if TYPE_CHECKING:
    from lab.nodes.hyperplane_eni.model import HyperplaneEniSettings
    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.schema.exits import Exit
    from lab.schema.firewall import Transport
    from lab.topology.model import Topology

__all__ = ["exit_nodes", "exit_of", "legs", "paths"]


def paths(topology: Topology, source: str, server: str, transport: Transport = "tcp") -> tuple[Path, ...]:
    """One for each pair of a source's ENI, or address of a client, and an address of the server's name.

    ENIs take turns first, in the order of the subnets, then addresses in numeric order. A function outside the VPC has
    one way to each address.
    """
    wanted, opener = next(known for known in topology.servers if known.name == server), topology.source(source)
    answers = tuple(_answers(topology, wanted))
    if isinstance(opener, Client):
        return tuple(path for answer in answers for path in _from_client(topology, opener, answer, transport))
    enis = enis_of(topology, source)
    if not enis:
        return tuple(_outside(topology, source, answer, transport) for answer in answers)
    return tuple(
        replace(
            _path(topology, _at_eni(topology.hyperplane_eni, eni, answer), eni, eni.name, answer, transport), eni=eni
        )
        for answer in answers
        for eni in enis
    )


class _Answer(NamedTuple):
    """One of the addresses that the resolver answers for a server's name."""

    server: Server
    """With one address alone; in a subnet perhaps without any that the file tells."""
    number: int | None = None
    """Which it is, in numeric order, from 0; None where there is no other."""
    exit: Exit | None = None
    """What stands for the server at this address."""
    leads_to: int = 1
    """How many addresses of the server are behind it."""


def _answers(topology: Topology, server: Server) -> Iterator[_Answer]:
    if server.subnet is not None:
        yield _Answer(server)
        return
    one = server.at(server.addresses[0])
    ranges = {subnet.name: subnet.cidr for subnet in topology.subnets}
    standing = [exit_ for exit_ in topology.exits if exit_.stands_for == server.name]
    all_ = len(server.addresses)
    answers = [
        _Answer(one, exit=exit_, leads_to=all_)
        for exit_ in sorted(standing, key=lambda exit_: ranges[exit_.in_subnet or ""])
    ]
    answers = answers or [_Answer(server.at(address)) for address in sorted(server.addresses)]
    several = len(answers) > 1
    yield from (answer._replace(number=number if several else None) for number, answer in enumerate(answers))


def _outside(topology: Topology, source: str, answer: _Answer, transport: Transport) -> Path:
    """The path of a function outside all VPCs, to which no private address is known."""
    server = answer.server
    hops = (Hop(EGRESS, egress.KIND.name), *_at_server(server, transport))
    end = outside(topology, source, server)
    return Path(hops, None, None, answer=answer.number, dead_end=end, leads=server.subnet is None)


def _at_server(server: Server, transport: Transport) -> Iterator[Hop]:
    """The server as a hop, if it is in a VPC or has a connection limit; UDP has none."""
    limits = () if server.limit is None else (Scoped(Scope(server.node, server.name), server.limit),)
    if transport == "udp":
        limits = ()
    if limits or server.subnet is not None:
        yield Hop(server.node, server_kind.KIND.name, limits)


def _from_client(topology: Topology, client: Client, answer: _Answer, transport: Transport) -> Iterator[Path]:
    """One for each of its addresses, each with its own ports.

    connect() uses a port once for each address and port that it is to lead to (`__inet_hash_connect`); a UDP port is
    bound, and used once (`inet_autobind`).
    """
    (subnet,) = (known for known in topology.subnets if known.name == client.subnet)
    # Its security groups are judged where its packets come into the VPC, with its ports taken already.
    at = Eni(topology.vpc_of(subnet.name).node, subnet, client.security_groups, ())
    for name in client.names_of_addresses:
        scope = Scope(client.node, client=name)
        if transport == "tcp":
            scope = scope._replace(destination=answer.server.name, answer=answer.number)
        first = Hop(client.node, client_kind.KIND.name, (Scoped(scope, client.limit),))
        yield replace(_path(topology, first, at, name, answer, transport), client=client, client_address=name)


def _path(  # noqa: PLR0917
    topology: Topology, first: Hop, at: Eni, client: str, answer: _Answer, transport: Transport
) -> Path:
    """From the first hop into the VPC, at an interface of a subnet, from the private address of a client."""
    server = answer.server
    crossed = legs(topology, at.subnet, server, answer.exit)
    last = crossed[-1]
    hops = (first, *_hops(topology, crossed, answer, client))
    leads = last.arrives or (last.exit is not None and server.subnet is None)
    if leads:
        hops = (*hops, *_at_server(server, transport))
    end = dead_end(topology, at, crossed, server, transport)
    if end and end.cure and answer.number is not None:  # what a rule lets pass may differ from address to address
        end = replace(end, sentence=f"{end.sentence}, at {_place(answer)}")
    if end is None or end.certain:
        return Path(hops, None, last.exit, answer=answer.number, dead_end=end, leads=leads)
    return Path(hops, None, last.exit, answer=answer.number, doubt=end, leads=leads)


def _place(answer: _Answer) -> str:
    return answer.exit.node if answer.exit else str(answer.server.address)


def _at_eni(settings: HyperplaneEniSettings, eni: Eni, answer: _Answer) -> Hop:
    scope = Scope(eni.name, answer.server.name, answer.number) if settings.per_destination else Scope(eni.name)
    return Hop(eni.name, hyperplane_eni.KIND.name, (Scoped(scope, settings.limit),))


def _hops(topology: Topology, crossed: tuple[Leg, ...], answer: _Answer, client: str) -> Iterator[Hop]:
    for leg in crossed:
        yield Hop(leg.vpc.node, vpc.KIND.name)
        if leg.transit_gateway is not None:
            yield Hop(leg.transit_gateway.node, transit_gateway.KIND.name)
        if leg.peering is not None:
            yield Hop(leg.peering.node, peering.KIND.name)
        if leg.exit is not None:
            yield Hop(leg.exit.node, leg.exit.KIND, tuple(_at_exit(topology, leg.exit, answer, client)))


def _at_exit(topology: Topology, exit_: Exit, answer: _Answer, client: str) -> Iterator[Scoped]:
    """What limits connections there: what the client has of its own, or what all clients share.

    A server in a VPC is none of its destinations, whatever has strayed there.
    """
    if answer.server.subnet is not None:
        return
    scope = Scope(exit_.node, answer.server.name, None if answer.exit else answer.number)
    own = exit_.limit_of_each(len(clients_of(topology, exit_)))
    if own is not None:
        yield Scoped(scope._replace(client=client), own)
    elif limit := exit_.limit_to(answer.leads_to):
        yield Scoped(scope, limit)


def legs(topology: Topology, subnet: Subnet, server: Server, answer: Exit | None = None) -> tuple[Leg, ...]:
    """The VPCs that a connection from a subnet crosses, in turn, to the server or to where its routes end.

    Of several ways out that stand for the server, the name server's `answer` is the one taken.
    """
    return tuple(_legs(topology, subnet, server, answer))


def _legs(topology: Topology, subnet: Subnet, server: Server, answer: Exit | None) -> Iterator[Leg]:
    """A route to the VPC of a server comes before the default route, which is for all that no other route is for."""
    subnets = {known.name: known for known in topology.subnets}
    target = subnets[server.subnet] if server.subnet else None
    home = topology.vpc_of(target.name) if target else None
    entered: set[str] = set()
    while subnet.name not in entered:  # a packet that enters a subnet for the second time is in a routing loop
        entered.add(subnet.name)
        vpc = topology.vpc_of(subnet.name)
        if vpc == home:
            yield Leg(vpc, subnet, target, arrives=True)
            return
        if home and (joining := peering_to(topology, subnet, home)):
            yield Leg(vpc, subnet, None, peering=joining)
            if len(entered) == 1:  # what a Transit Gateway has brought, a peering does not carry on
                yield Leg(home, None, target, arrives=True)
            return
        if home and (way := transit_to(topology, vpc, home)):
            joining_all, come, leave = way
            yield Leg(vpc, subnet, subnets[come.subnet], transit_gateway=joining_all)
            subnet = subnets[leave.subnet]
            continue
        exits = (exit_ for exit_ in vpc.exits if exit_.OF_OTHER_VPCS or len(entered) == 1)
        taking = (exit_ for exit_ in exits if exit_.takes(subnet, server))
        if exit_ := next((exit_ for exit_ in taking if not exit_.stands_for or answer in (None, exit_)), None):
            yield Leg(vpc, subnet, subnets.get(exit_.in_subnet or ""), exit=exit_)
            return
        gateway = next((known for known in topology.transit_gateways if known.name == subnet.default_route), None)
        if gateway is None:
            yield Leg(vpc, subnet, None)
            return
        attachment = next(known for known in gateway.attachments if known.vpc == vpc.name)
        yield Leg(vpc, subnet, subnets[attachment.subnet], transit_gateway=gateway)
        default = gateway.towards_the_internet
        if default is None:
            return
        subnet = subnets[default.subnet]


def exit_nodes(topology: Topology, subnet: Subnet) -> set[str]:
    """The nodes by which connections from a subnet leave the VPCs, whichever server they are for."""
    exits = (exit_of(topology, subnet, server) for server in topology.servers)
    return {exit_.node for exit_ in exits if exit_}


def exit_of(topology: Topology, subnet: Subnet, server: Server) -> Exit | None:
    """Where connections from a subnet to a server leave the VPCs; None where they do not."""
    return legs(topology, subnet, server)[-1].exit

"""Where connections end whatever the limits, known from the topology alone: no route, or a firewall's rule."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

from lab.paths.leg import DeadEnd
from lab.paths.network_acls import answers_back, as_rule, refused, to_server, towards_server
from lab.paths.unrouted import unrouted, unrouted_back
from lab.schema.firewall import Traffic, Transport, group_rules, ingress_rules, verdicts
from lab.schema.names import DEFAULT_SECURITY_GROUPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Vpc
    from lab.paths.leg import Leg
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["dead_end"]


def dead_end(topology: Topology, eni: Eni, legs: Sequence[Leg], server: Server, transport: Transport) -> DeadEnd | None:
    """The first place on the way through an ENI, and through these VPCs, where connections to a server end."""
    requests = Traffic(transport, _destination(topology, legs[-1], server), server.port, server.port)
    home = topology.vpc_of(eni.subnet.name)
    if end := _security_group(home, eni, requests, server):
        return end
    there = [crossing for leg in legs for crossing in towards_server(leg, eni, home, requests, server)]
    answers = answers_back(topology, eni, legs[-1], requests)
    failing = [crossing for crossing in (*there, *answers) if crossing.passing != {True}]
    if failing and not failing[0].answers:
        return refused(failing, server)
    return (
        unrouted(topology, eni, legs[-1], server)
        or _ingress(topology, eni, legs[-1], requests, server)
        or unrouted_back(topology, eni, legs[-1], server)
        or (refused(failing, server) if failing else None)
    )


def _destination(topology: Topology, last: Leg, server: Server) -> IPv4Network:
    if server.address is None:
        return next(subnet.cidr for subnet in topology.subnets if subnet.name == server.subnet)
    address = IPv4Network((server.address, 32))
    return address if last.exit is None or last.far is None else last.exit.destination(address, last.far.cidr)


def _security_group(vpc: Vpc, eni: Eni, traffic: Traffic, server: Server) -> DeadEnd | None:
    rules = group_rules(vpc.security_groups, eni.security_groups)
    if rules is None or (passing := verdicts(rules, traffic)) == {True}:
        return None
    names = ", ".join(eni.security_groups)
    extent = "does not allow" if True not in passing else "allows a part of"
    return DeadEnd(
        node=eni.name,
        kind="security_group",
        name=names,
        sentence=f"egress of the security-group set {names} {extent} {to_server(traffic, server)}",
        certain=True not in passing,
        cure=f"Add to egress of the security group {eni.security_groups[0]}: "
        f"{{{as_rule(traffic)}, to: {traffic.block}}}",
    )


def _ingress(topology: Topology, eni: Eni, last: Leg, requests: Traffic, server: Server) -> DeadEnd | None:
    """The groups of a server in a VPC, or of an endpoint: by a name they mean the ENI, by a range its address."""
    if last.arrives:
        node, kind, having, owner = server.node, "ingress", server.security_groups, server.name
    elif last.exit and last.exit.ingress_groups:
        node, kind, having, owner = last.exit.node, "endpoint_ingress", last.exit.ingress_groups, last.exit.node
    else:
        return None
    home = topology.vpc_of(eni.subnet.name)

    def addresses(group: str) -> Iterator[IPv4Network]:
        if group in eni.security_groups and (group not in DEFAULT_SECURITY_GROUPS or home == last.vpc):
            yield eni.subnet.cidr

    rules = ingress_rules(topology.security_groups, having, addresses)
    traffic = replace(requests, block=eni.subnet.cidr)
    if not having or rules is None or (passing := verdicts(rules, traffic)) == {True}:
        return None
    names, groups = ", ".join(having), ", ".join(eni.security_groups)
    what = f"{to_server(traffic, server)} from {groups}"
    extent = "does not allow" if True not in passing else "allows a part of"
    is_known = home == last.vpc or any({*peering.vpcs} == {home.name, last.vpc.name} for peering in topology.peerings)
    source = eni.security_groups[0] if is_known else eni.subnet.cidr
    return DeadEnd(
        node=node,
        kind=kind,
        name=names,
        sentence=f"ingress of the security group {names} of {owner} {extent} {what}",
        certain=True not in passing,
        cure=f"Add to ingress of the security group {having[0]}: {{{as_rule(traffic)}, from: {source}}}",
    )

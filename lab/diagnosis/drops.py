"""The causes of drops that are no limit: each in words, and the topology in which it does not drop.

A cause is an entry of `CAUSES`, under the `kind` that its `DropPoint` has; where the topology predicts it is
`lab.paths.dead_ends`, where the kernel counts it is its node's plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.nodes.peering.model import Peering
from lab.paths.leg import DeadEnd
from lab.schema.drops import DropCount, DropPoint
from lab.schema.firewall import EgressRule
from lab.topology import Eni, Topology, Vpc
from lab.topology.edit import rerouted, unused, with_vpcs

__all__ = [
    "CAUSES",
    "DropWords",
    "cause_in_words",
    "cure_of",
    "drop_words",
    "drops_questions",
    "opened",
    "packet_in_words",
]


@dataclass(frozen=True, slots=True)
class DropWords:
    """The sentences about one drop."""

    headline: str
    where: str
    mechanism: str
    remedy: str

    def of(self, drop: DropPoint) -> DropWords:
        """These sentences with the names of what drops and of its node, and its direction if it has one."""
        texts = (self.headline, self.where, self.mechanism, self.remedy)
        return DropWords(*(text.format(name=drop.name, direction=drop.direction, node=drop.node) for text in texts))


Opened = Callable[[Topology, Eni, DeadEnd], tuple[Topology, str] | None]
"""A topology in which nothing is dropped there, and what to write; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Cause:
    words: str
    """Its name in sentences: `network ACL`."""
    told: DropWords
    of_answers: DropWords | None = None
    """Where it is servers' answers that are dropped."""
    far_side: DropWords | None = None
    """Where it is between a NAT gateway and the internet."""
    far_side_answers: DropWords | None = None
    questions: bool = False
    """Whether it drops questions to the name server, and no packet of a connection."""
    packet: str = "question"
    """What one of its dropped packets is, where they are questions."""
    opened: Opened | None = None


def drop_words(drop: DropPoint) -> DropWords:
    """The sentences about a drop, with the name of what drops."""
    cause = CAUSES[drop.kind]
    special = {
        (False, True): cause.of_answers,
        (True, False): cause.far_side,
        (True, True): cause.far_side_answers,
    }.get((drop.far_side, drop.answers))
    return (special or cause.told).of(drop)


def cause_in_words(drop: DropPoint) -> str:
    """The drop's cause as a noun: `network ACL`."""
    return CAUSES[drop.kind].words


def drops_questions(drop: DropPoint) -> bool:
    """Whether it drops questions to the name server, and no packet of a connection."""
    return CAUSES[drop.kind].questions


def packet_in_words(drop: DropPoint) -> str:
    """What one of its dropped packets is: `question`."""
    return CAUSES[drop.kind].packet


def cure_of(drop: DropCount) -> str:
    """The rule that lets its packets pass, or what kind of rule that is where it is not known."""
    return drop.cure or drop_words(drop).remedy


def opened(topology: Topology, eni: Eni, end: DeadEnd) -> tuple[Topology, str] | None:
    """The topology without what drops connections of an ENI, and what to write; None where it cannot be told."""
    change = CAUSES[end.kind].opened
    return change(topology, eni, end) if change else None


# ── Topologies without the drop ─────────────────────────────────────────────────────────────────────────────


def _routed(topology: Topology, _: Eni, end: DeadEnd) -> tuple[Topology, str] | None:
    route = next((gateway.name for gateway in topology.vpc_of(end.name).nat_gateways), None)
    if route is None:
        return None
    return rerouted(topology, [end.name], route), f"Give the subnet {end.name} a default route: {route}."


def _transit_routed(topology: Topology, _: Eni, end: DeadEnd) -> tuple[Topology, str] | None:
    (gateway,) = (gateway for gateway in topology.transit_gateways if gateway.name == end.name)
    attached = [attachment.vpc for attachment in gateway.attachments]
    egress = next((vpc.name for vpc in topology.vpcs if vpc.name in attached and vpc.nat_gateways), None)
    if egress is None:
        return None
    changed = gateway.model_copy(update={"default_route": egress})
    gateways = tuple(changed if other == gateway else other for other in topology.transit_gateways)
    change = f"Give the Transit Gateway {end.name} a default route: {egress}."
    return topology.model_copy(update={"transit_gateways": gateways}), change


def _without_groups(topology: Topology, eni: Eni, end: DeadEnd) -> tuple[Topology, str]:
    def opened(vpc: Vpc) -> dict[str, object]:
        groups = (
            group.model_copy(update={"egress": (EgressRule(),)}) if group.name in eni.security_groups else group
            for group in vpc.security_groups
        )
        return {"security_groups": tuple(groups)}

    return with_vpcs(topology, opened), end.cure or ""


def _without_acl(topology: Topology, _: Eni, end: DeadEnd) -> tuple[Topology, str]:
    def without(vpc: Vpc) -> dict[str, object]:
        return {"network_acls": tuple(acl for acl in vpc.network_acls if acl.name != end.name)}

    return with_vpcs(topology, without), end.cure or ""


def _joined(topology: Topology, eni: Eni, end: DeadEnd) -> tuple[Topology, str]:
    """The function's VPC and the one where the way ends, with a peering whose route all subnets have."""
    home = topology.vpc_of(eni.subnet.name).name
    joining = (
        peering.vpcs for peering in topology.peerings if end.kind == "not_transitive" and peering.name == end.name
    )
    for vpc in next(joining, (end.name,)):
        topology = _peered(topology, home, vpc) if vpc != home else topology
    return topology, end.cure or ""


def _routed_back(topology: Topology, eni: Eni, end: DeadEnd) -> tuple[Topology, str]:
    home, vpc = topology.vpc_of(eni.subnet.name).name, topology.vpc_of(end.name).name
    return _peered(topology, home, vpc), end.cure or ""


def _peered(topology: Topology, home: str, vpc: str) -> Topology:
    others = tuple(peering for peering in topology.peerings if {*peering.vpcs} != {home, vpc})
    name = unused("more", {peering.name for peering in others})
    return topology.model_copy(update={"peerings": (*others, Peering(name=name, vpcs=(home, vpc)))})


def _without_ingress(topology: Topology, _: Eni, end: DeadEnd) -> tuple[Topology, str]:
    servers = (
        server.model_copy(update={"security_groups": ()}) if server.node == end.node else server
        for server in topology.servers
    )
    return topology.model_copy(update={"servers": tuple(servers)}), end.cure or ""


def _without_endpoint_ingress(topology: Topology, _: Eni, end: DeadEnd) -> tuple[Topology, str]:
    def without(vpc: Vpc) -> dict[str, object]:
        endpoints = (
            endpoint.model_copy(update={"security_groups": ()})
            if any(exit_.node == end.node for exit_ in endpoint.exits)
            else endpoint
            for endpoint in vpc.interface_endpoints
        )
        return {"interface_endpoints": tuple(endpoints)}

    return with_vpcs(topology, without), end.cure or ""


_METRICS = (
    "CloudWatch shows more in {node}'s ConnectionAttemptCount than in its ConnectionEstablishedCount, and no "
    "ErrorPortAllocation unless its ports run out as well."
)

CAUSES = {
    "dns_quota": _Cause(
        "DNS quota",
        DropWords(
            headline="The resolver's quota reached: {name}",
            where="by the resolver's quota of {name}",
            mechanism="The resolver takes {name} and leaves the rest unanswered; no metric of the function shows it. "
            "It counts packets: glibc and musl, and so Python and Node, ask for A and AAAA at once, two for a look-up.",
            remedy="Keep DNS answers for as long as their TTL allows, and spread questions over more interfaces: more "
            "subnets, more ENIs.",
        ),
        questions=True,
    ),
    "dns_tcp": _Cause(
        "limit of DNS over TCP",
        DropWords(
            headline="The resolver's limit of DNS over TCP reached: {name}",
            where="by the resolver's limit of {name}",
            mechanism="An answer that is too long for a datagram is truncated, and the client asks again over TCP. The "
            "resolver takes {name} and drops the SYNs of more without a word; no metric of the function shows it.",
            remedy="Keep answers short enough for a datagram: fewer records for the name, no DNSSEC records, EDNS in "
            "the client. Keep them for as long as their TTL allows.",
        ),
        questions=True,
        packet="DNS-over-TCP SYN",
    ),
    "no_route": _Cause(
        "no route",
        DropWords(
            headline="No route, and no limit: the subnet {name} leads nowhere",
            where="where the subnet {name} has no default route",
            mechanism="The Hyperplane ENI let the SYNs pass; the subnet's route table has no way to the server, and a "
            "VPC drops what it cannot route without a word, just as a full ENI does.",
            remedy="Give the subnet {name} a default route to a NAT gateway, or an interface endpoint for the server.",
        ),
        opened=_routed,
    ),
    "no_transit_route": _Cause(
        "no route",
        DropWords(
            headline="No route, and no limit: the Transit Gateway {name} leads nowhere",
            where="where the Transit Gateway {name} has no default route",
            mechanism="The Hyperplane ENI let the SYNs pass; the Transit Gateway's route table has no way to the "
            "server, and it drops what it cannot route without a word, just as a full ENI does.",
            remedy="Give the Transit Gateway {name} a default route to a VPC with a NAT gateway.",
        ),
        opened=_transit_routed,
    ),
    "no_vpc_route": _Cause(
        "no route",
        DropWords(
            headline="No route, and no limit: nothing leads to the VPC {name}",
            where="where no route leads to the VPC {name}",
            mechanism="The Hyperplane ENI let the SYNs pass; no route table on the way has the range of the server's "
            "VPC, and what a VPC cannot route it drops without a word, just as a full ENI does.",
            remedy="Give the function's subnets a route to the VPC {name}, by a peering or a Transit Gateway.",
        ),
        far_side=DropWords(
            headline="No route, and no limit: the default route leads to the internet, not to the VPC {name}",
            where="beyond {node}, where no private address leads anywhere",
            mechanism="No route is for the range of the server's VPC, so the default route took the SYNs to {node}; "
            "on the internet a private address leads nowhere, and an internet gateway drops it without a word, just as "
            "a full ENI does. CloudWatch has them in a NAT gateway's ConnectionAttemptCount, and none established.",
            remedy="Give the function's subnets a route to the VPC {name}, by a peering or a Transit Gateway.",
        ),
        opened=_joined,
    ),
    "outside_vpc": _Cause(
        "no route",
        DropWords(
            headline="No route, and no limit: the function is outside the VPC {name}, and its server is in it",
            where="beyond {node}, where no private address leads anywhere",
            mechanism="The name is resolved to the server's private address. A function without subnets sends to the "
            "internet, where that leads nowhere, and the SYNs are dropped without a word. No ENI, NAT gateway or flow "
            "log of the VPC has seen them.",
            remedy="Give the function subnets in the VPC {name}.",
        ),
    ),
    "not_transitive": _Cause(
        "peering",
        DropWords(
            headline="Peering is not transitive: {name} does not carry what comes from a third VPC",
            where="by the peering {name}, which carries what its own two VPCs send",
            mechanism="The Hyperplane ENI let the SYNs pass, and a Transit Gateway brought them to a VPC of the "
            "peering; that carries what comes from its own two VPCs only, and drops the rest without a word.",
            remedy="Join the function's VPC and the server's by a peering of their own, or by a Transit Gateway.",
        ),
        opened=_joined,
    ),
    "no_route_back": _Cause(
        "no route back",
        DropWords(
            headline="No route back, and no limit: the subnet {name} of the server does not know the function's VPC",
            where="where the subnet {name} has no route back",
            mechanism="The SYNs came to the server, and its answers were dropped: a peering needs its route in the "
            "route tables of both sides. Until then each connection holds its ports on the way, half-open.",
            remedy="Add the peering's route to the route table of the subnet {name}.",
        ),
        opened=_routed_back,
    ),
    "ingress": _Cause(
        "target's security group",
        DropWords(
            headline="The target's security group forbids it: ingress of {name} does not allow the function",
            where="by ingress of the security group {name}, at {node}",
            mechanism="The Hyperplane ENI and its own security groups let the SYNs pass, and a port is taken for each "
            "connection; the groups of the server's network interface drop what they do not allow without a word, just "
            "as a full ENI does.",
            remedy="Add a rule for the function's security group to ingress of the security group {name}.",
        ),
        opened=_without_ingress,
    ),
    "endpoint_ingress": _Cause(
        "endpoint's security group",
        DropWords(
            headline="The endpoint's security group forbids it: ingress of {name} does not allow the function",
            where="by ingress of the security group {name}, at {node}",
            mechanism="The name leads to the endpoint's private address, so DNS looks fine. The Hyperplane ENI and its "
            "own security groups let the SYNs pass, and a port is taken for each connection; the groups of the "
            "endpoint's network interface drop what they do not allow without a word, just as a full ENI does.",
            remedy="Add a rule for the function's security group to ingress of the security group {name}.",
        ),
        opened=_without_endpoint_ingress,
    ),
    "security_group": _Cause(
        "security group",
        DropWords(
            headline="Security group forbids it: egress of {name} does not allow the server",
            where="by egress of the security group {name}",
            mechanism="The Hyperplane ENI drops what its security groups do not allow before it takes a port for it, "
            "and without a word, just as a full ENI does.",
            remedy="Add a rule for the server to egress of the security group {name}.",
        ),
        opened=_without_groups,
    ),
    "network_acl": _Cause(
        "network ACL",
        DropWords(
            headline="Network ACL forbids it: {direction} of {name} does not allow the server",
            where="by {direction} of the network ACL {name}",
            mechanism="The Hyperplane ENI let the SYNs pass, and has a port taken for each connection; no entry of the "
            "network ACL allows them across the subnet's border.",
            remedy="Add an entry for the server to {direction} of the network ACL {name}.",
        ),
        of_answers=DropWords(
            headline="Network ACL forbids the answers: {direction} of {name} has no entry for the clients' ports",
            where="by {direction} of the network ACL {name}",
            mechanism="The server answered, and its answers were dropped on their way back: a network ACL is "
            "stateless, so answers need an entry of their own, for the ports that clients use (1024-65535). Until then "
            "each connection holds its ports on the way, half-open.",
            remedy="Add an entry for the ports 1024-65535 to {direction} of the network ACL {name}.",
        ),
        far_side=DropWords(
            headline="Network ACL forbids it: {direction} of {name} does not let {node} reach the server",
            where="by {direction} of the network ACL {name} between {node} and the internet",
            mechanism="{node} took a port for each connection and sent the SYNs on; the network ACL of its own subnet "
            "has no entry that allows them out to the server. Until the half-open timeout each connection holds its "
            "ports on the way. " + _METRICS,
            remedy="Add an entry for the server to {direction} of the network ACL {name}.",
        ),
        far_side_answers=DropWords(
            headline="Network ACL forbids the answers: {direction} of {name} does not allow all ports of {node}",
            where="by {direction} of the network ACL {name} between {node} and the internet",
            mechanism="The server answered {node}, and its answers were dropped where they enter the subnet of {node}: "
            "a network ACL is stateless, so answers need an entry of their own, for the ports that a NAT gateway uses "
            "(1024-65535). Until the half-open timeout each connection holds its ports on the way. " + _METRICS,
            remedy="Add an entry for the ports 1024-65535 to {direction} of the network ACL {name}.",
        ),
        opened=_without_acl,
    ),
}
"""`kind` of a drop → the cause."""

"""Where connections end whatever the limits, known from the topology alone: no route, or a firewall's rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import permutations
from typing import TYPE_CHECKING

from lab.schema.drops import DropPoint
from lab.schema.firewall import (
    CLIENT_PORTS,
    Direction,
    NetworkAcl,
    Rule,
    Traffic,
    Transport,
    acl_rules,
    group_rules,
    ingress_rules,
    verdicts,
)
from lab.schema.limits import ACL_RULE_NUMBERS, EPHEMERAL_PORTS
from lab.schema.names import DEFAULT_SECURITY_GROUPS, EGRESS
from lab.topology.joined import Crossed, way_between

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lab.nodes.peering.model import Peering
    from lab.nodes.server.model import Server
    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.schema.exits import Exit
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["DeadEnd", "Leg", "dead_end", "outside"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnd(DropPoint):
    """A drop that the topology predicts: connections end here whatever the limits are."""

    sentence: str
    certain: bool = True
    """Whether all end here; otherwise their ports or addresses decide, which a topology does not know."""
    cure: str | None = None
    """The rule that would let them pass, in the topology's words."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A VPC that a connection crosses: from the subnet where it enters to the one in which it leaves or arrives."""

    vpc: Vpc
    near: Subnet | None
    """None where it enters by a peering, which is in no subnet."""
    far: Subnet | None
    """None where it leaves by no other subnet: by a peering, by a route table's entry alone, or not at all."""
    exit: Exit | None = None
    """What takes it out of all VPCs."""
    transit_gateway: TransitGateway | None = None
    """What takes it to the next one."""
    peering: Peering | None = None
    """What takes it to the next one, if not a Transit Gateway."""
    arrives: bool = False
    """Whether the server is here, in the far subnet."""

    @property
    def leads_on(self) -> bool:
        """Whether the subnet has a route to the server."""
        return self.arrives or any((self.exit, self.transit_gateway, self.peering))


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A network ACL's judgement of one traffic."""

    node: str
    acl: NetworkAcl
    direction: Direction
    answers: bool
    traffic: Traffic
    cure: IPv4Network
    """The far addresses of an entry that would let it pass: at the way out, those of all subnets that use it."""
    far_side: bool = False
    """Whether it is between the node and the internet."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return acl_rules(self.acl, self.direction, answers=self.answers)

    @property
    def passing(self) -> frozenset[bool]:
        return verdicts(self.rules, self.traffic)


def dead_end(topology: Topology, eni: Eni, legs: Sequence[Leg], server: Server, transport: Transport) -> DeadEnd | None:
    """The first place on the way through an ENI, and through these VPCs, where connections to a server end."""
    requests = Traffic(transport, _destination(topology, legs[-1], server), server.port, server.port)
    home = topology.vpc_of(eni.subnet.name)
    if end := _security_group(home, eni, requests, server):
        return end
    there = [crossing for leg in legs for crossing in _towards_server(leg, eni, home, requests, server)]
    back = _back(topology, eni, legs[-1], requests)
    failing = [crossing for crossing in (*there, *back) if crossing.passing != {True}]
    if failing and not failing[0].answers:
        return _network_acl(failing, server)
    return (
        _unrouted(topology, eni, legs[-1], server)
        or _ingress(topology, eni, legs[-1], requests, server)
        or _unrouted_back(topology, eni, legs[-1], server)
        or (_network_acl(failing, server) if failing else None)
    )


def outside(topology: Topology, function: str, server: Server) -> DeadEnd | None:
    """Where connections of a function outside all VPCs to a server in one end."""
    if server.subnet is None:
        return None
    sentence = f"{function} is outside the VPC, where the private address of {server.name} leads nowhere"
    vpc = topology.vpc_of(server.subnet).name
    cure = f"Give {function} subnets in the VPC {vpc}."
    return DeadEnd(EGRESS, "outside_vpc", vpc, far_side=True, sentence=sentence, cure=cure)


def _destination(topology: Topology, last: Leg, server: Server) -> IPv4Network:
    if server.address is None:
        return next(subnet.cidr for subnet in topology.subnets if subnet.name == server.subnet)
    address = IPv4Network((server.address, 32))
    return address if last.exit is None or last.far is None else last.exit.destination(address, last.far.cidr)


# ── Routes ──────────────────────────────────────────────────────────────────────────────────────────────────


def _unrouted(topology: Topology, eni: Eni, last: Leg, server: Server) -> DeadEnd | None:
    """Where routes end before the server."""
    if last.arrives or (last.exit and server.subnet is None):
        return None
    if server.subnet is not None:
        return _unrouted_to_vpc(topology, eni, last, server, topology.vpc_of(server.subnet))
    if last.transit_gateway is not None:
        gateway = last.transit_gateway
        sentence = f"the Transit Gateway {gateway.name} has no route to {server.name}"
        return DeadEnd(gateway.node, "no_transit_route", gateway.name, sentence=sentence)
    near = last.near.name if last.near else ""
    return DeadEnd(last.vpc.node, "no_route", near, sentence=f"the subnet {near} has no route to {server.name}")


def _unrouted_to_vpc(topology: Topology, eni: Eni, last: Leg, server: Server, vpc: Vpc) -> DeadEnd:
    """Where routes end before a server in a VPC: of what has strayed to a NAT gateway, on the internet."""
    home = topology.vpc_of(eni.subnet.name)
    if last.peering is not None:
        sentence = (
            f"the peering {last.peering.name} does not carry what a Transit Gateway has brought to {last.vpc.name}: "
            "peering is not transitive"
        )
        return DeadEnd(last.peering.node, "not_transitive", last.peering.name, sentence=sentence, cure=_join(home, vpc))
    node = next(one.node for one in (last.exit, last.transit_gateway, last.vpc) if one is not None)
    sentence, cure = _lacking(topology, eni.subnet, home, vpc)
    astray = f", and its default route leads to {node}" if last.exit else ""
    return DeadEnd(
        node,
        "no_vpc_route",
        vpc.name,
        far_side=last.exit is not None,
        sentence=f"the subnet {eni.subnet.name} has no route to {server.name}{astray}: {sentence}",
        cure=cure,
    )


def _lacking(topology: Topology, subnet: Subnet, home: Vpc, vpc: Vpc) -> tuple[str, str]:
    """Why a subnet has no route to another VPC, and what would give it one."""
    peerings = topology.peerings
    direct = next((peering for peering in peerings if {*peering.vpcs} == {home.name, vpc.name}), None)
    if direct is not None:
        cure = (
            f"Add a route to {vpc.cidr} to the route table of {subnet.name}: {subnet.name} in subnets of {direct.name}."
        )
        return f"the peering {direct.name} is not in its route table", cure
    for one, other in permutations(peerings, 2):
        if home.name in one.vpcs and vpc.name in other.vpcs and {*one.vpcs} & {*other.vpcs}:
            return f"peering is not transitive, so {one.name} and {other.name} lead no further", _join(home, vpc)
    return f"no peering and no Transit Gateway joins {home.name} and {vpc.name}", _join(home, vpc)


def _join(home: Vpc, vpc: Vpc) -> str:
    return f"Make a peering of {home.name} and {vpc.name}, or attach both to one Transit Gateway."


def _unrouted_back(topology: Topology, eni: Eni, last: Leg, server: Server) -> DeadEnd | None:
    """The missing way of answers from a server in a VPC."""
    if not last.arrives or last.far is None or way_between(topology, last.far, eni.subnet) is not None:
        return None
    home, subnet = topology.vpc_of(eni.subnet.name), last.far.name
    peering = next(peering for peering in topology.peerings if {*peering.vpcs} == {home.name, last.vpc.name})
    return DeadEnd(
        last.vpc.node,
        "no_route_back",
        subnet,
        answers=True,
        sentence=f"the subnet {subnet} of {server.name} has no route back to {eni.subnet.name} in {home.name}",
        cure=f"Add a route to {home.cidr} to the route table of {subnet}: {subnet} in subnets of {peering.name}.",
    )


# ── Security groups ─────────────────────────────────────────────────────────────────────────────────────────


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
        sentence=f"egress of the security-group set {names} {extent} {_to(traffic, server)}",
        certain=True not in passing,
        cure=f"Add to egress of the security group {eni.security_groups[0]}: {{{_what(traffic)}, to: {traffic.block}}}",
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
    what = f"{_to(traffic, server)} from {groups}"
    extent = "does not allow" if True not in passing else "allows a part of"
    is_known = home == last.vpc or any({*peering.vpcs} == {home.name, last.vpc.name} for peering in topology.peerings)
    source = eni.security_groups[0] if is_known else eni.subnet.cidr
    return DeadEnd(
        node=node,
        kind=kind,
        name=names,
        sentence=f"ingress of the security group {names} of {owner} {extent} {what}",
        certain=True not in passing,
        cure=f"Add to ingress of the security group {having[0]}: {{{_what(traffic)}, from: {source}}}",
    )


# ── Network ACLs ────────────────────────────────────────────────────────────────────────────────────────────


def _towards_server(leg: Leg, eni: Eni, home: Vpc, requests: Traffic, server: Server) -> Iterator[_Crossing]:
    """The borders of subnets on the way through a VPC; within a subnet there is none."""
    node, acls, near, far = leg.vpc.node, _acls(leg.vpc), leg.near, leg.far
    if not leg.leads_on:
        return
    if near and near != far and (acl := acls.get(near.name)):
        yield _Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block)
    if far and near != far and (acl := acls.get(far.name)):
        traffic = replace(requests, block=eni.subnet.cidr)
        yield _Crossing(node, acl, "ingress", answers=False, traffic=traffic, cure=home.cidr)
    is_astray = server.subnet is not None
    if leg.exit and far and leg.exit.SENDS_THROUGH_SUBNET and not is_astray and (acl := acls.get(far.name)):
        node = leg.exit.node
        yield _Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block, far_side=True)


def _back(topology: Topology, eni: Eni, last: Leg, requests: Traffic) -> Iterator[_Crossing]:
    """The borders of subnets on the way of answers, by the routes that lead back."""
    if not (last.exit or last.arrives):
        return
    answers = replace(requests, first_port=CLIENT_PORTS[0], last_port=CLIENT_PORTS[-1])
    acls = _acls(last.vpc)
    if last.far and (acl := acls.get(last.far.name)) and last.exit and last.exit.SENDS_THROUGH_SUBNET:
        traffic = replace(requests, first_port=EPHEMERAL_PORTS[0], last_port=EPHEMERAL_PORTS[-1])
        node = last.exit.node
        yield _Crossing(node, acl, "ingress", answers=True, traffic=traffic, cure=requests.block, far_side=True)
    home = topology.vpc_of(eni.subnet.name)
    direct = (Crossed(last.vpc, None, eni.subnet),)
    for vpc, entered, left in (way_between(topology, last.far, eni.subnet) or ()) if last.far else direct:
        acls = _acls(vpc)
        if entered == left:
            continue
        if entered and (acl := acls.get(entered.name)):
            traffic = replace(answers, block=eni.subnet.cidr)
            yield _Crossing(vpc.node, acl, "egress", answers=True, traffic=traffic, cure=home.cidr)
        if left and (acl := acls.get(left.name)):
            yield _Crossing(vpc.node, acl, "ingress", answers=True, traffic=answers, cure=requests.block)


def _acls(vpc: Vpc) -> dict[str, NetworkAcl]:
    """Subnet → its network ACL."""
    return {subnet: acl for acl in vpc.network_acls for subnet in acl.subnets}


def _network_acl(failing: Sequence[_Crossing], server: Server) -> DeadEnd:
    """The end at the first of the crossings that do not let all pass."""
    first = failing[0]
    acl, passing = first.acl, first.passing
    what = f"the answers of {server.name}" if first.answers else _to(first.traffic, server)
    extent = "forbids" if True not in passing else "forbids a part of"
    place = f", between {first.node} and the internet" if first.far_side else ""
    return DeadEnd(
        node=first.node,
        kind="network_acl",
        name=acl.name,
        sentence=f"{first.direction} of the network ACL {acl.name} {extent} {what}{place}",
        direction=first.direction,
        answers=first.answers,
        far_side=first.far_side,
        certain=True not in passing,
        cure=_entries([crossing for crossing in failing if crossing.acl == acl]),
    )


def _entries(failing: Sequence[_Crossing]) -> str:
    """The entries of one network ACL that would let all of these crossings pass."""
    by_direction: dict[Direction, list[_Crossing]] = {}
    for crossing in failing:
        by_direction.setdefault(crossing.direction, []).append(crossing)
    return " ".join(_entries_of(direction, crossings) for direction, crossings in by_direction.items())


def _entries_of(direction: Direction, crossings: Sequence[_Crossing]) -> str:
    acl, side = crossings[0].acl, "to" if direction == "egress" else "from"
    lacking: dict[str, _Crossing] = {}
    for crossing in crossings:
        lacking.setdefault(f"{_what(crossing.traffic)}, {side}: {crossing.cure}", crossing)
    taken, added = {entry.rule for entry in acl.entries(direction)}, []
    for what, crossing in lacking.items():
        number = _free_number(crossing, taken)
        if number is None:
            return f"Take the entry that denies it out of {direction} of the network ACL {acl.name}."
        taken.add(number)
        added.append(f"{{rule: {number}, action: allow, {what}}}")
    return f"Add to {direction} of the network ACL {acl.name}: {', '.join(added)}"


def _free_number(crossing: _Crossing, taken: Collection[int]) -> int | None:
    """One that is tried before the first entry that denies any of it; None where there is no room before that."""
    entries = crossing.acl.entries(crossing.direction)
    denying = (
        entry.rule for entry, rule in zip(entries, crossing.rules, strict=True) if _denies(rule, crossing.traffic)
    )
    before = next(denying, None)
    if before is None:
        after = max(taken) // 10 * 10 + 10 if taken else 100
        if after in ACL_RULE_NUMBERS:
            return after
    below = range((before or ACL_RULE_NUMBERS.stop) - 1, ACL_RULE_NUMBERS.start - 1, -1)
    return next((number for number in below if number not in taken), None)


def _denies(rule: Rule, traffic: Traffic) -> bool:
    """Whether a rule is a denial that matches some of this traffic, ports and addresses taken by themselves."""
    return rule.action == "deny" and True in verdicts((replace(rule, action="allow"),), traffic)


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────


def _to(traffic: Traffic, server: Server) -> str:
    return f"{traffic.protocol} to {server.name}, port {server.port}"


def _what(traffic: Traffic) -> str:
    first, last = traffic.first_port, traffic.last_port
    if first == CLIENT_PORTS[0] and last == CLIENT_PORTS[-1]:
        first, last = EPHEMERAL_PORTS[0], EPHEMERAL_PORTS[-1]
    return f"protocol: {traffic.protocol}, ports: {first if first == last else f'{first}-{last}'}"

"""Where connections end whatever the limits, known from the topology alone: no route, or a firewall's rule."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Network
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
    verdicts,
)
from lab.schema.limits import ACL_RULE_NUMBERS, EPHEMERAL_PORTS
from lab.topology.joined import way_between

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from lab.nodes.server.model import Server
    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.nodes.vpc.model import Subnet, Vpc
    from lab.schema.exits import Exit
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["DeadEnd", "Leg", "dead_end"]


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
    """A VPC that a connection crosses: from the subnet where it enters to the one in which it leaves."""

    vpc: Vpc
    near: Subnet
    far: Subnet | None
    """None where it leaves by no other subnet: by a route table's entry alone, or not at all."""
    exit: Exit | None = None
    """What takes it out of all VPCs."""
    transit_gateway: TransitGateway | None = None
    """What takes it to the next one."""

    @property
    def leads_on(self) -> bool:
        """Whether the subnet has a route to the server."""
        return self.exit is not None or self.transit_gateway is not None


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
    requests = Traffic(transport, _destination(legs[-1], server), server.port, server.port)
    home = topology.vpc_of(eni.subnet.name)
    if end := _security_group(home, eni, requests, server):
        return end
    crossings, unrouted = _way(topology, eni, legs, requests, server)
    failing = [crossing for crossing in crossings if crossing.passing != {True}]
    return _network_acl(failing, server) if failing else unrouted


def _way(
    topology: Topology, eni: Eni, legs: Sequence[Leg], requests: Traffic, server: Server
) -> tuple[list[_Crossing], DeadEnd | None]:
    """The borders of subnets on the way there and back, and where a route is missing; there is no way back then."""
    there: list[_Crossing] = []
    for leg in legs:
        if not leg.leads_on:
            sentence = f"the subnet {leg.near.name} has no route to {server.name}"
            return there, DeadEnd(leg.vpc.node, "no_route", leg.near.name, sentence=sentence)
        there += _towards_server(leg, eni, topology.vpc_of(eni.subnet.name), requests)
    last = legs[-1]
    if last.transit_gateway is not None:
        gateway = last.transit_gateway
        sentence = f"the Transit Gateway {gateway.name} has no route to {server.name}"
        return there, DeadEnd(gateway.node, "no_transit_route", gateway.name, sentence=sentence)
    return [*there, *_back(topology, eni, last, requests)], None


def _destination(last: Leg, server: Server) -> IPv4Network:
    address = IPv4Network((server.address, 32))
    return address if last.exit is None or last.far is None else last.exit.destination(address, last.far.cidr)


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


# ── Network ACLs ────────────────────────────────────────────────────────────────────────────────────────────


def _towards_server(leg: Leg, eni: Eni, home: Vpc, requests: Traffic) -> Iterator[_Crossing]:
    """The borders of subnets on the way through a VPC; within a subnet there is none."""
    node, acls, far = leg.vpc.node, _acls(leg.vpc), leg.far
    if (acl := acls.get(leg.near.name)) and leg.near != far:
        yield _Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block)
    if far is None:
        return
    if (acl := acls.get(far.name)) and leg.near != far:
        traffic = replace(requests, block=eni.subnet.cidr)
        yield _Crossing(node, acl, "ingress", answers=False, traffic=traffic, cure=home.cidr)
    if (acl := acls.get(far.name)) and leg.exit and leg.exit.SENDS_THROUGH_SUBNET:
        node = leg.exit.node
        yield _Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block, far_side=True)


def _back(topology: Topology, eni: Eni, last: Leg, requests: Traffic) -> Iterator[_Crossing]:
    """The borders of subnets on the way of answers, by the routes that lead back."""
    if last.exit is None:
        return
    answers = replace(requests, first_port=CLIENT_PORTS[0], last_port=CLIENT_PORTS[-1])
    acls = _acls(last.vpc)
    if last.far and (acl := acls.get(last.far.name)) and last.exit.SENDS_THROUGH_SUBNET:
        traffic = replace(requests, first_port=EPHEMERAL_PORTS[0], last_port=EPHEMERAL_PORTS[-1])
        node = last.exit.node
        yield _Crossing(node, acl, "ingress", answers=True, traffic=traffic, cure=requests.block, far_side=True)
    home = topology.vpc_of(eni.subnet.name)
    direct = [(last.vpc, None, eni.subnet)]
    for vpc, entered, left in way_between(topology, last.far, eni.subnet) if last.far else direct:
        acls = _acls(vpc)
        if entered and (acl := acls.get(entered.name)) and entered != left:
            traffic = replace(answers, block=eni.subnet.cidr)
            yield _Crossing(vpc.node, acl, "egress", answers=True, traffic=traffic, cure=home.cidr)
        if (acl := acls.get(left.name)) and entered != left:
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

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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    """None where the subnet has no route to the server."""
    exit: Exit | None = None
    """What takes it out of all VPCs."""
    transit_gateway: TransitGateway | None = None
    """What takes it to the next one."""


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

    @property
    def rules(self) -> tuple[Rule, ...]:
        return acl_rules(self.acl, self.direction, answers=self.answers)


def dead_end(topology: Topology, eni: Eni, legs: Sequence[Leg], server: Server, transport: Transport) -> DeadEnd | None:
    """The first place on the way through an ENI, and through these VPCs, where connections to a server end."""
    return next(_dead_ends(topology, eni, legs, server, transport), None)


def _dead_ends(
    topology: Topology, eni: Eni, legs: Sequence[Leg], server: Server, transport: Transport
) -> Iterator[DeadEnd]:
    requests = Traffic(transport, _destination(legs[-1], server), server.port, server.port)
    home = topology.vpc_of(eni.subnet.name)
    if dead_end := _security_group(home, eni, requests, server):
        yield dead_end
    back: list[_Crossing] = []
    for leg in legs:
        if leg.far is None:
            sentence = f"the subnet {leg.near.name} has no route to {server.name}"
            yield DeadEnd(leg.vpc.node, "no_route", leg.near.name, sentence=sentence)
            return
        there, answers = _crossings(leg, leg.far, eni, home, requests)
        yield from (end for crossing in there if (end := _network_acl(crossing, server)))
        back = [*answers, *back]
    last = legs[-1].transit_gateway
    if last is not None:
        sentence = f"the Transit Gateway {last.name} has no route to {server.name}"
        yield DeadEnd(last.node, "no_transit_route", last.name, sentence=sentence)
        return
    yield from (end for crossing in back if (end := _network_acl(crossing, server)))


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


def _crossings(
    leg: Leg, far: Subnet, eni: Eni, home: Vpc, requests: Traffic
) -> tuple[list[_Crossing], list[_Crossing]]:
    """The borders of subnets on the way through a VPC, there and back; within a subnet there is none."""
    near, node = leg.near, leg.vpc.node
    if near == far:
        return [], []
    acls = {subnet: acl for acl in leg.vpc.network_acls for subnet in acl.subnets}
    ports = CLIENT_PORTS[0], CLIENT_PORTS[-1]
    back = Traffic(requests.protocol, requests.block, *ports)
    inwards = Traffic(requests.protocol, eni.subnet.cidr, requests.first_port, requests.last_port)
    outwards = Traffic(requests.protocol, eni.subnet.cidr, *ports)
    there, answers = [], []
    if acl := acls.get(near.name):
        there.append(_Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block))
    if acl := acls.get(far.name):
        there.append(_Crossing(node, acl, "ingress", answers=False, traffic=inwards, cure=home.cidr))
        answers.append(_Crossing(node, acl, "egress", answers=True, traffic=outwards, cure=home.cidr))
    if acl := acls.get(near.name):
        answers.append(_Crossing(node, acl, "ingress", answers=True, traffic=back, cure=requests.block))
    return there, answers


def _network_acl(crossing: _Crossing, server: Server) -> DeadEnd | None:
    passing = verdicts(crossing.rules, crossing.traffic)
    if passing == {True}:
        return None
    acl, traffic = crossing.acl, crossing.traffic
    what = f"the answers of {server.name}" if crossing.answers else _to(traffic, server)
    extent = "forbids" if True not in passing else "forbids a part of"
    return DeadEnd(
        node=crossing.node,
        kind="network_acl",
        name=acl.name,
        sentence=f"{crossing.direction} of the network ACL {acl.name} {extent} {what}",
        direction=crossing.direction,
        answers=crossing.answers,
        certain=True not in passing,
        cure=_entry(crossing),
    )


def _entry(crossing: _Crossing) -> str:
    """The entry that would let the traffic pass."""
    acl, traffic, direction = crossing.acl, crossing.traffic, crossing.direction
    number = _free_number(crossing)
    if number is None:
        return f"Take the entry that denies it out of {direction} of the network ACL {acl.name}."
    far = f"{'to' if direction == 'egress' else 'from'}: {crossing.cure}"
    return (
        f"Add to {direction} of the network ACL {acl.name}: {{rule: {number}, action: allow, {_what(traffic)}, {far}}}"
    )


def _free_number(crossing: _Crossing) -> int | None:
    """One that is tried before the first entry that denies any of it; None where there is no room before that."""
    entries = crossing.acl.entries(crossing.direction)
    taken = {entry.rule for entry in entries}
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

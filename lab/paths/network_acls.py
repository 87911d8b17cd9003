"""The network ACLs that a connection and its answers cross, at the borders of subnets, and the first that refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lab.paths.leg import DeadEnd
from lab.schema.firewall import CLIENT_PORTS, Direction, NetworkAcl, Rule, Traffic, acl_rules, verdicts
from lab.schema.limits import ACL_RULE_NUMBERS, EPHEMERAL_PORTS
from lab.topology.joined import Crossed, way_between

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from ipaddress import IPv4Network

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Vpc
    from lab.paths.leg import Leg
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["Crossing", "answers_back", "as_rule", "refused", "to_server", "towards_server"]


@dataclass(frozen=True, slots=True)
class Crossing:
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
        """Those that are tried, in their order."""
        return acl_rules(self.acl, self.direction, answers=self.answers)

    @property
    def passing(self) -> frozenset[bool]:
        """Whether all of it passes, none, or a part: {True}, {False}, or both."""
        return verdicts(self.rules, self.traffic)


def towards_server(leg: Leg, eni: Eni, home: Vpc, requests: Traffic, server: Server) -> Iterator[Crossing]:
    """The borders of subnets on the way through a VPC; within a subnet there is none."""
    node, acls, near, far = leg.vpc.node, _acls(leg.vpc), leg.near, leg.far
    if not leg.leads_on:
        return
    if near and near != far and (acl := acls.get(near.name)):
        yield Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block)
    if far and near != far and (acl := acls.get(far.name)):
        traffic = replace(requests, block=eni.subnet.cidr)
        yield Crossing(node, acl, "ingress", answers=False, traffic=traffic, cure=home.cidr)
    is_astray = server.subnet is not None
    if leg.exit and far and leg.exit.SENDS_THROUGH_SUBNET and not is_astray and (acl := acls.get(far.name)):
        node = leg.exit.node
        yield Crossing(node, acl, "egress", answers=False, traffic=requests, cure=requests.block, far_side=True)


def answers_back(topology: Topology, eni: Eni, last: Leg, requests: Traffic) -> Iterator[Crossing]:
    """The borders of subnets on the way of answers, by the routes that lead back."""
    if not (last.exit or last.arrives):
        return
    answers = replace(requests, first_port=CLIENT_PORTS[0], last_port=CLIENT_PORTS[-1])
    acls = _acls(last.vpc)
    if last.far and (acl := acls.get(last.far.name)) and last.exit and last.exit.SENDS_THROUGH_SUBNET:
        traffic = replace(requests, first_port=EPHEMERAL_PORTS[0], last_port=EPHEMERAL_PORTS[-1])
        node = last.exit.node
        yield Crossing(node, acl, "ingress", answers=True, traffic=traffic, cure=requests.block, far_side=True)
    home = topology.vpc_of(eni.subnet.name)
    direct = (Crossed(last.vpc, None, eni.subnet),)
    for vpc, entered, left in (way_between(topology, last.far, eni.subnet) or ()) if last.far else direct:
        acls = _acls(vpc)
        if entered == left:
            continue
        if entered and (acl := acls.get(entered.name)):
            traffic = replace(answers, block=eni.subnet.cidr)
            yield Crossing(vpc.node, acl, "egress", answers=True, traffic=traffic, cure=home.cidr)
        if left and (acl := acls.get(left.name)):
            yield Crossing(vpc.node, acl, "ingress", answers=True, traffic=answers, cure=requests.block)


def _acls(vpc: Vpc) -> dict[str, NetworkAcl]:
    """Subnet → its network ACL."""
    return {subnet: acl for acl in vpc.network_acls for subnet in acl.subnets}


def refused(failing: Sequence[Crossing], server: Server) -> DeadEnd:
    """The end at the first of the crossings that do not let all pass."""
    first = failing[0]
    acl, passing = first.acl, first.passing
    what = f"the answers of {server.name}" if first.answers else to_server(first.traffic, server)
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


def _entries(failing: Sequence[Crossing]) -> str:
    """The entries of one network ACL that would let all of these crossings pass."""
    by_direction: dict[Direction, list[Crossing]] = {}
    for crossing in failing:
        by_direction.setdefault(crossing.direction, []).append(crossing)
    return " ".join(_entries_of(direction, crossings) for direction, crossings in by_direction.items())


def _entries_of(direction: Direction, crossings: Sequence[Crossing]) -> str:
    acl, side = crossings[0].acl, "to" if direction == "egress" else "from"
    lacking: dict[str, Crossing] = {}
    for crossing in crossings:
        lacking.setdefault(f"{as_rule(crossing.traffic)}, {side}: {crossing.cure}", crossing)
    taken, added = {entry.rule for entry in acl.entries(direction)}, []
    for what, crossing in lacking.items():
        number = _free_number(crossing, taken)
        if number is None:
            return f"Take the entry that denies it out of {direction} of the network ACL {acl.name}."
        taken.add(number)
        added.append(f"{{rule: {number}, action: allow, {what}}}")
    return f"Add to {direction} of the network ACL {acl.name}: {', '.join(added)}"


def _free_number(crossing: Crossing, taken: Collection[int]) -> int | None:
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


def to_server(traffic: Traffic, server: Server) -> str:
    """Traffic to a server, in words."""
    return f"{traffic.protocol} to {server.name}, port {server.port}"


def as_rule(traffic: Traffic) -> str:
    """Protocol and ports as a rule of the topology file has them."""
    first, last = traffic.first_port, traffic.last_port
    if first == CLIENT_PORTS[0] and last == CLIENT_PORTS[-1]:
        first, last = EPHEMERAL_PORTS[0], EPHEMERAL_PORTS[-1]
    return f"protocol: {traffic.protocol}, ports: {first if first == last else f'{first}-{last}'}"

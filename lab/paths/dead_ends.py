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
from lab.schema.names import VPC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.nodes.server.model import Server
    from lab.nodes.vpc.model import Subnet
    from lab.schema.exits import Exit
    from lab.topology.enis import Eni
    from lab.topology.model import Topology

__all__ = ["DeadEnd", "dead_end"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadEnd(DropPoint):
    """A drop that the topology predicts: connections end here whatever the limits are."""

    sentence: str
    certain: bool = True
    """Whether all end here; otherwise their ports or addresses decide, which a topology does not know."""
    cure: str | None = None
    """The rule that would let them pass, in the topology's words."""


@dataclass(frozen=True, slots=True)
class _Crossing:
    """A network ACL's judgement of one traffic."""

    acl: NetworkAcl
    direction: Direction
    answers: bool
    traffic: Traffic
    cure: IPv4Network
    """The far addresses of an entry that would let it pass: at the way out, those of all subnets that use it."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        return acl_rules(self.acl, self.direction, answers=self.answers)


def dead_end(topology: Topology, eni: Eni, out: Exit | None, server: Server, transport: Transport) -> DeadEnd | None:
    """The first place on the way through an ENI where connections to a server end."""
    subnets = {subnet.name: subnet for subnet in topology.subnets}
    to = _destination(out, server, subnets)
    if found := _security_group(topology, eni, Traffic(transport, to, server.port, server.port), server):
        return found
    if out is None:
        return DeadEnd(
            VPC, "no_route", eni.subnet.name, sentence=f"the subnet {eni.subnet.name} has no route to {server.name}"
        )
    crossings = _crossings(topology, eni.subnet, subnets[out.subnet], Traffic(transport, to, server.port, server.port))
    return next((found for crossing in crossings if (found := _network_acl(crossing, server))), None)


def _destination(out: Exit | None, server: Server, subnets: dict[str, Subnet]) -> IPv4Network:
    address = IPv4Network((server.address, 32))
    return address if out is None else out.destination(address, subnets[out.subnet].cidr)


# ── Security groups ─────────────────────────────────────────────────────────────────────────────────────────


def _security_group(topology: Topology, eni: Eni, traffic: Traffic, server: Server) -> DeadEnd | None:
    rules = group_rules(topology.security_groups, eni.security_groups)
    if rules is None or (found := verdicts(rules, traffic)) == {True}:
        return None
    names = ", ".join(eni.security_groups)
    extent = "does not allow" if True not in found else "allows a part of"
    return DeadEnd(
        node=eni.name,
        kind="security_group",
        name=names,
        sentence=f"egress of the security-group set {names} {extent} {_to(traffic, server)}",
        certain=True not in found,
        cure=f"Add to egress of the security group {eni.security_groups[0]}: {{{_what(traffic)}, to: {traffic.block}}}",
    )


# ── Network ACLs ────────────────────────────────────────────────────────────────────────────────────────────


def _crossings(topology: Topology, near: Subnet, far: Subnet, requests: Traffic) -> Iterator[_Crossing]:
    """The borders of subnets between an ENI and the way out, there and back; within a subnet there is none."""
    if near == far:
        return
    acls = {subnet: acl for acl in topology.network_acls for subnet in acl.subnets}
    ports = CLIENT_PORTS[0], CLIENT_PORTS[-1]
    back = Traffic(requests.protocol, requests.block, *ports)
    inwards = Traffic(requests.protocol, near.cidr, requests.first_port, requests.last_port)
    outwards = Traffic(requests.protocol, near.cidr, *ports)
    if near.name in acls:
        yield _Crossing(acls[near.name], "egress", answers=False, traffic=requests, cure=requests.block)
    if far.name in acls:
        yield _Crossing(acls[far.name], "ingress", answers=False, traffic=inwards, cure=topology.vpc.cidr)
        yield _Crossing(acls[far.name], "egress", answers=True, traffic=outwards, cure=topology.vpc.cidr)
    if near.name in acls:
        yield _Crossing(acls[near.name], "ingress", answers=True, traffic=back, cure=requests.block)


def _network_acl(crossing: _Crossing, server: Server) -> DeadEnd | None:
    found = verdicts(crossing.rules, crossing.traffic)
    if found == {True}:
        return None
    acl, traffic = crossing.acl, crossing.traffic
    what = f"the answers of {server.name}" if crossing.answers else _to(traffic, server)
    extent = "forbids" if True not in found else "forbids a part of"
    return DeadEnd(
        node=VPC,
        kind="network_acl",
        name=acl.name,
        sentence=f"{crossing.direction} of the network ACL {acl.name} {extent} {what}",
        direction=crossing.direction,
        answers=crossing.answers,
        certain=True not in found,
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
    """Whether a rule denies any of the traffic that comes as far."""
    return rule.action == "deny" and True in verdicts((replace(rule, action="allow"),), traffic)


# ── Words ───────────────────────────────────────────────────────────────────────────────────────────────────


def _to(traffic: Traffic, server: Server) -> str:
    return f"{traffic.protocol} to {server.name}, port {server.port}"


def _what(traffic: Traffic) -> str:
    first, last = traffic.first_port, traffic.last_port
    if first == CLIENT_PORTS[0] and last == CLIENT_PORTS[-1]:
        first, last = EPHEMERAL_PORTS[0], EPHEMERAL_PORTS[-1]
    return f"protocol: {traffic.protocol}, ports: {first if first == last else f'{first}-{last}'}"

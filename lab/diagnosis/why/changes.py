"""What can be changed where connections are lost: each change as a topology, the smallest first. Pure.

Whether a change helps is not known here: `lab.diagnosis.why.remedies` asks prediction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from itertools import chain, count
from typing import Literal

from lab.diagnosis.why.thresholds import Question, Threshold
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.paths.ways import DeadEnd, Way, ways
from lab.schema.limits import FUNCTION_SUBNETS, NAT_EIPS
from lab.topology import Eni, NatGateway, Subnet, Topology, enis_of

__all__ = ["Case", "Effect", "Proposal", "proposals"]

Effect = Literal["raises", "unlimited", "saves", "unknown", "nothing", "impossible"]
"""In the order in which remedies are told."""

_ORDINALS = ("", "a first", "a second", "a third", "a fourth", "a fifth", "a sixth", "a seventh", "an eighth")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that may help; without a topology it cannot be made."""

    what: str
    change: str
    topology: Topology | None
    note: str = ""
    condition: str = ""
    meanwhile: str = ""
    sharers: tuple[str, ...] = ()
    """Functions that hold as many connections, before and after."""
    pair: bool = False
    """Whether it is two others together."""
    effect: Effect | None = None
    """Where no threshold can tell."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and what binds it."""

    topology: Topology
    question: Question
    before: Threshold

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those of the question's connections."""
        return ways(self.topology, self.question.function, self.question.server, self.question.protocol)

    @property
    def gateways(self) -> tuple[NatGateway, ...]:
        """The NAT gateways that bind, or else all on the ways."""
        found = tuple({way.exit.name: way.exit for way in self.ways if isinstance(way.exit, NatGateway)}.values())
        return tuple(each for each in found if each.node in self.before.nodes) or found

    @property
    def subnets(self) -> tuple[str, ...]:
        """The function's own."""
        return next(each.subnets for each in self.topology.functions if each.name == self.question.function)


def proposals(case: Case) -> Iterator[Proposal]:
    """The smallest change first."""
    eip, subnet = _elastic_ip(case.topology, case), _subnet(case.topology, case)
    yield from _way_through(case)
    yield from eip
    yield subnet
    yield from _own_eni(case)
    for each in eip:
        if each.topology is not None and subnet.topology is not None:
            both = _subnet(each.topology, case)
            what = f"{each.what} and {subnet.what}"
            yield replace(both, what=what, change=f"{each.change}; {subnet.change}", pair=True)
    yield from _second_gateway(case)
    yield from _endpoint(case)
    yield _outside(case)
    yield Proposal(
        "reuse of connections across invocations",
        "the function's code: create the client outside the handler, and keep connections alive",
        None,
        note="the threshold stays, and fewer connections are needed for the same invocations",
        effect="saves",
    )


def _way_through(case: Case) -> Iterator[Proposal]:
    """Past a missing route or a firewall, whatever the limits."""
    ends = {way.dead_end.sentence: (way, way.dead_end) for way in case.ways if way.dead_end}
    if not ends:
        return
    found, changes = case.topology, []
    for way, end in ends.values():
        changed = _passed(found, way, end)
        if changed is None:
            yield Proposal("a way through", end.sentence, None, note=f"{end.sentence}, and no NAT gateway is there")
            return
        found, change = changed
        changes.append(change)
    yield Proposal("a way through where connections end whatever the limits", " ".join(changes), found)


def _passed(topology: Topology, way: Way, end: DeadEnd) -> tuple[Topology, str] | None:
    """The topology without this dead end, and what to write."""
    if end.kind == "security_group" and way.eni is not None:
        groups = way.eni.security_groups
        left = tuple(each for each in topology.security_groups if each.name not in groups)
        return _with_vpc(topology, security_groups=left), end.cure or ""
    if end.kind == "network_acl":
        acls = tuple(each for each in topology.network_acls if each.name != end.name)
        return _with_vpc(topology, network_acls=acls), end.cure or ""
    if not topology.nat_gateways:
        return None
    route = topology.nat_gateways[0].name
    return _rerouted(topology, [end.name], route), f"Give the subnet {end.name} a default route: {route}."


def _elastic_ip(topology: Topology, case: Case) -> tuple[Proposal, ...]:
    """One more for each NAT gateway that binds."""
    gateways = case.gateways
    if not gateways:
        return ()
    names = " and ".join(each.name for each in gateways)
    full = [each.name for each in gateways if each.elastic_ips >= NAT_EIPS]
    if full:
        note = f"{' and '.join(full)} has all {NAT_EIPS} that AWS allows"
        return (Proposal(f"another Elastic IP for {names}", "", None, note=note),)
    more = {each.name: each.model_copy(update={"elastic_ips": each.elastic_ips + 1}) for each in gateways}
    changed = tuple(more.get(each.name, each) for each in topology.nat_gateways)
    counts = {each.elastic_ips for each in more.values()}
    ordinal = _ORDINALS[counts.pop()] if len(counts) == 1 else "one more"
    each_of = "each of " if len(gateways) > 1 else ""
    change = ", ".join(f"NAT gateway {each.name}: elastic_ips: {each.elastic_ips}" for each in more.values())
    return (Proposal(f"{ordinal} Elastic IP for {each_of}{names}", change, _with_vpc(topology, nat_gateways=changed)),)


def _subnet(topology: Topology, case: Case) -> Proposal:
    """One more private subnet, routed as the one of the ENI that binds."""
    what = f"one more private subnet for {case.question.function}, with a Hyperplane ENI of its own"
    enis = [way.eni for way in case.ways if way.eni and not way.dead_end] or [way.eni for way in case.ways if way.eni]
    like = next((each for each in enis if each.name in case.before.nodes), enis[0]).subnet
    cidr = _vacant(topology, like.cidr.prefixlen)
    if cidr is None:
        return Proposal(what, "", None, note=f"the VPC's range {topology.vpcs[0].cidr} has no room for another subnet")
    if len(case.subnets) >= FUNCTION_SUBNETS:
        return Proposal(what, "", None, note=f"the function has all {FUNCTION_SUBNETS} subnets that AWS allows")
    name = _unused("private-more", {each.name for each in topology.subnets})
    added = Subnet(name=name, cidr=cidr, default_route=like.default_route)
    wider = _with_vpc(topology, subnets=(*topology.subnets, added))
    route = "" if like.default_route is None else f", default_route: {like.default_route}"
    change = f"vpc.subnets: {{name: {name}, cidr: {cidr}{route}}}; function {case.question.function}: subnet {name}"
    return Proposal(what, change, _with_function(wider, case.question.function, subnets=(*case.subnets, name)))


def _vacant(topology: Topology, prefix: int) -> IPv4Network | None:
    """A range of the VPC that no subnet has."""
    taken = [each.cidr for each in topology.subnets]
    if prefix < topology.vpcs[0].cidr.prefixlen:
        return None
    every = topology.vpcs[0].cidr.subnets(new_prefix=prefix)
    return next((each for each in every if not any(each.overlaps(other) for other in taken)), None)


def _own_eni(case: Case) -> Iterator[Proposal]:
    """For a function that shares its ENIs; the numbers are those while the others hold as many connections."""
    function = case.question.function
    what = f"a security-group set of its own for {function}, and so Hyperplane ENIs of its own"
    enis: tuple[Eni, ...] = enis_of(case.topology, function)
    others = tuple(dict.fromkeys(each for eni in enis for each in eni.functions if each != function))
    if not others:
        if case.before.kind == "hyperplane_eni":
            yield Proposal(what, "", None, note=f"no other function shares the Hyperplane ENIs of {function}")
        return
    sets = {group for each in case.topology.functions for group in each.security_groups}
    group = _unused(function, sets)
    changed = _with_function(case.topology, function, security_groups=(group,))
    yield Proposal(
        what,
        f"function {function}: security_groups: [{group}]",
        changed,
        meanwhile=f"while {' and '.join(others)} {'holds' if len(others) == 1 else 'hold'} as many connections",
        sharers=others,
    )


def _second_gateway(case: Case) -> Iterator[Proposal]:
    """For half of the subnets that use the gateway that binds."""
    if not case.gateways:
        return
    routed = {
        gateway.name: [way.eni.subnet.name for way in case.ways if way.eni and way.exit == gateway]
        for gateway in case.gateways
    }
    gateway = max(case.gateways, key=lambda each: len(routed[each.name]))
    moved = routed[gateway.name][1::2]
    if not moved:
        reason = f"{case.question.function} has one subnet behind {gateway.name}, and a subnet has one default route"
        yield Proposal("a second NAT gateway for part of the subnets", "", None, note=reason)
        return
    name = _unused(f"{gateway.name}-2", {each.name for each in case.topology.nat_gateways})
    beside = gateway.model_copy(update={"name": name})
    wider = _with_vpc(case.topology, nat_gateways=(*case.topology.nat_gateways, beside))
    subnets = ", ".join(moved)
    yield Proposal(
        f"a second NAT gateway like {gateway.name} for {subnets}",
        f"vpc.nat_gateways: {{name: {name}, subnet: {beside.subnet}, elastic_ips: {beside.elastic_ips}}}; "
        f"default_route: {name} for {subnets}",
        _rerouted(wider, moved, name),
    )


def _endpoint(case: Case) -> Iterator[Proposal]:
    """Past the NAT gateway, not past the ENI."""
    server, existing = case.question.server, case.topology.interface_endpoints
    if any(each.server == server for each in existing):
        return
    name = _unused(server, {each.name for each in existing})
    endpoint = InterfaceEndpoint(name=name, subnet=case.subnets[0], server=server)
    yield Proposal(
        f"an interface endpoint (PrivateLink) for {server}",
        f"vpc.interface_endpoints: {{name: {name}, subnet: {case.subnets[0]}, server: {server}}}",
        _with_vpc(case.topology, interface_endpoints=(*existing, endpoint)),
        condition="if its owner offers one",
    )


def _outside(case: Case) -> Proposal:
    function = case.question.function
    return Proposal(
        f"{function} outside the VPC",
        f"function {function}: no subnets",
        _with_function(case.topology, function, subnets=()),
        condition="if it needs nothing there",
    )


# ── Changed topologies ──────────────────────────────────────────────────────────────────────────────────────


def _with_vpc(topology: Topology, **parts: object) -> Topology:
    return topology.model_copy(update={"vpc": topology.vpcs[0].model_copy(update=parts)})


def _with_function(topology: Topology, name: str, **parts: object) -> Topology:
    functions = (each.model_copy(update=parts) if each.name == name else each for each in topology.functions)
    return topology.model_copy(update={"functions": tuple(functions)})


def _rerouted(topology: Topology, names: list[str], route: str) -> Topology:
    subnets = (
        each.model_copy(update={"default_route": route}) if each.name in names else each for each in topology.subnets
    )
    return _with_vpc(topology, subnets=tuple(subnets))


def _unused(name: str, taken: set[str]) -> str:
    """That name, or the same with a number."""
    numbered = (f"{name[:21]}-{number}" for number in count(2))
    return next(each for each in chain((name,), numbered) if each not in taken)

"""Security groups and network ACLs: what a user writes of them, what is wrong with it, and what they let pass.

A security group belongs to network interfaces and lists what may go out of them and what may come in; it is stateful,
so answers pass without a rule. Egress is judged at a Lambda function's ENI, to which nothing connects, and ingress at
what it connects to.
https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html

A network ACL belongs to subnets and judges every packet that leaves or enters one, "not as it is routed within a
subnet"; it is stateless, so answers need entries of their own.
https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html

Both come to the same form here: rules of which the first that matches decides, and no match is no.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lab.schema.base import NAME, Model, Whole
from lab.schema.drops import Direction
from lab.schema.faults import Fault, Path
from lab.schema.limits import ACL_ENTRIES, ACL_RULE_NUMBERS, EPHEMERAL_PORTS
from lab.schema.names import DEFAULT_SECURITY_GROUPS
from lab.schema.references import twice, unknown
from lab.schema.words import ALL_PORTS, LAST_PORT, AnyBlock, Name, Ports, Source, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lab.topology.draft import Draft

__all__ = [
    "CHECKS",
    "CLIENT_PORTS",
    "Direction",
    "EgressEntry",
    "EgressRule",
    "IngressEntry",
    "IngressRule",
    "NetworkAcl",
    "Rule",
    "SecurityGroup",
    "Traffic",
    "Transport",
    "acl_rules",
    "allowed",
    "group_rules",
    "groups_at",
    "ingress_rules",
    "verdicts",
]

Transport = Literal["tcp", "udp"]
Action = Literal["allow", "deny"]

ANYWHERE = IPv4Network("0.0.0.0/0")

CLIENT_PORTS = range(536, LAST_PORT + 1)
"""Source ports behind an ENI: 65,000 connections behind one address need more than EPHEMERAL_PORTS (64,512)."""


# ── What a user writes ──────────────────────────────────────────────────────────────────────────────────────


class _Rule(Model):
    """What the rules of both have in common."""

    protocol: Literal["tcp", "udp", "all"] = Field("all", description="a rule's protocol is tcp, udp or all")
    ports: Ports = Field(
        ALL_PORTS,
        description="a rule's ports, those that packets go to, are a number, a range such as 1024-65535, or all",
    )

    @property
    def first_and_last_port(self) -> tuple[int, int]:
        """The ports as numbers, both included."""
        if self.ports == ALL_PORTS:
            return 0, LAST_PORT
        first, _, last = self.ports.partition("-")
        return int(first), int(last or first)


class EgressRule(_Rule):
    """Something that a security group allows out."""

    to: AnyBlock = Field(ANYWHERE, description="where a rule's packets go to is an IPv4 range, such as 203.0.113.0/24")


class IngressRule(_Rule):
    """Something that a security group allows in."""

    from_: Source = Field(
        ANYWHERE,
        alias="from",
        description="where a rule's packets come from is an IPv4 range, such as 10.0.0.0/8, or the name of a security "
        "group, which stands for all that have it",
    )


class SecurityGroup(Model):
    """Allow lists of network interfaces for new connections; several groups allow what any of them allows."""

    name: Name = Field(description=f"a security group's name is {NAME}")
    egress: tuple[EgressRule, ...] = Field(
        (EgressRule(),),
        description="a security group's egress is a list of what it allows out, each with protocol, ports and to; "
        "an empty one allows nothing, one that is left out everything",
    )
    ingress: tuple[IngressRule, ...] = Field(
        (IngressRule(),),
        description="a security group's ingress is a list of what it allows in, each with protocol, ports and from; "
        "an empty one allows nothing, one that is left out everything",
    )


class _Entry(_Rule):
    """What the entries of both directions have in common."""

    rule: Whole = Field(
        ge=ACL_RULE_NUMBERS[0],
        le=ACL_RULE_NUMBERS[-1],
        description="an entry's rule number, by which entries are tried, is 1 to 32766",
    )
    action: Action = Field(description="an entry's action is allow or deny")


class EgressEntry(_Entry):
    """What to do with packets that leave the subnet."""

    to: AnyBlock = Field(ANYWHERE, description="where an entry's packets go to is an IPv4 range, such as 0.0.0.0/0")

    @property
    def block(self) -> IPv4Network:
        """The far addresses."""
        return self.to


class IngressEntry(_Entry):
    """What to do with packets that enter the subnet."""

    from_: AnyBlock = Field(
        ANYWHERE,
        alias="from",
        description="where an entry's packets come from is an IPv4 range, such as 0.0.0.0/0",
    )

    @property
    def block(self) -> IPv4Network:
        """The far addresses."""
        return self.from_


class NetworkAcl(Model):
    """Numbered entries for what leaves and enters subnets; the first that matches decides, and none is a denial."""

    name: Name = Field(description=f"a network ACL's name is {NAME}")
    subnets: tuple[Name, ...] = Field(
        min_length=1, description="a network ACL has a list of one or more names from vpc.subnets"
    )
    egress: tuple[EgressEntry, ...] = Field(
        (),
        max_length=ACL_ENTRIES,
        description="a network ACL's egress is a list of up to 40 entries, each with rule, action, protocol, ports "
        "and to",
    )
    ingress: tuple[IngressEntry, ...] = Field(
        (),
        max_length=ACL_ENTRIES,
        description="a network ACL's ingress is a list of up to 40 entries, each with rule, action, protocol, ports "
        "and from",
    )

    def entries(self, direction: Direction) -> tuple[EgressEntry | IngressEntry, ...]:
        """The entries of one direction, in the order in which they are tried."""
        entries: tuple[EgressEntry | IngressEntry, ...] = self.egress if direction == "egress" else self.ingress
        return tuple(sorted(entries, key=lambda entry: entry.rule))


# ── What is wrong with it ───────────────────────────────────────────────────────────────────────────────────


def _names(draft: Draft) -> Iterator[Fault]:
    """Two security groups, or two network ACLs, with one name."""
    yield from twice("name", "security group", [(item.path, item.value.name) for item in draft.security_groups])
    yield from twice("name", "network ACL", [(item.path, item.value.name) for item in draft.network_acls])


def _subnets(draft: Draft) -> Iterator[Fault]:
    """A network ACL for a subnet that is not there, and two for one subnet."""
    taken: dict[str, str] = {}
    for item in draft.network_acls:
        for index, name in enumerate(item.value.subnets):
            path = (*item.path, "subnets", index)
            yield from unknown("subnet", name, draft.subnet_names, path)
            home, own = draft.vpc_of_subnet(name), draft.vpc_at(item.path)
            if home not in (None, own):
                text = f"{shown(name)} is in the VPC {home}; the network ACL {item.value.name} is in {own}"
                yield Fault(path, text)
            if name in taken:
                yield Fault(path, f"{shown(name)} has the network ACL {taken[name]} already; a subnet has one")
            taken.setdefault(name, item.value.name)


def _entries(draft: Draft) -> Iterator[Fault]:
    """Two entries with one number in one direction."""
    for item in draft.network_acls:
        for direction, entries in (("egress", item.value.egress), ("ingress", item.value.ingress)):
            places = [((*item.path, direction, index), entry.rule) for index, entry in enumerate(entries)]
            yield from twice("rule", f"{direction} entry", places)


def _ports_without_a_protocol(draft: Draft) -> Iterator[Fault]:
    """Ports of every protocol: those of GRE, say, are none."""
    for group in draft.security_groups:
        yield from _portless((*group.path, "egress"), group.value.egress)
        yield from _portless((*group.path, "ingress"), group.value.ingress)
    for item in draft.network_acls:
        yield from _portless((*item.path, "egress"), item.value.egress)
        yield from _portless((*item.path, "ingress"), item.value.ingress)


def _portless(path: Path, rules: Iterable[_Rule]) -> Iterator[Fault]:
    for index, rule in enumerate(rules):
        if rule.protocol == "all" and rule.ports != ALL_PORTS:
            text = f"{rule.ports} goes with no protocol here; say tcp or udp as well, or leave the ports out"
            yield Fault((*path, index, "ports"), text)


def groups_at(draft: Draft, path: Path, groups: Iterable[str], subnet: str | None, owner: str) -> Iterator[Fault]:
    """Groups of a network interface in a subnet that nothing describes, or that are another VPC's."""
    described = tuple(item.value.name for item in draft.security_groups)
    homes = {item.value.name: draft.vpc_at(item.path) for item in draft.security_groups}
    home = draft.vpc_of_subnet(subnet or "")
    for index, group in enumerate(groups):
        if draft.group_names is not None:
            yield from unknown("described security group", group, described, (*path, index))
        if home is not None and homes.get(group, home) != home:
            yield Fault((*path, index), f"{shown(group)} is in the VPC {homes[group]}; {owner} is in {home}")


def _sources(draft: Draft) -> Iterator[Fault]:
    """A rule for what has a security group that is not there, or is in a VPC of which this one knows no groups."""
    joined = [{*item.value.vpcs} for item in draft.peerings]
    for item in draft.security_groups:
        own = draft.vpc_at(item.path)
        for index, rule in enumerate(item.value.ingress):
            if not isinstance(rule.from_, str):
                continue
            path = (*item.path, "ingress", index, "from")
            yield from unknown("security group", rule.from_, draft.group_names, path)
            homes = () if rule.from_ in DEFAULT_SECURITY_GROUPS else draft.vpcs_of_group(rule.from_)
            if homes and own not in homes and not any({own, home} in joined for home in homes):
                text = (
                    f"{shown(rule.from_)} is in the VPC {min(homes)}, of which {own} knows no groups: AWS has them "
                    "through a peering, and through a Transit Gateway whose security group referencing is on, which is "
                    "not the default; write a range of addresses instead"
                )
                yield Fault(path, text)


CHECKS = (_names, _subnets, _entries, _ports_without_a_protocol, _sources)


# ── What they let pass ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of either kind: what it says of which packets, by protocol, far address and destination port."""

    action: Action
    protocol: Literal["tcp", "udp", "all"]
    first_port: int
    last_port: int
    block: IPv4Network

    def matches(self, protocol: Transport, address: IPv4Address, port: int) -> bool:
        """Whether it decides about a packet."""
        return (
            self.protocol in ("all", protocol) and self.first_port <= port <= self.last_port and address in self.block
        )


@dataclass(frozen=True, slots=True)
class Traffic:
    """Packets alike but for their far address and the port that they go to."""

    protocol: Transport
    block: IPv4Network
    first_port: int
    last_port: int


def group_rules(groups: Sequence[SecurityGroup], names: Iterable[str]) -> tuple[Rule, ...] | None:
    """What a set of security groups allows out together; None is everything, as of a group without a description."""
    described = {group.name: group for group in groups}
    wanted = tuple(names)
    if any(name not in described for name in wanted):
        return None
    return tuple(
        Rule("allow", rule.protocol, *rule.first_and_last_port, rule.to)
        for name in wanted
        for rule in described[name].egress
    )


def ingress_rules(
    groups: Sequence[SecurityGroup], names: Iterable[str], addresses: Callable[[str], Iterable[IPv4Network]]
) -> tuple[Rule, ...] | None:
    """What a set of security groups allows in together; None is everything, as of a group without a description.

    `addresses` has those of all network interfaces that have a group.
    """
    described = {group.name: group for group in groups}
    wanted = tuple(names)
    if any(name not in described for name in wanted):
        return None
    return tuple(
        Rule("allow", rule.protocol, *rule.first_and_last_port, block)
        for name in wanted
        for rule in described[name].ingress
        for block in (addresses(rule.from_) if isinstance(rule.from_, str) else (rule.from_,))
    )


def acl_rules(acl: NetworkAcl, direction: Direction, *, answers: bool) -> tuple[Rule, ...]:
    """A network ACL's entries of one direction, for what goes to servers, or for their answers.

    The ephemeral ports of answers are the lab's: where an entry begins at 1024 it begins at the lab's first one.
    """
    rules = (
        Rule(entry.action, entry.protocol, *entry.first_and_last_port, entry.block) for entry in acl.entries(direction)
    )
    return tuple(_reaching_down(rule) if answers else rule for rule in rules)


def _reaching_down(rule: Rule) -> Rule:
    return replace(rule, first_port=CLIENT_PORTS[0]) if rule.first_port == EPHEMERAL_PORTS[0] else rule


def allowed(rules: Iterable[Rule], protocol: Transport, address: IPv4Address, port: int) -> bool:
    """Whether a packet may pass."""
    return next((rule.action == "allow" for rule in rules if rule.matches(protocol, address, port)), False)


def verdicts(rules: Sequence[Rule], traffic: Traffic) -> frozenset[bool]:
    """What becomes of the packets of a traffic: all pass, none, or some and others not.

    Nothing changes between one rule's edge and the next, so it is enough to ask at the edges.
    """
    ports = _edges(traffic.first_port, traffic.last_port, ((rule.first_port, rule.last_port) for rule in rules))
    addresses = _edges(*_ends(traffic.block), (_ends(rule.block) for rule in rules))
    return frozenset(
        allowed(rules, traffic.protocol, IPv4Address(address), port) for address, port in product(addresses, ports)
    )


def _ends(block: IPv4Network) -> tuple[int, int]:
    return int(block.network_address), int(block.broadcast_address)


def _edges(first: int, last: int, spans: Iterable[tuple[int, int]]) -> list[int]:
    """Where something may change between `first` and `last`."""
    edges = {first, *(edge for begin, end in spans for edge in (begin, end + 1))}
    return sorted(edge for edge in edges if first <= edge <= last)

"""Security groups and network ACLs in nft text: what they forbid is counted and dropped before any limit is asked.

Each is a chain that returns what is allowed and drops the rest, in the order of `lab.schema.firewall`. A security
group's is asked by its ENI for new connections only; what has a slot has passed it. A network ACL's is asked by the
VPC's router, without memory, for every packet between the ports of two subnets; that of a NAT gateway's subnet also
at the far end of its link to the internet. There packets have an Elastic IP where AWS shows the ACL the NAT gateway's
private address, which makes no difference: entries name the other end. An ACL that the topology does not describe has
no rule.
https://docs.aws.amazon.com/vpc/latest/userguide/nat-gateway-troubleshooting.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import starmap
from typing import NamedTuple

from lab.plan.objects import DropCounter
from lab.schema.drops import DropPoint
from lab.schema.firewall import Direction, NetworkAcl, Rule, acl_rules, group_rules
from lab.schema.words import LAST_PORT
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.topology import Eni, Vpc

__all__ = [
    "Gate",
    "SubnetPort",
    "dropping",
    "ingress",
    "missing_route",
    "network_acls",
    "network_acls_at_the_internet",
    "security_groups",
]

_FAR = {"egress": "ip daddr", "ingress": "ip saddr"}
_ALL_PORTS = (0, LAST_PORT)


@dataclass(frozen=True, slots=True)
class Gate:
    """The nft text of something that drops packets: what a table defines for it, and the rules that jump to it."""

    definitions: tuple[nft.Part, ...]
    rules: tuple[str, ...]
    counter: DropCounter


class SubnetPort(NamedTuple):
    """A port of the VPC's router, by the subnet that its network interface is in."""

    subnet: str
    interface: str
    clients: bool
    """Whether connections come from there: a Hyperplane ENI, to which nothing connects."""
    two_way: bool = False
    """Whether connections come from there and go there, too: what has a server's address is an answer."""


def security_groups(vpc: Vpc, eni: Eni, namespace: str, table: str, inner: str) -> Iterator[Gate]:
    """The gate of an ENI for new connections from its inner side; none where its groups allow everything."""
    rules = group_rules(vpc.security_groups, eni.security_groups)
    if rules is None:
        return
    name = "security_groups"
    yield Gate(
        _definitions(name, rules, "egress"),
        (f'iifname "{inner}" ct state new meta l4proto {{ tcp, udp }} jump {name}',),
        DropCounter(
            eni.name,
            "security_group",
            ", ".join(eni.security_groups),
            namespace=namespace,
            table=table,
            counter=name,
        ),
    )


def ingress(drop: DropPoint, rules: Iterable[Rule], interface: str, namespace: str, table: str) -> Gate:
    """The gate of a network interface's security groups for what would connect to it through a router's interface.

    They are stateful, and the router is not: of TCP it judges what begins a connection.
    """
    name = f"ingress_{slots.identifier(drop.node)}"
    jumps = ("tcp flags & (syn|ack) == syn", "meta l4proto udp")
    return Gate(
        _definitions(name, rules, "ingress"),
        tuple(f'oifname "{interface}" {match} jump {name}' for match in jumps),
        DropCounter(drop.node, drop.kind, drop.name, namespace=namespace, table=table, counter=name),
    )


def network_acls(
    vpc: Vpc, ports: Sequence[SubnetPort], servers: Sequence[IPv4Address], namespace: str, table: str
) -> Iterator[Gate]:
    """The gates between subnets; a packet passes those of the subnet that it leaves first.

    At a port by which connections come and go, `servers` are the addresses by which answers are known.
    """
    for judge in _judges(vpc.network_acls):
        if borders := tuple(_borders(judge, ports, servers)):
            point = DropPoint(vpc.node, "network_acl", judge.acl.name, judge.direction, judge.answers)
            yield _gate(judge, borders, point, namespace, table)


def network_acls_at_the_internet(
    vpc: Vpc, node: str, subnet: str, interface: str, *, namespace: str, table: str
) -> Iterator[Gate]:
    """The gates between a node in a subnet and the internet, whose router has this interface to the node."""
    for judge in _judges([acl for acl in vpc.network_acls if subnet in acl.subnets]):
        if not judge.at_clients:  # to servers, the node is the client
            continue
        border = f'{"iifname" if judge.direction == "egress" else "oifname"} "{interface}"'
        point = DropPoint(node, "network_acl", judge.acl.name, judge.direction, judge.answers, far_side=True)
        yield _gate(judge, (border,), point, namespace, table)


def missing_route(
    drop: DropPoint, interfaces: Sequence[str], inside: Sequence[IPv4Network], *, namespace: str, table: str
) -> Gate:
    """What counts and drops packets that come in by these interfaces and leave the ranges that are inside."""
    ranges = str(inside[0]) if len(inside) == 1 else f"{{ {', '.join(map(str, inside))} }}"
    match = f"iifname {nft.names(interfaces)} ip daddr != {ranges}"
    return dropping(drop, f"no_route_{slots.identifier(drop.name)}", [match], namespace, table)


def dropping(drop: DropPoint, counter: str, matches: Iterable[str], namespace: str, table: str) -> Gate:
    """What counts and drops the packets that any of these match."""
    counted = DropCounter(**asdict(drop.point), namespace=namespace, table=table, counter=counter)
    return Gate((nft.Counter(counter),), tuple(f"{match} counter name {counter} drop" for match in matches), counted)


@dataclass(frozen=True, slots=True)
class _Judge:
    """A network ACL's entries of one direction, for what goes to servers or for their answers."""

    acl: NetworkAcl
    direction: Direction
    answers: bool

    @property
    def name(self) -> str:
        """The name of its chain and of its counter."""
        return f"acl_{slots.identifier(self.acl.name)}_{self.direction}_{'answers' if self.answers else 'requests'}"

    @property
    def at_clients(self) -> bool:
        """Whether it judges at the ports of clients: what leaves their subnets are requests, what enters answers."""
        return (self.direction == "egress") is not self.answers


def _judges(acls: Sequence[NetworkAcl]) -> Iterator[_Judge]:
    directions: tuple[Direction, ...] = ("egress", "ingress")
    return starmap(
        _Judge, ((acl, direction, late) for direction in directions for acl in acls for late in (False, True))
    )


def _gate(judge: _Judge, borders: Iterable[str], point: DropPoint, namespace: str, table: str) -> Gate:
    name = judge.name
    return Gate(
        _definitions(name, acl_rules(judge.acl, judge.direction, answers=judge.answers), judge.direction),
        tuple(f"{border} jump {name}" for border in borders),
        DropCounter(
            point.node,
            point.kind,
            point.name,
            point.direction,
            point.answers,
            point.far_side,
            namespace=namespace,
            table=table,
            counter=name,
        ),
    )


def _borders(judge: _Judge, ports: Sequence[SubnetPort], servers: Sequence[IPv4Address]) -> Iterator[str]:
    """Matches of what crosses the border of each of the ACL's subnets at the judged ports."""
    near, far = ("iifname", "oifname") if judge.direction == "egress" else ("oifname", "iifname")
    known = f"ip saddr {'' if judge.answers else '!= '}{{ {', '.join(map(str, servers))} }}"
    for subnet in judge.acl.subnets:
        inside = [port for port in ports if port.subnet == subnet]
        judged = [port for port in inside if not port.two_way and port.clients is judge.at_clients]
        both = [port for port in inside if port.two_way]
        if judged:
            yield f"{near} {_listed(judged)} {far} != {_listed(inside)}"
        if both:
            yield f"{near} {_listed(both)} {far} != {_listed(inside)} {known}"


def _listed(ports: Iterable[SubnetPort]) -> str:
    return nft.names(port.interface for port in ports)


def _definitions(name: str, rules: Iterable[Rule], direction: Direction) -> tuple[nft.Counter, nft.Chain]:
    """A counter, and the chain of the same name: whatever it does not return has been counted and dropped.

    What other entries dropped is no loss that these cause, so the counter begins anew with each change of them.
    """
    drop = f"counter name {name} drop"
    judged = (" ".join((*_match(rule, direction), "return" if rule.action == "allow" else drop)) for rule in rules)
    entries = (*judged, drop)
    return nft.Counter(name, entries), nft.chain(name, *entries)


def _match(rule: Rule, direction: Direction) -> Iterator[str]:
    if rule.block.prefixlen:
        yield f"{_FAR[direction]} {rule.block}"
    if rule.protocol != "all":
        ports = (rule.first_port, rule.last_port)
        yield f"meta l4proto {rule.protocol}" if ports == _ALL_PORTS else f"{rule.protocol} dport {_range(*ports)}"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"

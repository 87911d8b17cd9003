"""What no field can know alone: each check reads the valid parts of a topology and yields faults."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from lab.nodes.client import model as client_model
from lab.nodes.gateway_endpoint import model as gateway_endpoint
from lab.nodes.interface_endpoint import model as interface_endpoint
from lab.nodes.peering import model as peering_model
from lab.nodes.server import model as server_model
from lab.nodes.transit_gateway import model as transit_gateway
from lab.nodes.vpc.model import WAYS_OUT
from lab.schema import firewall
from lab.schema.faults import Fault, Path, dotted
from lab.schema.limits import (
    ADDRESSES_EACH,
    EIP_POOL,
    ENVIRONMENT_BLOCK,
    INTERNET,
    PAIRS,
    PRIVATE,
    RESERVED_SUBNET_ADDRESSES,
    SERVICE_VPC_HEAD,
    TOTAL_EIPS,
)
from lab.schema.names import (
    DEFAULT_SECURITY_GROUPS,
    NO_ROUTE,
    RESERVED_NODE_NAMES,
    VPC,
    name_of_eni,
    name_of_further_eni,
    node_name_of_server,
    node_name_of_vpc,
)
from lab.schema.references import twice, unknown
from lab.schema.words import shown
from lab.topology.enis import enis_between
from lab.topology.nat_clients import how_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network

    from lab.topology.draft import Draft

__all__ = ["CHECKS", "check"]

T = TypeVar("T")

RESOLVER = ("service_vpc", "resolver")


def check(draft: Draft) -> tuple[Fault, ...]:
    """Every fault between the parts of a topology."""
    return tuple(fault for one in CHECKS for fault in one(draft))


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────


def one_way_to_list_vpcs(draft: Draft) -> Iterator[Fault]:
    """A file without a VPC, and one that has both forms."""
    if not draft.vpc_keys:
        yield Fault(("vpc",), "missing; the VPC is a mapping of cidr, subnets and nat_gateways")
    if draft.vpc_keys == ("vpc", "vpcs") and draft.vpcs[0].path != ("vpc",):
        yield Fault(("vpc",), "vpcs lists VPCs already; write the one under vpc, or all of them under vpcs")


def duplicate_names(draft: Draft) -> Iterator[Fault]:
    """Two subnets, NAT gateways, functions or servers with one name."""
    yield from twice("name", "subnet", [(item.path, item.value.name) for item in draft.subnets])
    for kind in WAYS_OUT.values():
        yield from twice("name", kind.WORDS, [(item.path, item.value.name) for item in draft.ways_out_of(kind)])
    yield from twice("name", "function", [(item.path, item.value.name) for item in draft.functions])
    yield from twice("name", "server", [(item.path, item.value.name) for item in draft.servers])


def reserved_words(draft: Draft) -> Iterator[Fault]:
    """A NAT gateway or Transit Gateway that no route could name."""
    nat_gateways = [("NAT gateway", item.path, item.value.name) for item in draft.nat_gateways]
    transit_gateways = [("Transit Gateway", item.path, item.value.name) for item in draft.transit_gateways]
    for words, path, name in (*nat_gateways, *transit_gateways):
        if name == NO_ROUTE:
            text = f"a {words} cannot be called {NO_ROUTE}: `default_route: {NO_ROUTE}` is a subnet without one"
            yield Fault((*path, "name"), text)


def repeated_words(draft: Draft) -> Iterator[Fault]:
    """A subnet or security group that one function or client lists twice."""
    for item in draft.sources:
        for key, words in (("subnets", item.value.leaves_by), ("security_groups", item.value.security_groups)):
            for index, word in enumerate(words):
                if word in words[:index]:
                    yield Fault((*item.path, key, index), f"{shown(word)} is listed twice; once is enough")


def node_names(draft: Draft) -> Iterator[Fault]:
    """Two nodes that would share a network namespace: `blue` and `nat-blue` are both the node `nat-blue`."""
    seen: dict[str, str] = {name: f"the lab's own node {name}" for name in RESERVED_NODE_NAMES}
    for node, owner, path in _nodes(draft):
        first = seen.setdefault(node, owner)
        if first != owner:
            yield Fault(path, f"{owner} becomes the node {node}, and so does {first}; rename one of them")


def _nodes(draft: Draft) -> Iterator[tuple[str, str, Path]]:
    """Node name, the words for what becomes this node, and where it is written."""
    for item in draft.exits:
        yield item.value.node, f"the {item.value.WORDS} {item.value.name}", (*item.path, "name")
    for gateway in draft.transit_gateways:
        yield gateway.value.node, f"the Transit Gateway {gateway.value.name}", (*gateway.path, "name")
    for peering in draft.peerings:
        yield peering.value.node, f"the peering {peering.value.name}", (*peering.path, "name")
    for vpc in draft.vpcs:
        if vpc.name != VPC:
            yield node_name_of_vpc(vpc.name), f"the VPC {vpc.name}", (*vpc.path, "name")
    for server in draft.servers:
        name = server.value.name
        yield node_name_of_server(name), f"the server {name}", (*server.path, "name")
    for source in draft.sources:
        yield source.value.node, f"the {source.value.WORDS} {source.value.name}", (*source.path, "name")
    yield from _nodes_of_enis(draft)


def _nodes_of_enis(draft: Draft) -> Iterator[tuple[str, str, Path]]:
    for function in draft.functions:
        groups = tuple(sorted(set(function.value.security_groups)))
        for index, subnet in enumerate(function.value.subnets):
            owner = f"the ENI of subnet {subnet} with security groups {', '.join(groups)}"
            path = (*function.path, "subnets", index)
            first = name_of_eni(subnet, groups)
            yield first, owner, path
            for number in range(2, draft.hyperplane_eni.most_enis + 1):
                yield name_of_further_eni(first, number), f"number {number} of {owner}", path


# ── References ──────────────────────────────────────────────────────────────────────────────────────────────


def unknown_names(draft: Draft) -> Iterator[Fault]:
    """A subnet or NAT gateway that the file mentions and never describes."""
    subnets, targets = draft.subnet_names, draft.route_targets
    target = "NAT gateway or Transit Gateway" if draft.transit_gateways else "NAT gateway"
    for subnet in draft.subnets:
        if subnet.value.default_route not in (None, NO_ROUTE):
            path = (*subnet.path, "default_route")
            yield from unknown(target, subnet.value.default_route, targets, path)
    for item in draft.exits:
        if item.value.in_subnet is not None:
            yield from unknown("subnet", item.value.in_subnet, subnets, (*item.path, *item.value.subnet_key))
    if draft.resolver and draft.resolver.subnet is not None:
        yield from unknown("subnet", draft.resolver.subnet, subnets, (*RESOLVER, "subnet"))
    for function in draft.functions:
        for index, name in enumerate(function.value.subnets):
            yield from unknown("subnet", name, subnets, (*function.path, "subnets", index))


def functions_without_a_route(draft: Draft) -> Iterator[Fault]:
    """A function in a subnet whose connections would go nowhere."""
    subnets = draft.subnets_by_name
    for function in draft.functions:
        for index, name in enumerate(function.value.subnets):
            if name in subnets and subnets[name].default_route is None:
                text = (
                    f"{shown(name)} has no default_route, and a Lambda ENI has no public address: its "
                    "connections would go nowhere; a function's subnets have a NAT gateway as default_route, "
                    f"or say `default_route: {NO_ROUTE}` if that is what you want to see"
                )
                yield Fault((*function.path, "subnets", index), text)


def security_groups_outside_vpc(draft: Draft) -> Iterator[Fault]:
    """Security groups of a function without subnets: AWS refuses them, for they belong to its ENIs."""
    for function in draft.functions:
        if not function.value.subnets and function.value.security_groups != DEFAULT_SECURITY_GROUPS:
            text = (
                "a function without subnets is outside the VPC and has no ENI to which security groups could belong; "
                "give it subnets, or leave security_groups out"
            )
            yield Fault((*function.path, "security_groups"), text)


def name_server_out_of_place(draft: Draft) -> Iterator[Fault]:
    """A name server with a subnet that it is not in, and functions that cannot reach the one in the VPC."""
    if draft.resolver is None:
        return
    if not draft.resolver.behind_eni:
        if draft.resolver.subnet is not None:
            text = (
                f"the name server is in the service VPC, not in {shown(draft.resolver.subnet)}; "
                "say `in: vpc` as well, or leave the subnet out"
            )
            yield Fault((*RESOLVER, "subnet"), text)
        return
    for path in draft.outside_vpc:
        text = (
            "a function without subnets is outside the VPC and cannot reach the name server in it (`in: vpc`); "
            "give it subnets, or leave the name server in the service VPC"
        )
        yield Fault(path, text)
    if firewalls := [item.path for item in draft.security_groups] + [item.path for item in draft.network_acls]:
        text = (
            f"questions to a name server in the VPC would have to pass {dotted(firewalls[0])}, which the lab does "
            "not judge; leave it out, or leave the name server in the service VPC"
        )
        yield Fault((*RESOLVER, "in"), text)


def nat_gateways_in_private_subnets(draft: Draft) -> Iterator[Fault]:
    """A NAT gateway whose own way out is a NAT gateway."""
    subnets = draft.subnets_by_name
    for gateway in draft.nat_gateways:
        subnet = subnets.get(gateway.value.subnet)
        if subnet and subnet.default_route:
            text = (
                f"{shown(subnet.name)} is private (its default_route is {subnet.default_route}); "
                "a NAT gateway lives in a subnet without a default_route"
            )
            yield Fault((*gateway.path, "subnet"), text)


# ── Addresses ───────────────────────────────────────────────────────────────────────────────────────────────


def which_vpcs(draft: Draft) -> Iterator[Fault]:
    """VPCs without names of their own, and what belongs to two of them at once."""
    yield from twice("name", "VPC", [(vpc.path, vpc.name) for vpc in draft.vpcs])
    homes = {item.value.name: vpc.name for vpc in draft.vpcs for item in vpc.subnets}
    for function in draft.functions:
        vpcs = dict.fromkeys(homes[subnet] for subnet in function.value.subnets if subnet in homes)
        if len(vpcs) > 1:
            text = f"these subnets are in the VPCs {' and '.join(vpcs)}; a function is in one VPC"
            yield Fault((*function.path, "subnets"), text)
    for vpc in draft.vpcs:
        for item in vpc.exits:
            home = homes.get(item.value.in_subnet or "")
            if home not in (None, vpc.name):
                text = f"{shown(item.value.in_subnet)} is in the VPC {home}; {item.value.name} is in {vpc.name}"
                yield Fault((*item.path, *item.value.subnet_key), text)
        for subnet in vpc.subnets:
            gateways = {item.value.name: other.name for other in draft.vpcs for item in other.exits}
            target = gateways.get(subnet.value.default_route or "")
            if target not in (None, vpc.name):
                text = (
                    f"{shown(subnet.value.default_route)} is in the VPC {target}; a subnet of {vpc.name} reaches it "
                    "through a Transit Gateway"
                )
                yield Fault((*subnet.path, "default_route"), text)


def groups_of_other_vpcs(draft: Draft) -> Iterator[Fault]:
    """A security group of another VPC than the function or client that has it."""
    homes = {item.value.name: vpc.name for vpc in draft.vpcs for item in vpc.subnets}
    groups = {item.value.name: vpc.name for vpc in draft.vpcs for item in vpc.security_groups}
    for source in draft.sources:
        vpcs = dict.fromkeys(homes[subnet] for subnet in source.value.leaves_by if subnet in homes)
        for index, group in enumerate(source.value.security_groups):
            if group not in DEFAULT_SECURITY_GROUPS and len(vpcs) == 1 and groups.get(group, *vpcs) not in vpcs:
                home, what = groups[group], source.value.WORDS
                text = f"{shown(group)} is in the VPC {home}; a {what} has security groups of its own VPC"
                yield Fault((*source.path, "security_groups", index), text)


def one_name_server_for_all_vpcs(draft: Draft) -> Iterator[Fault]:
    """What one resolver cannot answer for several VPCs: a private address that only one of them knows."""
    if len(draft.vpcs) == 1:
        return
    if draft.resolver and draft.resolver.behind_eni:
        text = "with several VPCs the name server is in the service VPC; leave `in` out"
        yield Fault((*RESOLVER, "in"), text)
    homes = {item.value.name: vpc.name for vpc in draft.vpcs for item in vpc.subnets}
    for vpc in draft.vpcs:
        strangers = [
            source.value.name
            for source in draft.sources
            if any(homes.get(subnet, vpc.name) != vpc.name for subnet in source.value.leaves_by)
        ]
        for item in vpc.exits:
            if item.value.stands_for is not None and strangers:
                text = (
                    f"the one name server would answer with its private address in {', '.join(strangers)} as well, "
                    f"from where nothing leads to it; keep it to topologies whose functions and clients are all in "
                    f"{vpc.name}"
                )
                yield Fault((*item.path, "server"), text)


def vpc_range(draft: Draft) -> Iterator[Fault]:
    """A VPC on top of the service VPC, the Elastic IPs, another VPC, or addresses that no host can have."""
    for vpc in draft.vpcs:
        if vpc.cidr is None:
            continue
        path = (*vpc.path, "cidr")
        if draft.service_vpc_cidr and vpc.cidr.overlaps(draft.service_vpc_cidr):
            text = f"{vpc.cidr} overlaps the service VPC's {draft.service_vpc_cidr}; choose a range apart from it"
            yield Fault(path, text)
        yield from _unfit_range(vpc.cidr, path)
    for first, second in _overlapping((vpc.cidr, vpc) for vpc in draft.vpcs if vpc.cidr):
        text = f"{second.cidr} overlaps {first.cidr} of the VPC {first.name}; no route could tell them apart"
        yield Fault((*second.path, "cidr"), text)


def service_vpc_range(draft: Draft) -> Iterator[Fault]:
    """A service VPC on top of the Elastic IPs or of addresses that no host can have."""
    if draft.service_vpc_cidr:
        yield from _unfit_range(draft.service_vpc_cidr, ("service_vpc", "cidr"))


def _unfit_range(cidr: IPv4Network, path: Path) -> Iterator[Fault]:
    if cidr.overlaps(EIP_POOL):
        yield Fault(path, f"{cidr} overlaps {EIP_POOL}, from which the lab takes Elastic IPs; choose another range")
    if cidr.overlaps(INTERNET):
        yield Fault(path, f"{cidr} overlaps {INTERNET}, which is the lab's own internet router; choose another range")
    if reason := _no_host(cidr.network_address):
        yield Fault(path, f"{cidr} is {reason}; choose a private range, such as 10.0.0.0/16")


def subnet_ranges(draft: Draft) -> Iterator[Fault]:
    """A subnet outside its VPC, and two subnets that share addresses."""
    for vpc in draft.vpcs:
        for item in vpc.subnets:
            if vpc.cidr and not item.value.cidr.subnet_of(vpc.cidr):
                text = f"{item.value.cidr} lies outside the VPC; a subnet is a part of {vpc.cidr}"
                yield Fault((*item.path, "cidr"), text)
        for first, second in _overlapping((item.value.cidr, item) for item in vpc.subnets):
            text = (
                f"{second.value.cidr} overlaps {first.value.cidr} of {shown(first.value.name)}; "
                "subnets share no addresses"
            )
            yield Fault((*second.path, "cidr"), text)


def _overlapping(ranges: Iterable[tuple[IPv4Network, T]]) -> Iterator[tuple[T, T]]:
    """Each range that lies within others, with the smallest of these; of the two, the first in the file comes first.

    Of two ranges that overlap one lies within the other, and in sorted order it follows it.
    """
    around: list[tuple[IPv4Network, int, T]] = []
    numbered = [(cidr, place, owner) for place, (cidr, owner) in enumerate(ranges)]
    for cidr, place, owner in sorted(numbered, key=lambda one: one[:2]):
        while around and not cidr.subnet_of(around[-1][0]):
            around.pop()
        if around:
            _, other_place, other = around[-1]
            yield (other, owner) if other_place < place else (owner, other)
        around.append((cidr, place, owner))


def server_addresses(draft: Draft) -> Iterator[Fault]:
    """A server that is in no subnet, at an address where the internet is not."""
    for item in draft.servers:
        if item.value.subnet is not None:
            continue
        for path, address in server_model.addresses_at(item):
            if whose := _private(address, draft):
                home = next((subnet.value.name for subnet in draft.subnets if address in subnet.value.cidr), None)
                hint = f"say `subnet: {home}` as well" if home else "a server in a VPC says in which subnet"
                yield Fault(
                    path, f"{address} is private ({whose}), where no NAT gateway leads: {hint}; the lab has no VPN"
                )
            elif place := _not_the_internet(address):
                text = f"{address} is {place}; a server has an address on the internet, such as 203.0.113.10"
                yield Fault(path, text)


def _private(address: IPv4Address, draft: Draft) -> str | None:
    """Whose private address it is; None for one that is not private."""
    for vpc in draft.vpcs:
        if vpc.cidr and address in vpc.cidr:
            return f"in the VPC {vpc.name}, {vpc.cidr}" if len(draft.vpcs) > 1 else f"in the VPC, {vpc.cidr}"
    if draft.service_vpc_cidr and address in draft.service_vpc_cidr:
        return f"in the service VPC, {draft.service_vpc_cidr}"
    return next((f"RFC 1918, {block}" for block in PRIVATE if address in block), None)


def _not_the_internet(address: IPv4Address) -> str | None:
    if address in EIP_POOL:
        return f"inside {EIP_POOL}, from which the lab takes Elastic IPs"
    if address in INTERNET:
        return f"inside {INTERNET}, which is the lab's own internet router"
    return _no_host(address)


def _no_host(address: IPv4Address) -> str | None:
    """Why Linux would not route to this address; documentation addresses are fine in a lab."""
    kinds = {
        "unspecified (0.0.0.0/8)": int(address) >> 24 == 0,
        "loopback": address.is_loopback,
        "link-local": address.is_link_local,
        "multicast": address.is_multicast,
        "reserved": address.is_reserved,
    }
    return next((f"{kind}, which no host can have" for kind, applies in kinds.items() if applies), None)


# ── Settings ────────────────────────────────────────────────────────────────────────────────────────────────


def one_reading_of_the_eni_limit(draft: Draft) -> Iterator[Fault]:
    """ENIs that count each destination by itself, and more of them when one is full: AWS publishes neither."""
    settings = draft.hyperplane_eni
    if settings.per_destination and settings.eni_scaling:
        text = (
            "per_destination and eni_scaling cannot both be on: AWS does not publish whether an ENI that is full for "
            "one destination calls for another; leave one of them out"
        )
        yield Fault(("hyperplane_eni", "eni_scaling"), text)
    if settings.per_destination and draft.resolver and draft.resolver.behind_eni:
        text = (
            "a name server in the VPC (`in: vpc`) is one more destination, which the lab does not count by itself; "
            "leave it in the service VPC, or leave per_destination out"
        )
        yield Fault(("hyperplane_eni", "per_destination"), text)


# ── Room ────────────────────────────────────────────────────────────────────────────────────────────────────


def elastic_ips(draft: Draft) -> Iterator[Fault]:
    """More Elastic IPs than the lab has."""
    total = 0
    for item in draft.nat_gateways:
        total += item.value.elastic_ips
        if total > TOTAL_EIPS:
            text = f"this makes {total} Elastic IPs in total; the lab has {TOTAL_EIPS} ({EIP_POOL})"
            yield Fault((*item.path, "elastic_ips"), text)
            return


def ports_for_clients(draft: Draft) -> Iterator[Fault]:
    """Clients of a NAT gateway for which there are no ports, or that appear when others are full."""
    counts = how_many(draft)
    for item in draft.nat_gateways:
        gateway, path = item.value, (*item.path, "ports_per_client")
        if gateway.ports_per_client is None:
            continue
        if draft.hyperplane_eni.eni_scaling:
            text = (
                "a further ENI is another client, with ports of its own, and which of them a connection meets is not "
                f"known beforehand: ports_per_client of {gateway.name} and eni_scaling cannot both be on; leave one out"
            )
            yield Fault(path, text)
        clients = counts[gateway.name]
        least, ports = gateway.ports_per_client.least, gateway.connections_per_destination
        on_one, room = gateway.clients_on_one_eip(clients), ports // least
        if on_one > room:
            without = clients - room * gateway.elastic_ips
            text = (
                f"an Elastic IP has {ports:,} ports for each destination (connections_per_destination), enough for "
                f"{room:,} with {least:,} each: of the {clients:,} clients of {gateway.name} {without:,} would get "
                "none; give it more Elastic IPs, or each client fewer ports"
            )
            yield Fault(path, text)


def subnet_room(draft: Draft) -> Iterator[Fault]:
    """More ENIs, clients and NAT gateways in a subnet than it has addresses; ENIs that may yet appear count.

    Each address of a client is two: one for real sockets, one for connections whose TCP is the packet engine's.
    """
    enis = enis_between((item.value for item in draft.functions), draft.subnets_by_name)
    each_with_its_own = [eni.subnet.name for eni in enis for _ in range(draft.hyperplane_eni.most_enis)]
    attachments = [attachment.subnet for item in draft.transit_gateways for attachment in item.value.attachments]
    ways_out = [subnet for item in draft.exits if (subnet := item.value.in_subnet)]
    servers = [subnet for item in draft.servers if (subnet := item.value.subnet)]
    taken = Counter(each_with_its_own + ways_out + attachments + servers)
    if draft.resolver and draft.resolver.behind_eni and draft.subnet_names:
        taken[draft.resolver.subnet or draft.subnet_names[0]] += 1
    for client in draft.clients:
        taken[client.value.subnet] += ADDRESSES_EACH * client.value.addresses
    for item in draft.subnets:
        room = item.value.cidr.num_addresses - RESERVED_SUBNET_ADDRESSES
        if taken[item.value.name] > room:
            text = (
                f"{item.value.cidr} has {room} addresses for {taken[item.value.name]} ENIs, servers, clients and ways "
                f"out (AWS keeps {RESERVED_SUBNET_ADDRESSES} of each subnet); choose a larger range"
            )
            yield Fault((*item.path, "cidr"), text)


def service_vpc_room(draft: Draft) -> Iterator[Fault]:
    """More execution environment blocks, one per function and ENI, than the service VPC has addresses."""
    cidr = draft.service_vpc_cidr
    if cidr is None:
        return
    pairs = sum(len(set(item.value.subnets)) or 1 for item in draft.functions)
    if pairs > PAIRS:
        yield Fault(("functions",), f"these make {pairs} pairs of function and ENI; a lab has {PAIRS} at most")
        return
    needed = SERVICE_VPC_HEAD + pairs * ENVIRONMENT_BLOCK
    if needed > cidr.num_addresses:
        text = (
            f"{cidr} has {cidr.num_addresses:,} addresses, and {pairs} pairs of function and ENI "
            f"need {needed:,}; choose a /{32 - (needed - 1).bit_length()} or larger"
        )
        yield Fault(("service_vpc", "cidr"), text)


CHECKS: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    one_way_to_list_vpcs,
    duplicate_names,
    reserved_words,
    repeated_words,
    node_names,
    unknown_names,
    functions_without_a_route,
    security_groups_outside_vpc,
    name_server_out_of_place,
    nat_gateways_in_private_subnets,
    which_vpcs,
    groups_of_other_vpcs,
    one_name_server_for_all_vpcs,
    vpc_range,
    service_vpc_range,
    subnet_ranges,
    server_addresses,
    one_reading_of_the_eni_limit,
    elastic_ips,
    ports_for_clients,
    subnet_room,
    service_vpc_room,
    *interface_endpoint.CHECKS,
    *gateway_endpoint.CHECKS,
    *transit_gateway.CHECKS,
    *peering_model.CHECKS,
    *server_model.CHECKS,
    *client_model.CHECKS,
    *firewall.CHECKS,
)
"""The checks in the order in which a reader meets the subjects; the loader sorts faults by position in the file."""

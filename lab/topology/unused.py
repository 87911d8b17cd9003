"""Parts of a valid topology that have no effect, each with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.hyperplane_eni.model import HyperplaneEniSettings
from lab.nodes.interface_endpoint.model import InterfaceEndpoint
from lab.nodes.nat_gateway.model import NatGateway
from lab.schema.faults import Fault
from lab.schema.names import NO_ROUTE
from lab.schema.words import shown
from lab.topology.nat_clients import how_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lab.nodes.transit_gateway.model import TransitGateway
    from lab.topology.draft import Draft

__all__ = ["unused"]


def unused(draft: Draft) -> tuple[Fault, ...]:
    """Every part of a topology without faults that has no effect, with the reason."""
    return tuple(fault for check in _CHECKS for fault in check(draft))


def _eni_settings(draft: Draft) -> Iterator[Fault]:
    if not _subnets_with_functions(draft) and draft.hyperplane_eni != HyperplaneEniSettings():
        text = (
            "has no effect: no function has subnets, so there is no Hyperplane ENI; give one subnets, or leave it out"
        )
        yield Fault(("hyperplane_eni",), text)


def _subnets(draft: Draft) -> Iterator[Fault]:
    """Subnets with nothing in them, and default routes that no connection takes."""
    servers = _subnets_with_servers(draft)
    sending, ways_out = _sending_subnets(draft), {item.value.in_subnet for item in draft.exits}
    occupied = (
        sending
        | ways_out
        | servers
        | {attachment.subnet for item in draft.transit_gateways for attachment in item.value.attachments}
    )
    if draft.resolver and draft.resolver.behind_eni and draft.subnet_names:
        occupied.add(draft.resolver.subnet or draft.subnet_names[0])
    for item in draft.subnets:
        name, route = item.value.name, item.value.default_route
        if name not in occupied:
            text = (
                f"the subnet {shown(name)} has no effect, nor have its default_route and its network ACL: nothing is "
                "in it; put a function, a client or a server there, or leave it out"
            )
            yield Fault((*item.path, "name"), text)
        elif name not in sending and route is not None and not (route == NO_ROUTE and name in servers):
            text = f"{shown(route)} has no effect: no connection leaves the subnet {name}; leave default_route out"
            yield Fault((*item.path, "default_route"), text)


def _ways_out(draft: Draft) -> Iterator[Fault]:
    """NAT gateways and Transit Gateways to which no route leads, endpoints where nobody asks for them."""
    sending = _sending_subnets(draft)
    routes = {item.value.default_route for item in draft.subnets if item.value.name in sending}
    nat_gateways = [(item.path, item.value.name) for item in draft.nat_gateways]
    transit_gateways = [(item.path, item.value.name) for item in draft.transit_gateways]
    joining = {item.value.name for item in draft.transit_gateways if _leads_to_servers(draft, item.value)}
    for path, name in (*nat_gateways, *transit_gateways):
        if name not in routes and name not in joining:
            text = (
                f"{name} has no effect: no subnet from which connections come has it as default_route; name it there, "
                "or leave it out"
            )
            yield Fault((*path, "name"), text)
    sources = _subnets_with_sources(draft)
    for vpc in draft.vpcs:
        if not sources & {item.value.name for item in vpc.subnets}:
            for way_out in vpc.ways_out:
                if isinstance(way_out.value, InterfaceEndpoint):
                    text = f"{way_out.value.name} has no effect: no function or client is in its VPC; leave it out"
                    yield Fault((*way_out.path, "name"), text)
    for item in draft.ways_out_of(InterfaceEndpoint):
        if not item.value.private_dns:
            text = (
                f"{item.value.name} has no effect: private DNS is off, so the name of {item.value.server} leads to the "
                "public address, past it; leave private_dns out, or the endpoint"
            )
            yield Fault((*item.path, "private_dns"), text)


def _gateway_endpoints(draft: Draft) -> Iterator[Fault]:
    """Gateway endpoints that no connection takes: no server is of the service, or no function in their subnets."""
    functions = _subnets_with_functions(draft)
    standing_for = {item.value.stands_for for item in draft.exits}
    for item in draft.ways_out_of(GatewayEndpoint):
        endpoint, home = item.value, draft.vpc_at(item.path)
        servers = [server.value.name for server in draft.servers if server.value.service == endpoint.service]
        inside = {subnet for subnet in functions if draft.vpc_of_subnet(subnet) == home}
        if not servers:
            why = f"no server has `service: {endpoint.service}`; write it at one"
        elif not any(endpoint.is_routed_from(subnet) for subnet in inside):
            why = "no function is in a subnet whose route table leads to it; name one in subnets"
        elif standing_for.issuperset(servers):
            why = "an interface endpoint stands for each server of its service"
        else:
            continue
        yield Fault((*item.path, "name"), f"{endpoint.name} has no effect: {why}, or leave it out")


def _choices_of_one(draft: Draft) -> Iterator[Fault]:
    """How a NAT gateway chooses among Elastic IPs, where it has one, or where each client keeps to one."""
    for item in draft.nat_gateways:
        reason = f"{item.value.name} has one Elastic IP; give it another, or"
        if item.value.ports_per_client:
            reason = f"with ports_per_client each client of {item.value.name} keeps to one Elastic IP;"
        elif item.value.elastic_ips > 1:
            continue
        for key in ("spill_over", "eip_selection"):
            value = getattr(item.value, key)
            if value != NatGateway.model_fields[key].default:
                yield Fault((*item.path, key), f"{shown(value)} has no effect: {reason} leave {key} out")


def _eips_without_clients(draft: Draft) -> Iterator[Fault]:
    """More Elastic IPs than clients, each of which keeps to one."""
    counts = how_many(draft)
    for item in draft.nat_gateways:
        clients = counts[item.value.name]
        if item.value.ports_per_client and 0 < clients < item.value.elastic_ips:
            text = (
                f"{item.value.elastic_ips - clients} of the {item.value.elastic_ips} Elastic IPs have no effect: with "
                f"ports_per_client each client keeps to one, and {item.value.name} has {clients}; write {clients}"
            )
            yield Fault((*item.path, "elastic_ips"), text)


def _security_groups(draft: Draft) -> Iterator[Fault]:
    """Groups that nothing has, and those beside one that allows everything."""
    sources = [item for item in draft.sources if item.value.leaves_by]
    named = {group for item in sources for group in item.value.security_groups}
    named |= _groups_of_servers(draft)
    described = {item.value.name for item in draft.security_groups}
    for item in draft.security_groups:
        if item.value.name not in named:
            text = (
                f"the security group {shown(item.value.name)} has no effect: no function, server or endpoint has it; "
                "name it in the security_groups of one, or leave it out"
            )
            yield Fault((*item.path, "name"), text)
    for source in sources:
        groups = source.value.security_groups
        without_effect = [group for group in groups if group in described]
        for index, group in enumerate(groups):
            if group not in described and without_effect:
                text = (
                    f"the security group {shown(group)} is not described, so it allows everything out, and "
                    f"{' and '.join(without_effect)} beside it has no effect; describe it under security_groups, or "
                    "leave it out"
                )
                yield Fault((*source.path, "security_groups", index), text)


def _rules(draft: Draft) -> Iterator[Fault]:
    """What a group allows out of servers, which connect to nothing, or into functions, to which nothing connects."""
    of_functions = {group for item in draft.functions for group in item.value.security_groups}
    for item in draft.security_groups:
        judged = (
            ("egress", "function", of_functions),
            ("ingress", "server and no endpoint", _groups_of_servers(draft)),
        )
        for key, owner, groups in judged:
            if key in item.value.model_fields_set and item.value.name not in groups:
                text = f"has no effect: no {owner} has it, and answers pass without a rule; leave it out"
                yield Fault((*item.path, key), text)


def _peerings(draft: Draft) -> Iterator[Fault]:
    """Peerings that lead to no server, and routes that nothing takes."""
    servers = {draft.vpc_of_subnet(subnet) for subnet in _subnets_with_servers(draft)}
    occupied = _sending_subnets(draft) | _subnets_with_servers(draft)
    for item in draft.peerings:
        if not servers & {*item.value.vpcs}:
            text = f"{item.value.name} has no effect: no server is in {' or '.join(item.value.vpcs)}; leave it out"
            yield Fault((*item.path, "name"), text)
        for index, subnet in enumerate(item.value.subnets or ()):
            if subnet not in occupied:
                text = f"{shown(subnet)} has no effect: neither a function nor a server is there; leave it out"
                yield Fault((*item.path, "subnets", index), text)


def _leads_to_servers(draft: Draft, gateway: TransitGateway) -> bool:
    """Whether one of its VPCs has servers."""
    homes = {draft.vpc_of_subnet(subnet) for subnet in _subnets_with_servers(draft)}
    return any(attachment.vpc in homes for attachment in gateway.attachments)


def _groups_of_servers(draft: Draft) -> set[str]:
    """Groups of what functions connect to: servers in VPCs, and endpoints."""
    groups = {group for item in draft.servers for group in item.value.security_groups}
    return groups | {group for item in draft.exits for group in item.value.ingress_groups}


def _subnets_with_servers(draft: Draft) -> set[str]:
    return {item.value.subnet for item in draft.servers if item.value.subnet is not None}


def _subnets_with_functions(draft: Draft) -> set[str]:
    return {subnet for item in draft.functions for subnet in item.value.subnets}


def _subnets_with_sources(draft: Draft) -> set[str]:
    return {subnet for item in draft.sources for subnet in item.value.leaves_by}


def _sending_subnets(draft: Draft) -> set[str]:
    """Subnets from which connections come: those of sources, and those by which a Transit Gateway leads out."""
    egress = (item.value.towards_the_internet for item in draft.transit_gateways)
    return _subnets_with_sources(draft) | {attachment.subnet for attachment in egress if attachment}


_CHECKS: tuple[Callable[[Draft], Iterator[Fault]], ...] = (
    _eni_settings,
    _subnets,
    _ways_out,
    _gateway_endpoints,
    _choices_of_one,
    _eips_without_clients,
    _security_groups,
    _rules,
    _peerings,
)

"""The topology of a capacity plan, and its file: opened by a drawing and by its sums, as the files that ship are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import StringIO
from ipaddress import IPv4Address, IPv4Network
from shlex import quote
from textwrap import wrap
from typing import get_args

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from lab.capacity.demand import Demand
from lab.capacity.layout import Layout
from lab.capacity.planning import CapacityPlan
from lab.graph import draw, to_text
from lab.kernel.invoker import runnable
from lab.nodes.gateway_endpoint.model import GatewayEndpoint
from lab.nodes.registry import kind_of
from lab.schema.base import Model
from lab.schema.limits import ENI_CONNECTIONS, NAT_CONNECTIONS_PER_DESTINATION
from lab.schema.names import NO_ROUTE
from lab.schema.words import GatewayService
from lab.topology import Function, HyperplaneEniSettings, NatGateway, Server, Subnet, Topology, Vpc

__all__ = ["PLANNED", "planned_topology", "topology_text"]

PLANNED = "planned.yaml"

_WIDTH = 120
_FIRST_SERVER = IPv4Address("203.0.113.10")
_DATA = "data"
"""The subnet of servers in the VPC."""
_MANY_SERVERS = 4
"""More of them are drawn with a line each."""
_TIMES = "\N{MULTIPLICATION SIGN}"


# ── The topology ────────────────────────────────────────────────────────────────────────────────────────────


def planned_topology(plan: CapacityPlan) -> Topology:
    """The layout of a plan: a subnet of its own for each NAT gateway and each Hyperplane ENI, AWS's limits.

    Servers in the VPC have a subnet; to S3 and DynamoDB leads a gateway endpoint in all route tables.
    """
    demand, layout = plan.demand, plan.layout
    hold = {"port_hold_s": demand.port_hold_s} if demand.port_hold_s else {}
    names = ("cache",) if demand.servers == 1 else tuple(f"cache-{each}" for each in range(1, demand.servers + 1))
    return Topology(
        version=1,
        name=f"peak-{demand.connections}",
        **({"hyperplane_eni": HyperplaneEniSettings(**hold)} if hold else {}),
        vpc=Vpc(
            cidr=IPv4Network("10.0.0.0/16"),
            subnets=tuple(_subnet(number, name, route) for number, (name, route) in enumerate(_places(demand, layout))),
            **_ways_out(demand, layout, hold),
        ),
        functions=(Function(name="checkout", subnets=layout.subnet_names, security_groups=("default",)),),
        servers=tuple(_server(number, name, demand) for number, name in enumerate(names)),
    )


def _places(demand: Demand, layout: Layout) -> Iterator[tuple[str, str | None]]:
    """Each subnet with its default route: those of NAT gateways, those of the function, that of servers in the VPC."""
    yield from ((name, None) for name in layout.lettered("public"))
    named = zip(layout.gateway_names, layout.gateways, strict=True)
    routes = [name for name, gateway in named for _ in range(gateway.subnets)]
    yield from zip(layout.subnet_names, routes or [NO_ROUTE] * layout.subnets, strict=True)
    if demand.to == "vpc":
        yield _DATA, NO_ROUTE


def _ways_out(demand: Demand, layout: Layout, hold: dict[str, int]) -> dict[str, object]:
    """NAT gateways, a gateway endpoint, or none."""
    if demand.to in get_args(GatewayService):
        return {"gateway_endpoints": (GatewayEndpoint(name=demand.to, service=demand.to),)}
    gateways = zip(layout.gateway_names, layout.lettered("public"), layout.gateways, strict=True)
    made = tuple(
        NatGateway(name=name, subnet=subnet, elastic_ips=gateway.elastic_ips, **hold)
        for name, subnet, gateway in gateways
    )
    return {"nat_gateways": made} if made else {}


def _subnet(number: int, name: str, route: str | None) -> Subnet:
    settings = {} if route is None else {"default_route": route}
    return Subnet(name=name, cidr=IPv4Network((f"10.0.{number}.0", 24)), **settings)


def _server(number: int, name: str, demand: Demand) -> Server:
    first = _FIRST_SERVER + number * demand.addresses
    several = tuple(first + further for further in range(demand.addresses))
    place: dict[str, object] = {"address": first} if demand.addresses == 1 else {"several": several}
    if demand.to == "vpc":
        place = {"subnet": _DATA}
    elif not demand.through_nat_gateways:
        place["service"] = demand.to
    return Server(name=name, hostname=f"{name}.example.com", port=443, **place)


# ── The file ────────────────────────────────────────────────────────────────────────────────────────────────


def topology_text(plan: CapacityPlan, file: str = PLANNED) -> str:
    """YAML for `lab up`; `file` is what the command in its header calls it."""
    topology = planned_topology(plan)
    header = (f"# {line}".rstrip() for line in _header(plan, topology, file))
    return "\n".join((*header, "", *_sections(topology)))


def _sections(topology: Topology) -> Iterator[str]:
    """The parts of the YAML that stand apart."""
    written = _mapping(topology)
    first = {key: written.pop(key) for key in ("version", "name")}
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.indent(mapping=2, sequence=4, offset=2)
    for section in (first, *({key: value} for key, value in written.items())):
        stream = StringIO()
        yaml.dump(section, stream)
        yield "".join(
            f"{line.rstrip()}\n" for line in stream.getvalue().splitlines()
        )  # where it wraps it leaves a space


def _mapping(part: Model) -> CommentedMap:
    """What is set in a part of a topology, under the names that a user writes; durations have their unit."""
    mapping = CommentedMap()
    for name, field in type(part).model_fields.items():
        if name in part.model_fields_set:
            value = _value(getattr(part, name))
            mapping[field.alias or name] = f"{value}s" if name.endswith("_s") else value
    return mapping


def _value(value: object) -> object:
    """Lists of words, and mappings in lists that hold nothing but words, stand in one line."""
    if isinstance(value, Model):
        return _mapping(value)
    if not isinstance(value, tuple):
        return value if isinstance(value, int) else str(value)
    items = CommentedSeq(_value(item) for item in value)
    for item in items:
        if isinstance(item, CommentedMap) and not any(isinstance(inner, CommentedSeq) for inner in item.values()):
            item.fa.set_flow_style()
    if not any(isinstance(item, CommentedMap) for item in items):
        items.fa.set_flow_style()
    return items


# ── Its header ──────────────────────────────────────────────────────────────────────────────────────────────


def _header(plan: CapacityPlan, topology: Topology, file: str) -> Iterator[str]:
    yield "yaml-language-server: $schema=schema.json"
    yield ""
    yield from wrap(_planned_for(plan), _WIDTH - 2)
    yield ""
    yield from to_text(draw(topology), compact=plan.demand.servers > _MANY_SERVERS).splitlines()
    yield ""
    yield from _sums(plan)
    yield ""
    yield from wrap(_what_it_shows(plan), _WIDTH - 2)
    yield ""
    # A line break in a file's name would end the comment.
    yield f"    {runnable(f'lab up {quote(file) if file.isprintable() else PLANNED}')}"
    yield from _bursts(plan, topology.servers)


def _planned_for(plan: CapacityPlan) -> str:
    demand = plan.demand
    to = demand.whom
    to += f", {'each ' if demand.servers > 1 else ''}with {demand.addresses} addresses" if demand.addresses > 1 else ""
    free = f"{demand.headroom_percent} % of each limit left free" if demand.headroom_percent else "nothing left free"
    return f"Planned for a peak of {demand.connections:,} connections to {to}: {free}."


def _sums(plan: CapacityPlan) -> Iterator[str]:
    layout, destinations = plan.layout, plan.demand.servers * plan.demand.addresses
    eni = f"{ENI_CONNECTIONS:,} connections per Hyperplane ENI {_TIMES} {layout.subnets}"
    if not layout.gateways:
        yield f"    {eni} = {plan.capacity:,}   ◄── binds"
        return
    if len(layout.gateways) == 1:
        nat = f"{NAT_CONNECTIONS_PER_DESTINATION:,} per Elastic IP and destination {_TIMES} {layout.elastic_ips}"
        what = "servers" if plan.demand.addresses == 1 else "destinations"
        nat += f" {_TIMES} {destinations} {what}" if destinations > 1 else ""
    else:
        nat = f"{layout.elastic_ips} Elastic IPs, each subnet through its NAT gateway"
    width = max(len(eni), len(nat))
    digits = max(len(f"{capacity:,}") for capacity in plan.capacities.values())
    for text, (kind, capacity) in zip((eni, nat), plan.capacities.items(), strict=True):
        binds = "   ◄── binds" if kind == plan.bottleneck else ""
        yield f"    {text:<{width}} = {capacity:>{digits},}{binds}"


def _what_it_shows(plan: CapacityPlan) -> str:
    evenly = "" if plan.demand.servers == 1 else " if all servers get their share"
    limiter = kind_of(plan.bottleneck).one
    return f"Connection number {plan.capacity + 1:,} is the first one dropped{evenly}, by {limiter}."


def _bursts(plan: CapacityPlan, servers: Sequence[Server]) -> Iterator[str]:
    if len(servers) == 1:
        burst = runnable(f"lab burst -n {plan.capacity + 1}")
        yield f"    {burst:<32} {plan.capacity:,} established, 1 timed out, bottleneck {plan.bottleneck}"
        return
    share, more = divmod(plan.demand.connections, len(servers))
    for number, server in enumerate(servers[:2]):
        burst = runnable(f"lab burst -n {share + (number < more)} --server {server.name} --leave-open")
        yield f"    {burst}"
    if servers[2:]:
        yield "    …"

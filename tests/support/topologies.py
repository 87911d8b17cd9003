"""Topologies for tests: those that ship, small ones from a few words, and any that hypothesis can think of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st
import pytest

from lab.schema.names import NO_ROUTE
from lab.topology import Topology, load
from lab.topology.checks import check
from lab.topology.draft import draft

__all__ = [
    "LASTING",
    "SHIPPED",
    "each_shipped",
    "function",
    "nat_gateway",
    "server",
    "shipped",
    "topologies",
    "topology",
]

SHIPPED = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))

each_shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
"""Run a test once for each topology that ships; its argument is `path`."""


def shipped(name: str) -> Topology:
    """The topology of that name in `topologies/`."""
    return load(next(path for path in SHIPPED if path.stem == name))


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────


def function(name: str, *subnets: str, groups: tuple[str, ...] = ("default",)) -> dict[str, Any]:
    """A function in these subnets."""
    return {"name": name, "subnets": list(subnets), "security_groups": list(groups)}


def nat_gateway(name: str = "natgw", **settings: Any) -> dict[str, Any]:
    """A NAT gateway in the subnet `pub-NAME`."""
    return {"name": name, "subnet": f"pub-{name}", **settings}


def server(name: str = "cache", number: int = 10, port: int = 443, **settings: Any) -> dict[str, Any]:
    """A server at 203.0.113.NUMBER."""
    place = {"hostname": f"{name}.example.com", "address": f"203.0.113.{number}", "port": port}
    return {"name": name, **place} | settings


def topology(
    private: dict[str, str],
    *functions: dict[str, Any],
    nat_gateways: tuple[dict[str, Any], ...] = (nat_gateway(),),
    servers: tuple[dict[str, Any], ...] = (server(),),
    endpoints: tuple[dict[str, Any], ...] = (),
    gateway_endpoints: tuple[dict[str, Any], ...] = (),
    firewalls: dict[str, Any] | None = None,
    **rest: Any,
) -> Topology:
    """A valid topology: private subnet → NAT gateway, the functions, and a public subnet for each gateway."""
    public = [each["subnet"] for each in nat_gateways]
    subnets = [{"name": name, "cidr": f"10.0.{index}.0/24"} for index, name in enumerate((*public, *private))]
    for subnet in subnets:
        if subnet["name"] in private:
            subnet["default_route"] = private[subnet["name"]]
    document = {
        "version": 1,
        "name": "made",
        "vpc": {
            "cidr": "10.0.0.0/16",
            "subnets": subnets,
            "nat_gateways": list(nat_gateways),
            "interface_endpoints": list(endpoints),
            "gateway_endpoints": list(gateway_endpoints),
            **(firewalls or {}),
        },
        "functions": list(functions),
        "servers": list(servers),
        **rest,
    }
    assert check(draft(document)) == ()
    return Topology.model_validate(document)


# ── By hypothesis ───────────────────────────────────────────────────────────────────────────────────────────

_TAILS = ("", "-x", "-with-a-long-tail")
_GROUPS = (("default",), ("db",), ("default", "web"))
_SERVICE_VPCS = ("100.64.0.0/10", "172.16.0.0/12", "11.0.0.0/8")
ANY_TIMEOUTS = {
    "idle_timeout": st.integers(1, 400),
    "half_open_timeout": st.integers(1, 400),
    "port_hold": st.integers(0, 60),
}
LASTING = {"idle_timeout": st.integers(100, 400), "half_open_timeout": st.integers(100, 400), "port_hold": st.just(0)}
"""Timeouts that no test waits for."""


@st.composite
def _nat_gateways(
    draw: st.DrawFn, limits: st.SearchStrategy[int], timeouts: dict[str, st.SearchStrategy[int]]
) -> tuple[dict[str, Any], ...]:
    return tuple(
        nat_gateway(
            f"gw{index}{draw(st.sampled_from(_TAILS))}",
            elastic_ips=draw(st.integers(1, 8)),
            connections_per_destination=draw(limits),
            spill_over=draw(st.booleans()),
            eip_selection=draw(st.sampled_from(("round_robin", "hash"))),
            **{name: draw(seconds) for name, seconds in timeouts.items()},
        )
        for index in range(draw(st.integers(1, 3)))
    )


def _with_ports_of_clients(gateway: dict[str, Any], clients: int) -> st.SearchStrategy[dict[str, Any]]:
    """The NAT gateway, or one that gives each of so many clients ports of its own, if it has enough."""
    most = gateway["connections_per_destination"] // -(-clients // gateway["elastic_ips"]) if clients else 0
    if not most:
        return st.just(gateway)
    doubling = st.fixed_dictionaries({"min": st.integers(1, most), "max": st.integers(most, 55_000)})
    return (st.none() | st.integers(1, most) | doubling).map(lambda ports: gateway | {"ports_per_client": ports})


def _enis(
    limits: st.SearchStrategy[int], timeouts: dict[str, st.SearchStrategy[int]]
) -> st.SearchStrategy[dict[str, Any]]:
    """Settings of ENIs: alone, growing after a lag that no test waits for, or with a limit for each destination."""
    common = {"connection_limit": limits, **timeouts}
    scaling = st.fixed_dictionaries({"after": st.integers(60, 600)}, optional={"most": st.integers(2, 8)})
    return st.one_of(
        st.fixed_dictionaries(common),
        st.fixed_dictionaries({**common, "eni_scaling": scaling}),
        st.fixed_dictionaries({**common, "per_destination": st.booleans()}),
    )


_QUOTA = {"packets_per_second": 100}
_ALL = {"rule": 100, "action": "allow"}
_HTTPS = {"rule": 90, "action": "allow", "protocol": "tcp", "ports": "443"}
_EPHEMERAL = {"rule": 80, "action": "allow", "protocol": "tcp", "ports": "1024-65535"}
_NOT_TCP = {"rule": 10, "action": "deny", "protocol": "tcp"}
_ENTRIES = st.sampled_from(([_ALL], [_ALL, _HTTPS], [_HTTPS, _EPHEMERAL], [_EPHEMERAL], [_HTTPS], [_ALL, _NOT_TCP], []))
_EGRESS = st.sampled_from(([{"protocol": "all"}], [{"protocol": "tcp", "ports": "443"}], [{"to": "10.0.0.0/8"}], []))


@st.composite
def _firewalls(draw: st.DrawFn, subnets: list[str]) -> dict[str, Any]:
    """A group that functions may have, described or only named; an ACL or none for each subnet."""
    groups = [{"name": "db", "egress": draw(_EGRESS)}] if draw(st.booleans()) else []
    acls = [
        {"name": f"acl{index}", "subnets": [subnet], "egress": draw(_ENTRIES), "ingress": draw(_ENTRIES)}
        for index, subnet in enumerate(subnets)
        if not draw(st.integers(0, 2))
    ]
    return {"security_groups": groups, "network_acls": acls}


def _resolvers(
    functions: list[dict[str, Any]], firewalls: dict[str, Any], enis: dict[str, Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """A name server, in the VPC where every function reaches it, nothing stands before it, and ENIs have one limit."""
    outside = [each for each in functions if not each["subnets"]]
    if outside or any(firewalls.values()) or enis.get("per_destination"):
        return st.sampled_from(({}, _QUOTA))
    return st.sampled_from(({}, {"in": "vpc"}, _QUOTA, {"in": "vpc", **_QUOTA}))


@st.composite
def _endpoints(
    draw: st.DrawFn, limits: st.SearchStrategy[int], subnets: list[str], servers: tuple[dict[str, Any], ...]
) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": each["name"],
            "subnet": draw(st.sampled_from(subnets)),
            "server": each["name"],
            "private_dns": draw(st.sampled_from((True, True, False))),
            "connections_per_target": draw(st.none() | limits),
        }
        for each in servers
        if not draw(st.integers(0, 3))
    )


@st.composite
def _guarded(
    draw: st.DrawFn, endpoints: tuple[dict[str, Any], ...], walls: dict[str, Any]
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The endpoints, some with a security group that lets some functions in, or none, and the firewalls with it."""
    sources = ["default", "10.0.0.0/8", *(group["name"] for group in walls["security_groups"])]
    rules = st.fixed_dictionaries(
        {"protocol": st.sampled_from(("tcp", "all"))}, optional={"from": st.sampled_from(sources)}
    )
    door = {"name": "door", "ingress": draw(st.lists(rules, max_size=2))}
    guarded = [{**each, "security_groups": ["door"]} if draw(st.booleans()) else each for each in endpoints]
    return tuple(guarded), {**walls, "security_groups": [*walls["security_groups"], door]}


_GATEWAY_SERVICES = ("s3", "dynamodb")


def _gateway_endpoints(subnets: list[str]) -> st.SearchStrategy[tuple[dict[str, Any], ...]]:
    """For some of the services, in the route tables of all subnets or of some."""
    some = st.lists(st.sampled_from(subnets), min_size=1, unique=True).map(lambda names: {"subnets": names})
    places: st.SearchStrategy[dict[str, Any]] = st.just({}) | some
    return st.tuples(*(st.none() | places for _ in _GATEWAY_SERVICES)).map(
        lambda drawn: tuple(
            {"name": f"gateway-{service}", "service": service, **place}
            for service, place in zip(_GATEWAY_SERVICES, drawn, strict=True)
            if place is not None
        )
    )


@st.composite
def _clients(draw: st.DrawFn, limits: st.SearchStrategy[int], subnets: list[str]) -> list[dict[str, Any]]:
    """Hosts with up to three addresses, each with about as many ports as an ENI carries connections."""
    return [
        {
            "name": f"c{index}",
            "subnet": draw(st.sampled_from(subnets)),
            "addresses": draw(st.integers(1, 3)),
            "ephemeral_ports": f"{first}-{first + draw(limits) - 1}",
            "security_groups": list(draw(st.sampled_from(_GROUPS))),
        }
        for index, first in enumerate(draw(st.lists(st.integers(1024, 10_000), max_size=2)))
    ]


@st.composite
def topologies(
    draw: st.DrawFn,
    limits: st.SearchStrategy[int] | None = None,
    *,
    timeouts: dict[str, st.SearchStrategy[int]] = ANY_TIMEOUTS,
    embedded: bool = False,
    firewalls: bool = False,
) -> Topology:
    """Any valid topology of a few nodes of each kind; `limits` are those of ENIs and Elastic IPs.

    With `firewalls` some subnets have network ACLs, some security groups are described, and the name server may be in
    the VPC.

    With `embedded` every server is the lab's own, so that there is somebody to answer.
    """
    limits = st.integers(1, 55_000) if limits is None else limits
    gateways = draw(_nat_gateways(limits, timeouts))
    routes = [*(each["name"] for each in gateways), NO_ROUTE]
    private = {
        f"private{index}{draw(st.sampled_from(_TAILS))}"[:24]: draw(st.sampled_from(routes))
        for index in range(draw(st.integers(1, 5)))
    }
    servers = tuple(
        server(
            f"s{index}",
            index + 1,
            embedded=embedded or draw(st.booleans()),
            service=draw(st.none() | st.sampled_from(_GATEWAY_SERVICES)),
        )
        for index in range(draw(st.integers(1, 3)))
    )
    endpoints = draw(_endpoints(limits, sorted(private), servers))
    some_subnets = st.lists(st.sampled_from(sorted(private)), min_size=1, max_size=5, unique=True)
    places = some_subnets if endpoints else some_subnets | st.just([])
    functions = [
        function(
            f"f{index}{draw(st.sampled_from(_TAILS))}",
            *subnets,
            groups=draw(st.sampled_from(_GROUPS)) if subnets else _GROUPS[0],
        )
        for index in range(draw(st.integers(1, 3)))
        for subnets in (draw(places),)
    ]
    enis = draw(_enis(limits, timeouts))
    hosts = draw(_clients(limits, sorted(private)))
    if "eni_scaling" not in enis:
        clients = len({(subnet, *each["security_groups"]) for each in functions for subnet in each["subnets"]})
        clients += sum(each["addresses"] for each in hosts)
        gateways = tuple(draw(_with_ports_of_clients(each, clients)) for each in gateways)
    walls = draw(_firewalls(sorted(private))) if firewalls and draw(st.booleans()) else {}
    if walls and endpoints:
        endpoints, walls = draw(_guarded(endpoints, walls))
    return topology(
        private,
        *functions,
        nat_gateways=gateways,
        servers=servers,
        endpoints=endpoints,
        clients=hosts,
        gateway_endpoints=draw(_gateway_endpoints(sorted(private))),
        hyperplane_eni=enis,
        firewalls=walls,
        service_vpc={
            "cidr": draw(st.sampled_from(_SERVICE_VPCS)),
            "resolver": draw(_resolvers(functions, walls, enis)) if firewalls else {},
        },
    )

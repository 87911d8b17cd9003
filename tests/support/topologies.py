"""Topologies for tests: those that ship, small ones from a few words, and any that hypothesis can think of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
import pytest

from lab.schema.names import NO_ROUTE
from lab.topology import Topology, load
from lab.topology.checks import check
from lab.topology.draft import draft

__all__ = [
    "BEHIND_A_TRANSIT_GATEWAY",
    "LASTING",
    "SHIPPED",
    "changed",
    "each_shipped",
    "function",
    "nat_gateway",
    "path_of",
    "server",
    "several_vpcs",
    "shipped",
    "topologies",
    "topology",
]

SHIPPED = sorted((Path(__file__).parents[2] / "topologies").glob("*.yaml"))

each_shipped = pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
"""Run a test once for each topology that ships; its argument is `path`."""


BEHIND_A_TRANSIT_GATEWAY = {
    "peerings:\n  - {name: to-data, vpcs: [app, data], subnets: [app-a, data-a]}\n": "transit_gateways:\n"
    "  - name: tgw\n    attachments: [{vpc: app, subnet: app-a}, {vpc: data, subnet: data-a}]\n"
    "    default_route: data\npeerings:\n",
    "10.1.1.0/24, default_route: none": "10.1.1.0/24, default_route: tgw",
    "from: lambda-sg": "from: 10.1.0.0/16",
}
"""Changes of `peering.yaml`: the function's VPC comes to the peering of two others by a Transit Gateway."""


def path_of(name: str) -> Path:
    """The file of that topology in `topologies/`."""
    return next(path for path in SHIPPED if path.stem == name)


def shipped(name: str) -> Topology:
    """The topology of that name in `topologies/`."""
    return load(path_of(name))


def changed(path: Path, directory: Path, changes: Mapping[str, str]) -> Path:
    """A copy of a topology file in a directory, with other texts in place of some of its own."""
    text = path.read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    copy = directory / path.name
    copy.write_text(text, encoding="utf-8")
    return copy


# ── By hand ─────────────────────────────────────────────────────────────────────────────────────────────────


def function(
    name: str, *subnets: str, groups: tuple[str, ...] = ("default",), reserved: int | None = None
) -> dict[str, Any]:
    """A function in these subnets."""
    made = {"name": name, "subnets": list(subnets), "security_groups": list(groups)}
    return made if reserved is None else made | {"reserved_concurrency": reserved}


def nat_gateway(name: str = "natgw", **settings: Any) -> dict[str, Any]:
    """A NAT gateway in the subnet `pub-NAME`."""
    return {"name": name, "subnet": f"pub-{name}", **settings}


def server(name: str = "cache", number: int = 10, port: int = 443, **settings: Any) -> dict[str, Any]:
    """A server at 203.0.113.NUMBER."""
    where = {} if "addresses" in settings else {"address": f"203.0.113.{number}"}
    return {"name": name, "hostname": f"{name}.example.com", **where, "port": port} | settings


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
_SOURCES = ("db", "default", "10.0.0.0/8", "10.0.1.0/24", "10.0.1.0/28")
_INGRESS = st.lists(st.sampled_from(_SOURCES).map(lambda source: {"from": source}), max_size=2) | st.just(
    [{"protocol": "tcp", "ports": "443"}]
)


@st.composite
def _firewalls(draw: st.DrawFn, subnets: list[str]) -> dict[str, Any]:
    """A group that functions may have, described or only named; an ACL or none for each subnet."""
    groups = [{"name": "db", "egress": draw(_EGRESS), "ingress": draw(_INGRESS)}] if draw(st.booleans()) else []
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


_GATEWAY_SERVICES = ("s3", "dynamodb")


@st.composite
def _servers(draw: st.DrawFn, *, embedded: bool) -> tuple[dict[str, Any], ...]:
    """Of one address, of several, or of all that another one has, with a port of its own."""
    servers: list[dict[str, Any]] = []
    for index in range(draw(st.integers(1, 3))):
        own = [f"203.0.113.{10 * index + number}" for number in range(1, draw(st.integers(1, 3)))]
        shares = draw(st.booleans()) and index > 0
        shared = servers[-1].get("addresses") or [servers[-1]["address"]] if shares else []
        port = 444 + index if shared else 443
        some: dict[str, Any] = (
            {"addresses": draw(st.permutations(own + shared))} if own + shared else {"number": 10 * index + 1}
        )
        answers = embedded or draw(st.booleans())
        service = draw(st.none() | st.sampled_from(_GATEWAY_SERVICES))
        some["service"] = servers[-1]["service"] if shares else service
        servers.append(server(f"s{index}", embedded=answers, port=port, **some))
    return tuple(servers)


@st.composite
def _endpoints(
    draw: st.DrawFn, limits: st.SearchStrategy[int], subnets: list[str], servers: tuple[dict[str, Any], ...]
) -> tuple[dict[str, Any], ...]:
    some = st.lists(st.sampled_from(subnets), min_size=1, max_size=3, unique=True)
    places = st.sampled_from(subnets).map(lambda name: {"subnet": name}) | some.map(lambda names: {"subnets": names})
    return tuple(
        {
            "name": each["name"],
            **draw(places),
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
    """Hosts with up to three addresses, each with about as many ports, and descriptors, as an ENI carries."""
    return [
        {
            "name": f"c{index}",
            "subnet": draw(st.sampled_from(subnets)),
            "addresses": draw(st.integers(1, 3)),
            "ephemeral_ports": f"{first}-{first + draw(limits) - 1}",
            "descriptors": draw(st.none() | st.none() | limits.map(lambda limit: limit + 3)),
            "security_groups": list(draw(st.sampled_from(_GROUPS))),
        }
        for index, first in enumerate(draw(st.lists(st.integers(1024, 10_000), max_size=2)))
    ]


@st.composite
def _in_subnets(
    draw: st.DrawFn, servers: tuple[dict[str, Any], ...], ranges: dict[str, str], groups: list[str]
) -> tuple[dict[str, Any], ...]:
    """These servers, some of them in one of the subnets, at an address of their own or at any."""
    placed = []
    for number, each in enumerate(servers):
        if draw(st.integers(0, 2)):
            placed.append(each)
            continue
        subnet = draw(st.sampled_from(sorted(ranges)))
        address = f"{ranges[subnet].rsplit('.', 1)[0]}.{100 + number}"
        place = {"subnet": subnet, "address": draw(st.sampled_from((None, address))), "service": None}
        server_here = {key: value for key, value in each.items() if key != "addresses"}
        placed.append(
            {**server_here, **place, "security_groups": draw(st.sampled_from([[], *([name] for name in groups)]))}
        )
    return tuple(placed)


@st.composite
def several_vpcs(draw: st.DrawFn, limits: st.SearchStrategy[int]) -> Topology:
    """Three VPCs, with peerings or a Transit Gateway between some of them, and servers in them and on the internet."""
    names, route = ("a", "b", "c"), st.sampled_from((NO_ROUTE, "tgw"))
    attached = draw(st.lists(st.sampled_from(names), min_size=1, unique=True)) if draw(st.booleans()) else []
    leads_out = "a" in attached and draw(st.booleans())
    routes = {
        "a": st.sampled_from((NO_ROUTE, "natgw")),
        **{name: route if name in attached else st.just(NO_ROUTE) for name in ("b", "c")},
    }
    ranges = {f"{name}-{zone}": f"10.{number}.{zone}.0/24" for number, name in enumerate(names) for zone in (1, 2)}
    walls = draw(st.booleans())
    vpcs = [
        {
            "name": name,
            "cidr": f"10.{number}.0.0/16",
            "subnets": [
                *(
                    {"name": subnet, "cidr": cidr, "default_route": draw(routes[name])}
                    for subnet, cidr in ranges.items()
                    if subnet.startswith(name)
                ),
                {
                    "name": f"tgw-{name}",
                    "cidr": f"10.{number}.9.0/24",
                    "default_route": "natgw" if name == "a" else None,
                },
                *([{"name": "public", "cidr": "10.0.0.0/24"}] if name == "a" else []),
            ],
            "nat_gateways": [{"name": "natgw", "subnet": "public", "connections_per_destination": draw(limits)}]
            if name == "a"
            else [],
            "security_groups": [{"name": f"db-{name}", "ingress": draw(_INGRESS_OF_SEVERAL)}] if walls else [],
            "network_acls": [
                {"name": f"acl-{subnet}", "subnets": [subnet], "egress": draw(_ENTRIES), "ingress": draw(_ENTRIES)}
                for subnet in (f"{name}-1", f"{name}-2", f"tgw-{name}")
                if walls and not draw(st.integers(0, 3))
            ],
        }
        for number, name in enumerate(names)
    ]
    peerings = [
        {"name": f"{one}-{other}", "vpcs": [one, other], "subnets": draw(st.none() | st.just(sides) | _some(sides))}
        for one, other in (("a", "b"), ("b", "c"), ("a", "c"))
        for sides in ([subnet for subnet in ranges if subnet[0] in (one, other)],)
        if not draw(st.integers(0, 1))
    ]
    functions = []
    for index in range(draw(st.integers(1, 2))):
        home = draw(st.sampled_from(("", *names)))
        subnets = draw(_some([f"{home}-1", f"{home}-2"])) if home else []
        groups = draw(st.sampled_from((("default",), *([(f"db-{home}",)] if walls else ()))))
        functions.append(function(f"f{index}", *subnets, groups=groups if home else ("default",)))
    servers = draw(_in_subnets(tuple(server(f"s{number}", number + 1) for number in range(3)), ranges, []))
    if walls:
        groups_of = {subnet: [f"db-{subnet[0]}"] for subnet in ranges}
        servers = tuple(
            each | {"security_groups": groups_of[each["subnet"]]}
            if each.get("subnet") and draw(st.booleans())
            else each
            for each in servers
        )
    document: dict[str, Any] = {
        "version": 1,
        "name": "made",
        "hyperplane_eni": {"connection_limit": draw(limits)},
        "vpcs": vpcs,
        "transit_gateways": [
            {
                "name": "tgw",
                "attachments": [{"vpc": name, "subnet": f"tgw-{name}"} for name in attached],
                "default_route": "a" if leads_out else None,
            }
        ]
        if attached
        else [],
        "peerings": peerings,
        "functions": functions,
        "servers": list(servers),
    }
    assert check(draft(document)) == ()
    return Topology.model_validate(document)


_INGRESS_OF_SEVERAL = st.lists(
    st.sampled_from(("10.0.0.0/8", "10.0.0.0/16", "10.1.1.0/24", "default")).map(lambda source: {"from": source}),
    max_size=2,
)


def _some(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), min_size=1, unique=True)


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
    servers = draw(_servers(embedded=embedded))
    walls = draw(_firewalls(sorted(private))) if firewalls and draw(st.booleans()) else {}
    ranges = {name: f"10.0.{len(gateways) + index}.0" for index, name in enumerate(private)}
    described = [group["name"] for group in walls.get("security_groups", ())]
    servers = draw(_in_subnets(servers, ranges, described))
    outside = tuple(each for each in servers if "subnet" not in each)
    endpoints = draw(_endpoints(limits, sorted(private), outside))
    some_subnets = st.lists(st.sampled_from(sorted(private)), min_size=1, max_size=5, unique=True)
    places = some_subnets if endpoints else some_subnets | st.just([])
    functions = [
        function(
            f"f{index}{draw(st.sampled_from(_TAILS))}",
            *subnets,
            groups=draw(st.sampled_from(_GROUPS)) if subnets else _GROUPS[0],
            reserved=draw(st.none() | st.integers(0, 60)),
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

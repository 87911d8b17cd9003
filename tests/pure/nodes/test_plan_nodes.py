"""What the topology's words become: ENIs that are shared, NAT gateways, limits in nft's text, entries for conntrack."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lab.nodes.build import build
from lab.plan import Plan
from lab.plan.objects import ConntrackMax, FleetPlan, Process, Route, Rule, Ruleset, Standing, Sysctl
from lab.slots.limiter import Limiter
from lab.topology import Topology
from lab.topology.checks import check
from lab.topology.draft import draft
from tests.support.topologies import function, nat_gateway, server, shipped, topology

KERNELS_OWN_CONNTRACK_MAX = 262_144
"""What Linux sets where there is memory enough (nf_conntrack-sysctl.rst)."""


def nodes(plan: Plan, kind: str) -> list[str]:
    """Names of all nodes of a kind."""
    return [node.name for node in plan.nodes if node.kind == kind]


def ruleset(plan: Plan, node: str) -> str:
    """The nft text of a node."""
    (namespace,) = (each.namespace for each in plan.nodes if each.name == node)
    (text,) = (each.text for each in plan.objects if isinstance(each, Ruleset) and each.namespace == namespace)
    return text


def chain(text: str, name: str) -> list[str]:
    """The rules of a chain."""
    match = re.search(rf"^  chain {name} {{\n(.*?)^  }}$", text, re.DOTALL | re.MULTILINE)
    assert match
    return [line.strip() for line in match[1].splitlines()]


def admissions(rules: list[str]) -> list[str]:
    """The slot sets that a chain's rules try, in order."""
    return [name for rule in rules for name in re.findall(r"update @(\w+) ", rule)]


def limiters(plan: Plan, kind: str) -> list[Limiter]:
    """All limiters of a kind."""
    return [each for each in plan.limiters if each.kind == kind]


def fleet(plan: Plan, name: str) -> FleetPlan:
    """What bursts of a function are told."""
    return next(each for each in plan.fleets if each.source == name)


def one_gateway(**settings: Any) -> Topology:
    """One function behind one NAT gateway with these settings."""
    return topology({"p": "natgw"}, function("f", "p"), nat_gateways=(nat_gateway(**settings),))


def several_vpcs(*functions: dict[str, Any], vpcs: list[dict[str, Any]], gateways: list[dict[str, Any]]) -> Plan:
    """The plan of several VPCs, one of them `egress`: the NAT gateway `natgw` is the way out of the subnet `out`."""
    subnets = [
        {"name": "public", "cidr": "10.0.0.0/24"},
        {"name": "out", "cidr": "10.0.1.0/24", "default_route": "natgw"},
    ]
    nat_gateways = [{"name": "natgw", "subnet": "public"}]
    egress = {"name": "egress", "cidr": "10.0.0.0/16", "subnets": subnets, "nat_gateways": nat_gateways}
    document: dict[str, Any] = {"version": 1, "name": "made", "vpcs": [*vpcs, egress], "transit_gateways": gateways}
    document |= {"functions": list(functions), "servers": [server()]}
    assert check(draft(document)) == ()
    return build(Topology.model_validate(document))


def spoke(number: int, **routes: str) -> dict[str, Any]:
    """The VPC 10.NUMBER.0.0/16: its subnets, each with its default route."""
    subnets = [
        {"name": name, "cidr": f"10.{number}.{index}.0/24", "default_route": route}
        for index, (name, route) in enumerate(routes.items())
    ]
    return {"name": f"spoke{number}", "cidr": f"10.{number}.0.0/16", "subnets": subnets}


def attached(vpc: str, subnet: str) -> dict[str, str]:
    """An attachment."""
    return {"vpc": vpc, "subnet": subnet}


def to_vpcs(plan: Plan, node: str) -> dict[str, str]:
    """A node's routes to the ranges of VPCs: range → interface; each range has one."""
    (namespace,) = (each.namespace for each in plan.nodes if each.name == node)
    routes = [each for each in plan.objects if isinstance(each, Route) and each.namespace == namespace]
    found = [(str(each.destination), each.interface or "") for each in routes if each.destination.prefixlen == 16]
    assert len(dict(found)) == len(found)
    return dict(found)


# ── Transit Gateways ────────────────────────────────────────────────────────────────────────────────────────


def test_two_transit_gateways_between_the_same_vpcs() -> None:
    """A subnet for each; a range has one route in a router all the same, for which the kernel has no second place."""
    plan = several_vpcs(
        function("f", "a", "b"),
        vpcs=[spoke(1, a="tgw-a", b="tgw-b")],
        gateways=[
            {
                "name": name,
                "attachments": [attached("spoke1", "a"), attached("egress", "out")],
                "default_route": "egress",
            }
            for name in ("tgw-a", "tgw-b")
        ],
    )
    assert to_vpcs(plan, "vpc-egress") == {"10.1.0.0/16": "tgw-a"}
    assert to_vpcs(plan, "vpc-spoke1") == {"10.0.0.0/16": "tgw-a"}
    assert to_vpcs(plan, "natgw") == {"10.0.0.0/16": "vpc-egress", "10.1.0.0/16": "vpc-egress"}


def test_two_transit_gateways_in_a_row() -> None:
    """Answers find the way back to a VPC that is not attached to the Transit Gateway of the egress VPC."""
    plan = several_vpcs(
        function("f", "a"),
        vpcs=[spoke(1, a="tgw-a"), spoke(2, b="tgw-b")],
        gateways=[
            {
                "name": "tgw-a",
                "attachments": [attached("spoke1", "a"), attached("spoke2", "b")],
                "default_route": "spoke2",
            },
            {
                "name": "tgw-b",
                "attachments": [attached("spoke2", "b"), attached("egress", "out")],
                "default_route": "egress",
            },
        ],
    )
    assert to_vpcs(plan, "natgw")["10.1.0.0/16"] == "vpc-egress"
    assert to_vpcs(plan, "vpc-egress")["10.1.0.0/16"] == "tgw-b"
    assert to_vpcs(plan, "tgw-b")["10.1.0.0/16"] == "vpc-spoke2"
    assert to_vpcs(plan, "vpc-spoke2")["10.1.0.0/16"] == "tgw-a"
    assert to_vpcs(plan, "tgw-a")["10.1.0.0/16"] == "vpc-spoke1"


# ── Hyperplane ENIs ─────────────────────────────────────────────────────────────────────────────────────────


def test_shared_eni() -> None:
    """Functions with one subnet and one security-group set share an ENI and its limit, and no client address."""
    plan = build(topology({"p": "natgw"}, function("f", "p"), function("g", "p")))
    assert nodes(plan, "hyperplane_eni") == ["eni-p"]
    assert len(limiters(plan, "hyperplane_eni")) == 1
    (f,), (g,) = fleet(plan, "f").paths, fleet(plan, "g").paths
    assert (f.eni, f.gateway_mac) == (g.eni, g.gateway_mac)
    assert f.first_address != g.first_address
    routes = [each for each in plan.objects if isinstance(each, Route) and each.namespace == "lab-made-eni-p"]
    assert sum(each.destination.prefixlen == 19 for each in routes) == 2


def test_enis_side_by_side() -> None:
    """Functions with different security groups have an ENI each in one subnet, both routed by its table."""
    plan = build(topology({"p": "natgw"}, function("f", "p"), function("g", "p", groups=("db",))))
    assert nodes(plan, "hyperplane_eni") == ["eni-p", "eni-p-db"]
    assert [each.limit for each in limiters(plan, "hyperplane_eni")] == [65_000, 65_000]
    rules = [each for each in plan.objects if isinstance(each, Rule) and each.namespace == "lab-made-vpc"]
    by_port = {each.input_interface: each.table for each in rules if each.input_interface}
    assert set(by_port) == {"eni-p", "eni-p-db"}
    assert len(set(by_port.values())) == 1


def test_paths_follow_the_function() -> None:
    """A function's paths are in the order of its subnets, whoever made the ENIs first: predictions count on it."""
    made = topology({"a": "natgw", "b": "natgw"}, function("f", "a", "b"), function("g", "b", "a"))
    plan = build(made)
    assert [path.eni for path in fleet(plan, "f").paths] == ["eni-a", "eni-b"]
    assert [path.eni for path in fleet(plan, "g").paths] == ["eni-b", "eni-a"]


def test_eni_limit_is_total() -> None:
    """An ENI has one slot set for all protocols and destinations, of the limit's size."""
    plan = build(shipped("two_subnets"))
    text = ruleset(plan, "eni-private-a")
    assert re.findall(r"set connections {.*? size (\d+);", text) == ["65000"]
    rules = chain(text, "admit")
    assert admissions(rules) == ["connections", "connections"]
    assert [rule.split()[:3] for rule in rules[:2]] == [["meta", "l4proto", each] for each in ("tcp", "udp")]
    assert rules[-1] == "goto refuse_connections"


def growing(most: int) -> Plan:
    """A plan in which an ENI may come to so many."""
    return build(
        topology({"p": "natgw"}, function("f", "p"), hyperplane_eni={"eni_scaling": {"after": 5, "most": most}})
    )


def test_each_further_eni_is_a_limiter_of_its_own() -> None:
    """ENIs that may appear have a name, a limit, a mark and a private address each, in the first one's namespace."""
    plan = growing(3)
    found = limiters(plan, "hyperplane_eni")
    assert [(each.node, each.of, each.limit) for each in found] == [
        ("eni-p", None, 65_000),
        ("eni-p-2", "eni-p", 65_000),
        ("eni-p-3", "eni-p", 65_000),
    ]
    assert {(each.place, each.namespace) for each in found} == {("eni-p", "lab-made-eni-p")}
    (node,) = (each for each in plan.nodes if each.kind == "hyperplane_eni")
    assert node.addresses == ("10.0.1.4", "10.0.1.5", "10.0.1.6")
    text = ruleset(plan, "eni-p")
    marks = dict(re.findall(r"update @(\w+) .*? ct mark set (0x[0-9a-f]+) (?:accept|goto admitted)", text))
    assert len(set(marks.values())) == 3
    *further, first = chain(text, "translate")[1:]
    assert first.endswith('"vpc" snat to 10.0.1.4')
    assert [re.findall(r"ct mark (\S+) snat to (\S+)", rule) for rule in further] == [
        [(marks["connections_2"], "10.0.1.5")],
        [(marks["connections_3"], "10.0.1.6")],
    ]


def test_the_way_to_a_further_eni() -> None:
    """A connection tries one ENI after the other, passes by those that have not appeared, and is refused by one."""
    text = ruleset(growing(3), "eni-p")
    for number, (name, asked) in enumerate((("connections", "asked_2"), ("connections_2", "asked_3")), 1):
        rules = chain(text, "admit" if number == 1 else f"admit_{number}")
        assert admissions(rules) == [name, name]
        after = asked.replace("asked", "growing")
        assert rules[2:] == [
            f"iif @{asked} iif != @{after} goto admit_{number + 1}",
            f"iif != @{asked} add @{after} {{ iif }} add @{asked} {{ iif }}",
            f"goto refuse_{name}",
        ]
        assert f"set {after} {{ type iface_index; size 1; flags dynamic,timeout; timeout 5s; }}" in text
    assert chain(text, "admit_3")[-1] == "goto refuse_connections_3"


def test_no_growth_by_default() -> None:
    """Unless a topology asks for it, an ENI stays alone, as in the article."""
    plan = build(topology({"p": "natgw"}, function("f", "p"), hyperplane_eni={"eni_scaling": "off"}))
    assert plan == build(topology({"p": "natgw"}, function("f", "p")))
    assert "growing" not in ruleset(plan, "eni-p")


def test_an_eni_that_counts_each_destination() -> None:
    """With `per_destination` there is a set for each server and protocol, and one in total for everything else."""
    servers = (server("a", 1), server("b-c", 2, port=53))
    plan = build(
        topology({"p": "natgw"}, function("f", "p"), servers=servers, hyperplane_eni={"per_destination": True})
    )
    found = limiters(plan, "hyperplane_eni")
    assert [(each.destination, each.protocol) for each in found] == [
        ("a", "tcp"),
        ("a", "udp"),
        ("b-c", "tcp"),
        ("b-c", "udp"),
        ("all others", "any"),
    ]
    text = ruleset(plan, "eni-p")
    choice, *others = chain(text, "admit")
    for each, match in zip(found, ("1 . 443 . tcp", "1 . 443 . udp", "2 . 53 . tcp", "2 . 53 . udp"), strict=False):
        assert f"203.0.113.{match} : goto admit_{each.slots}" in choice
        assert admissions(chain(text, f"admit_{each.slots}")) == [each.slots]
        assert chain(text, f"admit_{each.slots}")[-1] == f"goto refuse_{each.slots}"
    assert admissions(others) == [found[-1].slots] * 2
    marks = re.findall(r"update @(\w+) .*? ct mark set (0x[0-9a-f]+) (?:accept|goto admitted)", text)
    assert len({mark for _, mark in marks}) == len(found)


def test_a_destination_behind_an_endpoint() -> None:
    """To an ENI, a server behind an interface endpoint is at the endpoint's address, where its clients go."""
    made = shipped("privatelink")
    counting = made.hyperplane_eni.model_copy(update={"per_destination": True})
    plan = build(made.model_copy(update={"hyperplane_eni": counting}))
    (endpoint,) = (each for each in plan.nodes if each.kind == "interface_endpoint")
    choice = chain(ruleset(plan, "eni-private-a"), "admit")[0]
    assert f"{endpoint.addresses[0]} . 443 . tcp : goto admit_to_cache_tcp" in choice
    assert "203.0.113.10" not in choice


# ── NAT gateways ────────────────────────────────────────────────────────────────────────────────────────────


def test_several_gateways() -> None:
    """Each subnet's traffic goes to the NAT gateway that its route names."""
    gateways = (nat_gateway("blue"), nat_gateway("green"))
    plan = build(
        topology({"p": "blue", "q": "green", "r": "blue"}, function("f", "p", "q", "r"), nat_gateways=gateways)
    )
    assert nodes(plan, "nat_gateway") == ["nat-blue", "nat-green"]
    router = [each for each in plan.objects if getattr(each, "namespace", "") == "lab-made-vpc"]
    table = {each.input_interface: each.table for each in router if isinstance(each, Rule)}
    exit_ = {each.table: each.interface for each in router if isinstance(each, Route) and each.via}
    assert {eni: exit_[table[eni]] for eni in ("eni-p", "eni-q", "eni-r")} == {
        "eni-p": "nat-blue",
        "eni-q": "nat-green",
        "eni-r": "nat-blue",
    }


def test_one_set_for_each_destination() -> None:
    """A NAT gateway has one slot set per Elastic IP, server and protocol, each of the limit's size and mark."""
    servers = (server("a", 1), server("b-c", 2, port=53))
    made = topology(
        {"p": "natgw"},
        function("f", "p"),
        nat_gateways=(nat_gateway(elastic_ips=3, connections_per_destination=7),),
        servers=servers,
    )
    plan = build(made)
    found = limiters(plan, "nat_gateway")
    keys = [(each.eip, each.destination, each.protocol) for each in found]
    eips = [f"198.51.100.{n}" for n in (1, 2, 3)]
    assert sorted(keys) == sorted((e, s, p) for e in eips for s in ("a", "b-c") for p in ("tcp", "udp"))
    text = ruleset(plan, "natgw")
    sizes = dict(re.findall(r"set (\w+) { type ipv4_addr \. inet_service; size (\d+);", text))
    assert {each.slots: sizes.get(each.slots) for each in found} == {each.slots: "7" for each in found}
    marks = re.findall(r"update @(\w+) .*? ct mark set (0x[0-9a-f]+) (?:accept|goto admitted)", text)
    assert len({mark for _, mark in marks}) == len(found) == len(set(marks))


def test_one_set_for_each_client() -> None:
    """With ports of their own clients are dealt out to Elastic IPs in turn; no other address has any."""
    gateways = (nat_gateway(elastic_ips=2, connections_per_destination=20, ports_per_client={"min": 3, "max": 50}),)
    subnets = dict.fromkeys(("p", "q", "r"), "natgw")
    plan = build(topology(subnets, function("f", *subnets), nat_gateways=gateways))
    first, second = "198.51.100.1", "198.51.100.2"
    found = [(each.client, each.eip, each.limit) for each in limiters(plan, "nat_gateway") if each.protocol == "tcp"]
    assert found == [("eni-p", first, 6), ("eni-q", second, 6), ("eni-r", first, 6)]
    _, _, choose = ruleset(plan, "natgw").partition("chain choose_cache_tcp {")
    addresses = [
        address for each in limiters(plan, "nat_gateway") if each.protocol == "tcp" for address in each.sources
    ]
    assert re.findall(r"([\d.]+) : goto", choose.partition("\n  }")[0]) == addresses
    assert "counter name other_packets drop" in choose.partition("\n  }")[0]


def test_clients_of_an_elastic_ip_that_drains() -> None:
    """Connections that they had from it are cut at its end; new ones are from one that stays."""
    standing = Standing(draining={"natgw": {2: 1_000}})
    plan = build(one_gateway(ports_per_client=5), "lab", standing)
    assert {each.eip for each in limiters(plan, "nat_gateway")} == {"198.51.100.1"}
    assert "meta time >= 1000 ct reply ip daddr 198.51.100.2" in ruleset(plan, "natgw")


def test_translation() -> None:
    """What an Elastic IP admitted leaves from that Elastic IP."""
    plan = build(one_gateway(elastic_ips=2))
    text = ruleset(plan, "natgw")
    marks = dict(re.findall(r"update @(\w+) .*? ct mark set (0x[0-9a-f]+) (?:accept|goto admitted)", text))
    translated = {
        mark: eip
        for listed, eip in re.findall(r"ct mark { (.*?) } snat to ([\d.]+):1024-65535", text)
        for mark in listed.split(", ")
    }
    assert {each.slots: translated[marks[each.slots]] for each in limiters(plan, "nat_gateway")} == {
        each.slots: each.eip for each in limiters(plan, "nat_gateway")
    }


def test_spill_over() -> None:
    """With spill-over a connection tries every Elastic IP, its own first; all full, it is refused once."""
    text = ruleset(build(one_gateway(elastic_ips=3)), "natgw")
    sets = [f"eip{index}_cache_tcp" for index in (1, 2, 3)]
    for index, name in enumerate(sets):
        rules = chain(text, f"start_{name}")
        assert admissions(rules) == sets[index:] + sets[:index]
        assert rules[-1] == f"goto refuse_{name}"


def test_no_spill_over() -> None:
    """Without spill-over a connection has one Elastic IP, and is refused when that one is full."""
    text = ruleset(build(one_gateway(elastic_ips=3, spill_over=False)), "natgw")
    for name in (f"eip{index}_cache_tcp" for index in (1, 2, 3)):
        assert admissions(chain(text, f"start_{name}")) == [name]


@pytest.mark.parametrize(
    ("selection", "picker"),
    [
        ("round_robin", "numgen inc mod 3"),
        ("hash", "jhash ip saddr . th sport . ip daddr . th dport . meta l4proto mod 3 seed 0x1ab"),
    ],
)
def test_selection(selection: str, picker: str) -> None:
    """Round robin takes Elastic IPs in turn; a hash picks by the whole tuple."""
    text = ruleset(build(one_gateway(elastic_ips=3, eip_selection=selection)), "natgw")
    (rule,) = chain(text, "choose_cache_tcp")
    targets = ", ".join(f"{index} : goto start_eip{index + 1}_cache_tcp" for index in range(3))
    assert rule == f"{picker} vmap {{ {targets} }}"


def test_one_eip_is_no_choice() -> None:
    """A single Elastic IP is taken without a choice, whatever the policy."""
    text = ruleset(build(one_gateway(elastic_ips=1, eip_selection="hash")), "natgw")
    assert chain(text, "choose_cache_tcp") == ["goto start_eip1_cache_tcp"]


@pytest.mark.parametrize(("hold", "timeout"), [(0, "10ms"), (60, "60s")])
def test_timeouts(hold: int, timeout: str) -> None:
    """Slots and conntrack entries have the same timeouts, from the topology."""
    made = one_gateway(idle_timeout=300, half_open_timeout=90, port_hold=hold)
    plan = build(made)
    rules = chain(ruleset(plan, "natgw"), "eip1_cache_tcp_original")
    assert set(re.findall(r"timeout (\w+)", " ".join(rules))) == {"300s", "90s", timeout}
    sysctls = {
        each.key.removeprefix("net.netfilter.nf_conntrack_tcp_timeout_"): each.value
        for each in plan.objects
        if each.kind == "sysctl" and each.namespace == "lab-made-natgw"
    }
    assert sysctls["established"] == "300"
    assert sysctls["syn_sent"] == "90"
    assert sysctls["time_wait"] == str(max(hold, 1))


# ── Connections that are forgotten ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("node", "inner"), [("eni-p", "svc"), ("natgw", "vpc")])
def test_resets(node: str, inner: str) -> None:
    """A packet of a forgotten connection is answered with an RST where it comes from inside, and dropped elsewhere."""
    text = ruleset(build(one_gateway()), node)
    assert chain(text, "forward")[1] == "ct state vmap { related : accept, invalid : goto drop_invalid }"
    *_, reset, rest = chain(text, "drop_invalid")
    assert reset == f'iifname "{inner}" tcp flags & rst == 0x0 counter name resets_sent reject with tcp reset'
    assert rest == "counter name invalid_packets drop"


@pytest.mark.parametrize("direction", ["original", "reply"])
def test_most_packets_meet_one_rule(direction: str) -> None:
    """A segment in the middle of a connection is done with after the first rule, whatever is counted of others."""
    text = ruleset(build(one_gateway()), "eni-p")
    first, *others = chain(text, f"connections_{direction}")
    assert first.startswith("tcp flags & (fin|syn|rst) == 0x0 ct mark & 0x100000 == 0x100000 update @connections ")
    assert first.endswith(" ct mark & 0x100000 == 0x100000 accept")
    assert not any("counter" in rule for rule in (first, others[-2]))
    assert sum("connections_closed" in rule for rule in others) == 2


@pytest.mark.parametrize("direction", ["original", "reply"])
def test_ends_that_cross_are_not_lost(direction: str) -> None:
    """No rule for a FIN or RST writes the mark, which the other direction's packets may write at the same time."""
    rules = chain(ruleset(build(one_gateway()), "eni-p"), f"connections_{direction}")
    ends = [rule for rule in rules if rule.startswith(("tcp flags & fin == fin", "tcp flags & rst == rst"))]
    assert len(ends) == 3
    assert all("ct label set" in rule and "ct mark set" not in rule for rule in ends)


# ── Servers ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_server_for_a_real_program() -> None:
    """With `embedded: false` nothing of the lab's runs or drops frames there, and replies bear their SYN's DSCP."""
    servers = (server("own", 1), server("other", 2, embedded=False))
    plan = build(topology({"p": "natgw"}, function("f", "p"), servers=servers))

    def things(node: str) -> set[type]:
        return {type(each) for each in plan.objects if getattr(each, "namespace", None) == f"lab-made-srv-{node}"}

    assert things("own") - things("other") == {Process, Ruleset}
    sysctls = {(each.namespace, each.key, each.value) for each in plan.objects if isinstance(each, Sysctl)}
    assert ("lab-made-srv-other", "net.ipv4.tcp_reflect_tos", "1") in sysctls


# ── Conntrack ───────────────────────────────────────────────────────────────────────────────────────────────


def entries(made: Topology) -> int:
    """How many entries the plan asks the host for."""
    (item,) = (each for each in build(made).objects if isinstance(each, ConntrackMax))
    return item.entries


def test_large_labs_raise_conntrack_max() -> None:
    """Seven ENIs behind one gateway need more than the kernel's own limit; the others that ship need nothing."""
    assert entries(shipped("seven_subnets_eight_eips")) > KERNELS_OWN_CONNTRACK_MAX
    small = ("one_subnet", "one_subnet_two_eips", "two_subnets", "tiny")
    assert all(entries(shipped(name)) <= KERNELS_OWN_CONNTRACK_MAX for name in small)


def test_entries_of_every_slot() -> None:
    """ENIs that may appear, and limits for each destination, have room for the entries of all their slots."""
    alone, grown, each_destination = (
        entries(topology({"p": "natgw"}, function("f", "p"), hyperplane_eni=settings))
        for settings in ({}, {"eni_scaling": {"after": 5, "most": 4}}, {"per_destination": True})
    )
    assert grown == 4 * alone
    assert each_destination == 3 * alone  # one server over TCP, over UDP, and the rest


def test_entries_are_those_of_the_busiest_namespace() -> None:
    """Two gateways share the ENIs between them: the busier one decides, with room for every live connection."""
    gateways = (nat_gateway("a"), nat_gateway("b"))
    spread = topology({"p": "a", "q": "b", "r": "b"}, function("f", "p", "q", "r"), nat_gateways=gateways)
    joined = topology({"p": "a", "q": "a", "r": "a"}, function("f", "p", "q", "r"), nat_gateways=gateways)
    assert 2 * 65_000 <= entries(spread) < entries(joined)
    assert entries(joined) >= 3 * 65_000

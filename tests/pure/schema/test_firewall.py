"""What security groups and network ACLs let pass: the evaluation, its form in nft, and where connections end by it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
import re
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st
import pytest
from ruamel.yaml import YAML

from lab.capacity.predict import predict
from lab.nodes.build import build
from lab.paths.leg import DeadEnd
from lab.paths.path import Path
from lab.paths.routes import paths
from lab.plan import Plan
from lab.plan.objects import Ruleset
from lab.schema.firewall import (
    CLIENT_PORTS,
    NetworkAcl,
    Rule,
    SecurityGroup,
    Traffic,
    Transport,
    acl_rules,
    allowed,
    group_rules,
    ingress_rules,
    verdicts,
)
from lab.topology import Topology
from tests.support.examples import examples
from tests.support.topologies import function, nat_gateway, server, shipped, topology
from traffic.spec import PortBlocks

SERVER = IPv4Address("203.0.113.10")
TRANSPORTS: tuple[Transport, ...] = ("tcp", "udp")
EVERYTHING = {"rule": 100, "action": "allow"}
_FROM_ANYWHERE = Traffic("tcp", IPv4Network("0.0.0.0/0"), 0, 65_535)


def group(name: str, *egress: dict[str, Any]) -> SecurityGroup:
    """A security group from a few words."""
    return SecurityGroup.model_validate({"name": name, "egress": list(egress)})


def acl(*egress: dict[str, Any], ingress: tuple[dict[str, Any], ...] = ()) -> NetworkAcl:
    """A network ACL from a few words."""
    return NetworkAcl.model_validate(
        {"name": "strict", "subnets": ["p"], "egress": list(egress), "ingress": list(ingress)}
    )


# ── Evaluation ──────────────────────────────────────────────────────────────────────────────────────────────

_BLOCK = IPv4Network("203.0.113.8/29")
_PORTS = range(440, 448)
_blocks = st.sampled_from((IPv4Network("0.0.0.0/0"), *(net for n in range(4) for net in _BLOCK.subnets(n))))
_spans = st.tuples(st.sampled_from((0, *_PORTS)), st.sampled_from((*_PORTS, 65_535))).filter(
    lambda pair: pair[0] <= pair[1]
)


@st.composite
def _a_rule(draw: st.DrawFn) -> Rule:
    protocol: Literal["tcp", "udp", "all"] = draw(st.sampled_from(("tcp", "udp", "all")))
    first, last = (0, 65_535) if protocol == "all" else draw(_spans)
    return Rule(draw(st.sampled_from(("allow", "deny"))), protocol, first, last, draw(_blocks))


_rules = st.lists(_a_rule(), max_size=6)


@given(_rules, st.sampled_from(TRANSPORTS), _blocks.filter(lambda block: block.prefixlen > 0), _spans)
def test_verdicts_at_edges_are_those_of_all_packets(
    rules: list[Rule], transport: Transport, block: IPv4Network, span: tuple[int, int]
) -> None:
    """Asking at the rules' edges gives what asking for each packet gives."""
    first, last = max(span[0], _PORTS[0] - 2), min(span[1], _PORTS[-1] + 2)
    every = {allowed(rules, transport, address, port) for address in block for port in range(first, last + 1)}
    assert verdicts(rules, Traffic(transport, block, first, last)) == every


def test_first_match_decides() -> None:
    """Entries are tried by their numbers, whatever their order in the file; no match is a denial."""
    late = {"rule": 200, "action": "allow", "protocol": "tcp"}
    early = {"rule": 100, "action": "deny", "protocol": "tcp", "to": "203.0.113.0/24"}
    rules = acl_rules(acl(late, early), "egress", answers=False)
    assert not allowed(rules, "tcp", SERVER, 443)
    assert allowed(rules, "tcp", IPv4Address("198.18.0.1"), 443)
    assert not allowed(rules, "udp", IPv4Address("198.18.0.1"), 443)


def test_groups_allow_their_union() -> None:
    """A set allows what any of its groups allows; one with a group that nobody describes allows everything."""
    groups = (group("db", {"protocol": "tcp", "ports": 5432}), group("web", {"protocol": "tcp", "ports": 443}))
    both, web, none = (group_rules(groups, names) for names in (("db", "web"), ("web",), ()))
    assert both is not None
    assert web is not None
    assert [allowed(both, "tcp", SERVER, port) for port in (443, 5432, 80)] == [True, True, False]
    assert [allowed(web, "tcp", SERVER, port) for port in (443, 5432)] == [True, False]
    assert none == ()
    assert group_rules(groups, ("web", "default")) is None
    assert group_rules((group("shut"),), ("shut",)) == ()


def test_ingress_is_by_group_or_range() -> None:
    """A group's name stands for all that have it; left out, ingress allows everything."""
    rules = [{"protocol": "tcp", "ports": 5432, "from": "web"}, {"from": "10.9.0.0/16"}]
    db = SecurityGroup.model_validate({"name": "db", "ingress": rules})
    members = {"web": [IPv4Network("10.0.1.4/32"), IPv4Network("10.0.2.4/32")]}
    let_in = ingress_rules([db], ["db"], members.__getitem__)
    assert let_in is not None
    sources = ("10.0.1.4", "10.0.2.4", "10.0.2.5", "10.9.0.1")
    assert [allowed(let_in, "tcp", IPv4Address(source), 5432) for source in sources] == [True, True, False, True]
    assert not allowed(let_in, "udp", IPv4Address("10.0.1.4"), 5432)
    assert verdicts(ingress_rules([group("open")], ["open"], members.__getitem__) or (), _FROM_ANYWHERE) == {True}
    assert ingress_rules([db], ["db", "default"], members.__getitem__) is None


def test_ephemeral_ports_are_the_labs() -> None:
    """An entry for answers that begins at 1024 covers all source ports of clients; one for requests does not."""
    entry = {"rule": 100, "action": "allow", "protocol": "tcp", "ports": "1024-65535"}
    guarded = acl(entry, ingress=(entry,))
    clients = Traffic("tcp", IPv4Network("203.0.113.10/32"), CLIENT_PORTS[0], CLIENT_PORTS[-1])
    assert verdicts(acl_rules(guarded, "ingress", answers=True), clients) == {True}
    assert verdicts(acl_rules(guarded, "egress", answers=False), clients) == {True, False}


def test_round_trip() -> None:
    """What a lab remembers of its topology are the same firewalls."""
    entries = {"rule": 100, "action": "deny", "protocol": "udp", "ports": "53", "from": "203.0.113.0/24"}
    made = guarded(
        acls=[{"name": "strict", "subnets": ["p"], "egress": [EVERYTHING], "ingress": [entries]}],
        groups=[{"name": "g", "egress": [{"protocol": "tcp", "ports": 443}]}],
    )
    assert Topology.model_validate_json(made.model_dump_json(by_alias=True), by_alias=True) == made


def test_client_ports_are_those_of_the_fleets() -> None:
    """The evaluation knows the ports that connections have."""
    blocks = PortBlocks()
    assert range(blocks.first_port, blocks.first_port + blocks.ports) == CLIENT_PORTS


# ── In nft ──────────────────────────────────────────────────────────────────────────────────────────────────

_RULE = re.compile(
    r"(?:ip (?P<side>[sd]addr) (?P<block>\S+) )?(?:meta l4proto (?P<any>\w+) |(?P<protocol>\w+) dport (?P<ports>\S+) )?"
    r"(?P<verdict>return|counter name \w+ drop)"
)


def chain(plan: Plan, node: str, name: str) -> list[str]:
    """The rules of a chain of a node; none if there is no such chain."""
    (namespace,) = (each.namespace for each in plan.nodes if each.name == node)
    texts = [each.text for each in plan.objects if isinstance(each, Ruleset) and each.namespace == namespace]
    found = re.search(rf"^  chain {name} {{\n(.*?)^  }}$", "".join(texts), re.DOTALL | re.MULTILINE)
    return [line.strip() for line in found[1].splitlines()] if found else []


def nft_allows(rules: list[str], protocol: str, address: IPv4Address, port: int) -> bool:
    """What nft makes of a packet: the first rule that matches decides."""
    for rule in rules:
        match = _RULE.fullmatch(rule)
        assert match, rule
        first, _, last = (match["ports"] or "0-65535").partition("-")
        if (
            address in IPv4Network(match["block"] or "0.0.0.0/0")
            and (match["any"] or match["protocol"] or protocol) == protocol
            and int(first) <= port <= int(last or first)
        ):
            return match["verdict"] == "return"
    raise AssertionError("a chain that decides nothing")


_entries = st.lists(
    st.fixed_dictionaries(
        {"rule": st.integers(1, 32_766), "action": st.sampled_from(("allow", "deny"))},
        optional={"to": _blocks.map(str), "how": st.tuples(st.sampled_from(TRANSPORTS), _spans)},
    ),
    max_size=6,
    unique_by=lambda entry: entry["rule"],
)


def guarded(*, acls: list[dict[str, Any]] | None = None, groups: list[dict[str, Any]] | None = None) -> Topology:
    """Two private subnets p and q with a NAT gateway, and these firewalls."""
    made = topology({"p": "natgw", "q": "natgw"}, function("f", "p", "q", groups=("g",)))
    document = made.model_dump(mode="json", by_alias=True)
    document["vpc"] |= {"network_acls": acls or [], "security_groups": groups or []}
    return Topology.model_validate(document)


@examples(50)
@given(_entries, st.sampled_from(TRANSPORTS), st.sampled_from(list(_BLOCK)), st.sampled_from(_PORTS))
def test_nft_decides_as_the_evaluation(
    entries: list[dict[str, Any]], transport: Transport, address: IPv4Address, port: int
) -> None:
    """The chains of network ACLs and security groups say of every packet what arithmetic says of it."""
    for entry in entries:
        if how := entry.pop("how", None):
            entry |= {"protocol": how[0], "ports": f"{how[1][0]}-{how[1][1]}"}
    strict = {"name": "strict", "subnets": ["p"], "egress": entries}
    egress = [{key: entry[key] for key in entry if key not in ("rule", "action")} for entry in entries]
    made = guarded(acls=[strict], groups=[{"name": "g", "egress": egress}])
    plan = build(made)
    rules = acl_rules(made.network_acls[0], "egress", answers=False)
    found = nft_allows(chain(plan, "vpc", "acl_strict_egress_requests"), transport, address, port)
    assert found is allowed(rules, transport, address, port)
    together = group_rules(made.security_groups, ("g",))
    assert together is not None
    found = nft_allows(chain(plan, "eni-p-g", "security_groups"), transport, address, port)
    assert found is allowed(together, transport, address, port)


def test_no_firewall_no_rule() -> None:
    """Without firewalls the router has no table, and an ENI no chain for security groups."""
    plan = build(guarded())
    assert not [each for each in plan.objects if isinstance(each, Ruleset) and each.namespace == "lab-made-vpc"]
    assert chain(plan, "eni-p-g", "security_groups") == []
    assert plan.barriers == ()


def test_a_group_that_nobody_describes() -> None:
    """An ENI whose set has such a group has no rule either."""
    assert build(guarded(groups=[{"name": "other", "egress": []}])).barriers == ()


@pytest.mark.parametrize(
    ("subnet", "chains"),
    [
        ("p", {"acl_strict_egress_requests", "acl_strict_ingress_answers"}),
        ("pub-natgw", {"acl_strict_egress_answers", "acl_strict_ingress_requests"}),
    ],
)
def test_what_crosses_a_border(subnet: str, chains: set[str]) -> None:
    """From an ENI's subnet come requests, to it answers; to and from a NAT gateway's it is the other way round."""
    plan = build(guarded(acls=[{"name": "strict", "subnets": [subnet]}]))
    within = [each for each in plan.barriers if each.node == "vpc"]
    assert {each.counter for each in within} == chains
    assert {each.counter for each in within if each.answers} == {one for one in chains if "answers" in one}
    jumps = chain(plan, "vpc", "network_acls")[1:]
    assert {jump.rpartition(" ")[2] for jump in jumps} == chains
    port = "natgw" if subnet == "pub-natgw" else "eni-p-g"
    assert all(jump.count(f'{{ "{port}" }}') == 2 and "!=" in jump for jump in jumps)


def test_a_nat_gateways_border_with_the_internet() -> None:
    """What a NAT gateway sends to servers leaves its subnet, their answers enter it; others have no border there."""
    plan = build(guarded(acls=[{"name": "strict", "subnets": ["pub-natgw", "p"]}]))
    beyond = [each for each in plan.barriers if each.far_side]
    assert {(each.node, each.counter, each.answers) for each in beyond} == {
        ("natgw", "acl_strict_egress_requests", False),
        ("natgw", "acl_strict_ingress_answers", True),
    }
    assert chain(plan, "inet", "network_acls")[1:] == [
        'iifname "natgw" jump acl_strict_egress_requests',
        'oifname "natgw" jump acl_strict_ingress_answers',
    ]
    assert not [each for each in build(guarded(acls=[{"name": "strict", "subnets": ["p"]}])).barriers if each.far_side]


def test_a_packet_leaves_before_it_enters() -> None:
    """Egress of one subnet is asked before ingress of the other, whichever ACL stands first in the file."""
    both = [{"name": "far", "subnets": ["pub-natgw"]}, {"name": "near", "subnets": ["p"]}]
    jumps = chain(build(guarded(acls=both)), "vpc", "network_acls")[1:]
    assert ["egress" in jump for jump in jumps] == [True, True, False, False]


# ── Dead ends ───────────────────────────────────────────────────────────────────────────────────────────────


def to_cache(made: Topology, transport: Transport = "tcp") -> Path:
    """The first way of the function."""
    return paths(made, "f", "cache", transport)[0]


def the_end(made: Topology) -> DeadEnd:
    """Where it ends."""
    end = to_cache(made).dead_end
    assert end is not None
    return end


def test_the_first_end_counts() -> None:
    """A security group comes before a route, a route before network ACLs, requests before answers."""
    shut = {"name": "strict", "subnets": ["p"]}
    made = guarded(acls=[shut], groups=[{"name": "g", "egress": []}])
    assert the_end(made).kind == "security_group"
    end = the_end(guarded(acls=[shut]))
    assert (end.kind, end.direction, end.answers) == ("network_acl", "egress", False)
    end = the_end(guarded(acls=[shut | {"egress": [EVERYTHING]}]))
    assert (end.kind, end.direction, end.answers) == ("network_acl", "ingress", True)
    assert to_cache(guarded(acls=[shut | {"egress": [EVERYTHING], "ingress": [EVERYTHING]}])).dead_end is None


VPC_ONLY = {"rule": 100, "action": "allow", "to": "10.0.0.0/16"}


def test_the_end_behind_a_nat_gateway() -> None:
    """An ACL that forbids a NAT gateway the internet ends connections behind its limit, in either direction."""
    public = {"name": "public", "subnets": ["pub-natgw"], "egress": [VPC_ONLY], "ingress": [EVERYTHING]}
    way = to_cache(guarded(acls=[public]))
    assert way.dead_end is not None
    assert (way.dead_end.node, way.dead_end.direction, way.dead_end.answers) == ("natgw", "egress", False)
    assert [hop.node for hop, _ in way.limits] == ["eni-p-g", "natgw"]
    assert way.dead_end.sentence == (
        "egress of the network ACL public forbids tcp to cache, port 443, between natgw and the internet"
    )
    from_vpc = {"rule": 100, "action": "allow", "from": "10.0.0.0/16"}
    end = the_end(guarded(acls=[public | {"egress": [EVERYTHING], "ingress": [from_vpc]}]))
    assert (end.node, end.direction, end.answers) == ("natgw", "ingress", True)


def test_the_public_subnet_of_an_egress_vpc() -> None:
    """From another VPC as well: what its ACL lacks for requests, at both borders, is one cure with that VPC's range."""
    document = shipped("transit_gateway").model_dump(mode="json", by_alias=True, exclude_none=True)
    egress = next(vpc for vpc in document["vpcs"] if vpc["name"] == "egress")
    egress["network_acls"] = [{"name": "public", "subnets": ["public"], "ingress": [EVERYTHING]}]
    (way,) = paths(Topology.model_validate(document), "refunds", "cache")
    assert way.dead_end is not None
    assert (way.dead_end.node, way.dead_end.direction, way.dead_end.far_side) == ("natgw", "egress", True)
    assert way.dead_end.cure == (
        "Add to egress of the network ACL public: {rule: 100, action: allow, protocol: tcp, ports: 443, "
        "to: 203.0.113.10/32}, {rule: 110, action: allow, protocol: tcp, ports: 1024-65535, to: 10.2.0.0/16}"
    )


def test_no_entry_for_a_part_of_a_nat_gateways_ports() -> None:
    """Ports 32768-61000, as clients elsewhere have them, are a part of those of a NAT gateway; 1024-65535 are all."""
    entries = ({"rule": 100, "action": "allow", "from": "10.0.0.0/16"}, {"rule": 110, "action": "allow"})
    for ports, doubtful in (("32768-61000", True), ("1024-65535", False)):
        ingress = [entries[0], entries[1] | {"protocol": "tcp", "ports": ports}]
        public = {"name": "public", "subnets": ["pub-natgw"], "egress": [EVERYTHING], "ingress": ingress}
        way = to_cache(guarded(acls=[public]))
        assert (way.dead_end, way.doubt is not None) == (None, doubtful)


def test_protocols_end_apart() -> None:
    """What allows TCP only is the end of UDP."""
    made = guarded(groups=[{"name": "g", "egress": [{"protocol": "tcp", "ports": 443}]}])
    assert to_cache(made).dead_end is None
    assert to_cache(made, "udp").dead_end is not None
    assert predict(made, 10).established == 10
    assert predict(made, 10, protocol="udp").established == 0


def test_within_a_subnet_nothing_is_judged() -> None:
    """An interface endpoint in the ENI's own subnet is on this side of its border; in another one it is not."""
    shut = {"name": "strict", "subnets": ["p", "q"]}
    document = guarded(acls=[shut]).model_dump(mode="json", by_alias=True)
    document["vpc"]["interface_endpoints"] = [{"name": "cache", "subnet": "p", "server": "cache"}]
    near, far = paths(Topology.model_validate(document), "f", "cache")
    assert near.dead_end is None
    assert far.dead_end is not None


def test_an_endpoints_address_is_in_its_subnet() -> None:
    """With an endpoint it is the endpoint's private address that rules are asked for, which no topology knows."""
    document = guarded(groups=[{"name": "g", "egress": [{"to": "203.0.113.10/32"}]}]).model_dump(
        mode="json", by_alias=True
    )
    document["vpc"]["interface_endpoints"] = [{"name": "cache", "subnet": "p", "server": "cache"}]
    assert to_cache(Topology.model_validate(document)).dead_end is not None
    (p,) = (each["cidr"] for each in document["vpc"]["subnets"] if each["name"] == "p")
    document["vpc"]["security_groups"] = [{"name": "g", "egress": [{"to": p}]}]
    assert to_cache(Topology.model_validate(document)).dead_end is None
    document["vpc"]["security_groups"] = [{"name": "g", "egress": [{"to": f"{p.split('/')[0]}/32"}]}]
    way = to_cache(Topology.model_validate(document))
    assert way.dead_end is None
    assert way.doubt is not None


def test_a_part_of_the_ports() -> None:
    """Where ports decide, nothing is predicted, and the prediction says why."""
    half = {"rule": 100, "action": "allow", "protocol": "tcp", "ports": "32768-60999"}
    found = predict(guarded(acls=[{"name": "strict", "subnets": ["p"], "egress": [EVERYTHING], "ingress": [half]}]), 10)
    assert found.established is None
    assert "ingress of the network ACL strict forbids a part of the answers of cache" in (found.unknown or "")


@pytest.mark.parametrize(
    ("entries", "rule"),
    [
        ([], 100),
        ([{"rule": 100, "action": "allow", "protocol": "udp"}], 110),
        ([{"rule": 32_766, "action": "allow", "protocol": "udp"}], 32_765),
        ([{"rule": 100, "action": "deny"}], 99),
        ([{"rule": 99, "action": "allow", "protocol": "udp"}, {"rule": 100, "action": "deny"}], 98),
        ([{"rule": 50, "action": "deny", "protocol": "udp"}, {"rule": 100, "action": "deny"}], 99),
    ],
)
def test_the_cure_has_a_free_number_that_comes_first(entries: list[dict[str, Any]], rule: int) -> None:
    """The entry that a verdict names can be added as it is, and cures."""
    strict = {"name": "strict", "subnets": ["p"], "egress": entries, "ingress": [EVERYTHING]}
    end = the_end(guarded(acls=[strict]))
    assert end.cure == (
        f"Add to egress of the network ACL strict: {{rule: {rule}, action: allow, protocol: tcp, ports: 443, "
        "to: 203.0.113.10/32}"
    )
    added = {"rule": rule, "action": "allow", "protocol": "tcp", "ports": 443, "to": "203.0.113.10/32"}
    assert to_cache(guarded(acls=[strict | {"egress": [*entries, added]}])).dead_end is None


def test_no_room_for_a_cure() -> None:
    """Nothing comes before entry 1."""
    strict = {"name": "strict", "subnets": ["p"], "egress": [{"rule": 1, "action": "deny"}], "ingress": [EVERYTHING]}
    end = the_end(guarded(acls=[strict]))
    assert end.cure == "Take the entry that denies it out of egress of the network ACL strict."


def _with_room(far: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A few entries of one direction, with numbers left before each."""
    block = st.sampled_from(("0.0.0.0/0", "10.0.0.0/16", "10.0.1.0/24", "203.0.113.0/24"))
    how = st.sampled_from(({}, {"protocol": "tcp", "ports": "443"}, {"protocol": "tcp", "ports": "1024-40000"}))
    entry = st.tuples(st.sampled_from(("allow", "deny")), block, how)
    return st.lists(entry, max_size=3).map(
        lambda drawn: [
            {"rule": number, "action": action, far: block, **how}
            for number, (action, block, how) in zip((100, 200, 300), drawn, strict=False)
        ]
    )


@examples(50)
@given(_with_room("to"), _with_room("from"), st.sets(st.sampled_from(("pub-natgw", "p")), min_size=1))
def test_the_cure_is_all_that_an_acl_lacks(
    egress: list[dict[str, Any]], ingress: list[dict[str, Any]], subnets: set[str]
) -> None:
    """With the entries that a cure names, nothing more ends by that ACL: neither requests nor answers at any border."""
    strict: dict[str, Any] = {"name": "strict", "subnets": sorted(subnets)}
    entries = {"egress": egress, "ingress": ingress}
    way = to_cache(guarded(acls=[strict | entries]))
    if end := way.dead_end or way.doubt:
        for direction, added in re.findall(r"Add to (\w+) of the network ACL strict: ([^A]*)", end.cure or ""):
            entries[direction] = [*entries[direction], *YAML(typ="safe").load(f"[{added}]")]
        cured = to_cache(guarded(acls=[strict | entries]))
        assert (cured.dead_end, cured.doubt) == (None, None)


# ── Predictions ─────────────────────────────────────────────────────────────────────────────────────────────

_FORBIDS = {"nothing": (True, True), "requests": (False, True), "answers": (True, False)}


def simulate(
    kinds: list[str], gateways: list[int], public: tuple[str, str], limits: tuple[int, int], connections: int
) -> tuple[int, int | None, str | None]:
    """Established, threshold and bottleneck without arithmetic: each connection asks for its slots, and may end."""
    enis, nats = [0] * len(kinds), [0] * 2
    established, threshold, bottleneck = 0, None, None
    for number in range(connections):
        way = number % len(kinds)
        lost = None
        if enis[way] == limits[0]:
            lost = "hyperplane_eni"
        else:
            enis[way] += 1
            if kinds[way] == "requests":
                lost = "acl"
            elif nats[gateways[way]] == limits[1]:
                lost = "nat_gateway"
            else:
                nats[gateways[way]] += 1
                lost = "acl" if kinds[way] == "answers" or public[gateways[way]] != "nothing" else None
        established += lost is None
        if lost and threshold is None:
            threshold = number
        if lost in ("hyperplane_eni", "nat_gateway"):
            bottleneck = bottleneck or lost
    return established, threshold, bottleneck


@examples(100)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(_FORBIDS)), st.integers(0, 1)), min_size=1, max_size=4),
    st.tuples(st.sampled_from(sorted(_FORBIDS)), st.sampled_from(sorted(_FORBIDS))),
    st.tuples(st.integers(1, 12), st.integers(1, 25)),
    st.integers(1, 80),
)
def test_against_simulation(
    ends: list[tuple[str, int]], public: tuple[str, str], limits: tuple[int, int], connections: int
) -> None:
    """With ways that end before, behind and after the NAT gateway, arithmetic says what a simulation says."""
    kinds, gateways = [kind for kind, _ in ends], [number for _, number in ends]
    private = {f"p{index}": f"nat{number}" for index, number in enumerate(gateways)}
    made = topology(
        private,
        function("f", *private),
        nat_gateways=tuple(nat_gateway(f"nat{number}", connections_per_destination=limits[1]) for number in range(2)),
        hyperplane_eni={"connection_limit": limits[0]},
        servers=(server(),),
    )
    document = made.model_dump(mode="json", by_alias=True)
    document["vpc"]["network_acls"] = [
        {
            "name": f"acl{index}",
            "subnets": [f"p{index}"],
            "egress": [EVERYTHING] if _FORBIDS[kind][0] else [],
            "ingress": [EVERYTHING] if _FORBIDS[kind][1] else [],
        }
        for index, kind in enumerate(kinds)
    ] + [
        {
            "name": f"public{number}",
            "subnets": [f"pub-nat{number}"],
            "egress": [EVERYTHING if _FORBIDS[kind][0] else VPC_ONLY],
            "ingress": [EVERYTHING if _FORBIDS[kind][1] else {"rule": 100, "action": "allow", "from": "10.0.0.0/16"}],
        }
        for number, kind in enumerate(public)
    ]
    found = predict(Topology.model_validate(document), connections)
    expected = simulate(kinds, gateways, public, limits, connections)
    assert (found.established, found.drop_threshold, found.bottleneck) == expected


def test_the_classic_mistake() -> None:
    """Connections whose answers are dropped fill the NAT gateway for the others."""
    assert predict(shipped("network_acl"), 60_000).established == 27_500
    assert predict(shipped("no_route"), 60_000).established == 30_000

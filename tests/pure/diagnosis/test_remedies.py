"""Remedies: each with the threshold that prediction gives it; what is useless is told so, what is unknown, why."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
import pytest

from lab.capacity.predict import predict
from lab.diagnosis.remedies import Remedy, remedies
from lab.errors import UsageError
from lab.topology import Topology, load, load_text
from tests.support.examples import examples
from tests.support.topologies import (
    BEHIND_A_TRANSIT_GATEWAY,
    changed,
    each_shipped,
    function,
    nat_gateway,
    path_of,
    server,
    shipped,
    topologies,
    topology,
)

EIP, SUBNET = "Elastic IP for natgw", "one more private subnet for checkout, with a Hyperplane ENI of its own"


def found(made: Topology, what: str, caller: str | None = None) -> Remedy:
    """The remedy that is called so."""
    return next(each for each in remedies(made, caller) if each.what == what)


WAY = "a way through where connections end whatever the limits"


def numbers(remedy: Remedy) -> tuple[int | None, int | None, str | None]:
    """Before, after, and what binds then."""
    return remedy.threshold_before, remedy.threshold_after, remedy.binds_after


def test_one_subnet() -> None:
    """The NAT gateway binds: an Elastic IP helps until the ENI binds, a subnet does not, both do."""
    made = shipped("one_subnet")
    assert numbers(found(made, f"a second {EIP}")) == (55_000, 65_000, "hyperplane_eni")
    assert numbers(found(made, f"a second {EIP} and {SUBNET}")) == (55_000, 110_000, "nat_gateway")
    assert [each.what for each in remedies(made) if each.effect == "nothing"] == [SUBNET]


def test_the_article_s_second_step() -> None:
    """With two Elastic IPs the ENI binds: a third changes nothing, and is told to; a subnet helps."""
    made = shipped("one_subnet_two_eips")
    third = found(made, f"a third {EIP}")
    assert third.effect == "nothing"
    assert third.sentence == "A third Elastic IP for natgw changes nothing: the Hyperplane ENI binds."
    first = remedies(made)[0]
    assert (first.what, numbers(first)) == (SUBNET, (65_000, 110_000, "nat_gateway"))
    assert first.change == (
        "vpc.subnets: {name: private-more, cidr: 10.0.2.0/24, default_route: natgw}; "
        "function checkout: subnet private-more"
    )
    assert first.sentence == (
        "One more private subnet for checkout, with a Hyperplane ENI of its own: 110,000 connections instead of "
        "65,000; then the NAT gateway binds."
    )


def test_two_subnets() -> None:
    """The article's last topology: what would come next."""
    made = shipped("two_subnets")
    told = {each.what: numbers(each)[1:] for each in remedies(made) if each.effect == "raises"}
    assert told == {SUBNET: (165_000, "nat_gateway"), f"a fourth {EIP} and {SUBNET}": (195_000, "hyperplane_eni")}


def test_a_gateway_that_has_all_elastic_ips() -> None:
    """AWS allows eight; then a second NAT gateway takes half of the subnets."""
    made = shipped("seven_subnets_eight_eips")
    assert found(made, f"another {EIP}").sentence == (
        "Another Elastic IP for natgw: not possible; natgw has all 8 that AWS allows."
    )
    second = found(made, "a second NAT gateway like natgw for private-b, private-d, private-f")
    assert numbers(second) == (440_000, 455_000, "hyperplane_eni")


def test_ports_per_client() -> None:
    """More ports and more clients help; Elastic IPs only where there are too few ports to double once more."""
    made, twice = shipped("ports_per_client"), "twice the ports for each client of natgw"
    assert numbers(found(made, twice)) == (2_048, 4_096, "nat_gateway")
    assert numbers(found(made, SUBNET)) == (2_048, 3_072, "nat_gateway")
    assert found(made, f"a second {EIP}").effect == "nothing"
    doubling = nat_gateway(connections_per_destination=100, ports_per_client={"min": 1, "max": 100})
    made = topology({"p": "natgw", "q": "natgw"}, function("checkout", "p", "q"), nat_gateways=(doubling,))
    assert numbers(found(made, f"a second {EIP}")) == (64, 200, "nat_gateway")
    assert found(made, twice).effect == "nothing"


def test_gateways_that_bind_together() -> None:
    """One in each zone, which fill in turn: one more Elastic IP for each."""
    each_of = found(shipped("two_zones"), "a second Elastic IP for each of natgw-a and natgw-b")
    assert numbers(each_of) == (110_000, 130_000, "hyperplane_eni")


def test_a_change_for_the_worse() -> None:
    """A subnet more in one zone sends that zone's NAT gateway two thirds of all connections."""
    assert found(shipped("two_zones"), SUBNET).sentence == (
        "One more private subnet for checkout, with a Hyperplane ENI of its own: only 82,500 connections; "
        "the NAT gateway binds."
    )


def test_functions_that_share_an_eni() -> None:
    """A security-group set of its own is worth half an ENI, while the other function holds as much."""
    own = found(
        shipped("shared_eni"), "a security-group set of its own for checkout, and so Hyperplane ENIs of its own"
    )
    assert numbers(own) == (32_500, 55_000, "nat_gateway")
    assert own.sentence.endswith(
        "55,000 connections instead of 32,500, while search holds as many connections; then the NAT gateway binds."
    )


def test_an_eni_of_its_own_where_the_gateway_binds() -> None:
    """The NAT gateway's ports are shared whatever the ENIs are, and the sentence says why nothing changes."""
    made = topology({"p": "natgw"}, function("checkout", "p"), function("search", "p"))
    own = found(made, "a security-group set of its own for checkout, and so Hyperplane ENIs of its own", "checkout")
    assert numbers(own) == (27_500, 27_500, "nat_gateway")
    assert own.sentence.endswith("changes nothing: the NAT gateway binds, while search holds as many connections.")


def test_sharers_hold_what_their_enis_hold() -> None:
    """Two functions that share one ENI hold its limit together, not the limit each."""
    made = topology(
        {"a": "natgw", "b": "natgw"},
        function("api", "a", "b"),
        function("jobs", "a"),
        function("cron", "a"),
        nat_gateways=(nat_gateway(elastic_ips=3, connections_per_destination=550),),
        hyperplane_eni={"connection_limit": 650},
    )
    own = found(made, "a security-group set of its own for api, and so Hyperplane ENIs of its own", "api")
    assert numbers(own) == (260, 1_000, "nat_gateway")
    assert own.sharers_hold == 650
    assert own.sentence.endswith(
        "1,000 connections instead of 260, while jobs and cron open as many connections each, "
        "of which 650 are established; then the NAT gateway binds."
    )


def test_known_only_afterwards() -> None:
    """Where chance decides before the change and not after it, what comes after is told."""
    made = topology(
        {"p": "natgw"},
        function("api", "p"),
        nat_gateways=(nat_gateway(elastic_ips=2, spill_over=False, eip_selection="hash"),),
    )
    endpoint = found(made, "an interface endpoint (PrivateLink) for cache")
    assert (endpoint.effect, numbers(endpoint)) == ("unknown", (None, 65_000, "hyperplane_eni"))


def test_sharers_where_chance_decides() -> None:
    """Without spill-over it is not known which Elastic IP is full first once others hold connections."""
    gateway = nat_gateway(elastic_ips=2, spill_over=False)
    made = topology({"p": "natgw"}, function("api", "p"), function("jobs", "p"), nat_gateways=(gateway,))
    own = found(made, "a security-group set of its own for api, and so Hyperplane ENIs of its own", "api")
    assert (own.effect, own.threshold_after) == ("unknown", None)


def test_an_eni_of_one_function() -> None:
    """Where nobody shares it, another security-group set is no remedy."""
    own = found(shipped("own_eni"), "a security-group set of its own for checkout, and so Hyperplane ENIs of its own")
    assert (own.effect, own.note) == ("impossible", "no other function shares the Hyperplane ENIs of checkout")


def test_privatelink() -> None:
    """It takes the NAT gateway off the way, and leaves the ENI on it."""
    endpoint = found(shipped("one_subnet"), "an interface endpoint (PrivateLink) for cache")
    assert numbers(endpoint) == (55_000, 65_000, "hyperplane_eni")
    assert "if its owner offers one" in endpoint.sentence
    assert found(shipped("one_subnet_two_eips"), "an interface endpoint (PrivateLink) for cache").effect == "nothing"
    assert not any("PrivateLink" in each.what for each in remedies(shipped("privatelink")))


def test_a_gateway_endpoint() -> None:
    """For S3 and DynamoDB the NAT gateway leaves the way at no cost; for other servers there is none to propose."""
    what = "a gateway endpoint for s3 in the route tables of all subnets, which costs nothing"
    endpoint = found(shipped("gateway_endpoint"), what)
    assert numbers(endpoint) == (110_001, 130_000, "hyperplane_eni")
    assert endpoint.change == "vpc.gateway_endpoints: {name: s3, service: s3}"
    assert endpoint.topology is not None
    for everywhere in (endpoint.topology, shipped("one_subnet")):
        assert not any("gateway endpoint" in each.what for each in remedies(everywhere))


def test_outside_the_vpc() -> None:
    """No limit is left, unless something keeps the function inside."""
    assert found(shipped("one_subnet"), "checkout outside the VPC").effect == "unlimited"
    kept = found(shipped("resolver_in_vpc"), "checkout outside the VPC")
    assert kept.effect == "impossible"
    assert "cannot reach the name server" in kept.note
    assert found(shipped("privatelink"), "checkout outside the VPC").effect == "impossible"
    assert remedies(shipped("outside_vpc"), "outside") == ()


def test_dead_ends() -> None:
    """Where connections end whatever the limits, the way through comes first, and no address or subnet helps."""
    locked = remedies(shipped("security_group"), "checkout")
    assert numbers(locked[0]) == (0, 55_000, "nat_gateway")
    assert locked[0].change.startswith("Add to egress of the security group locked: {protocol: tcp, ports: 443")
    assert found(shipped("security_group"), f"a second {EIP}").sentence == (
        "A second Elastic IP for natgw changes nothing: egress of the security-group set locked does not allow tcp to "
        "cache, port 443."
    )
    assert remedies(shipped("no_route"))[0].change == "Give the subnet private-b a default route: natgw."
    assert numbers(remedies(shipped("network_acl"))[0]) == (0, 55_000, "nat_gateway")


def test_several_vpcs() -> None:
    """A change is made in the VPC that it belongs to; the egress VPC's NAT gateway is shared by all."""
    made = shipped("transit_gateway")
    subnet = found(made, SUBNET)
    assert numbers(subnet) == (65_000, 110_000, "nat_gateway")
    assert subnet.change.startswith("vpcs[orders].subnets: {name: private-more, cidr: 10.1.0.0/24, default_route: tgw}")
    assert found(made, "a second NAT gateway for part of the subnets").note == (
        "all connections come to natgw by the default route of one subnet of its VPC"
    )


BATCH = {"servers:\n": "  - {name: batch}\nservers:\n"}
ENDPOINT_GROUP = {
    "server: cache}": "server: cache, security_groups: [endpoint-sg]}",
    "functions:": "  security_groups:\n    - {name: endpoint-sg, ingress: [{from: 10.9.0.0/16}]}\nfunctions:",
}


@pytest.mark.parametrize(
    ("name", "changes", "caller", "callee", "what", "change", "before", "after"),
    [
        ("peering", {}, "checkout", "archive-db", WAY, "data-b in subnets of to-data.", 0, 65_000),
        ("peering", {}, "reports", "orders-db", WAY, "app-b in subnets of to-data.", 0, 65_000),
        ("peering", {}, "checkout", "ledger-db", WAY, "Make a peering of app", 0, 65_000),
        (
            "peering",
            BEHIND_A_TRANSIT_GATEWAY,
            "checkout",
            "ledger-db",
            WAY,
            "Make a peering of app",
            0,
            65_000,
        ),
        ("peering", BATCH, "batch", "orders-db", "batch in the VPC app", "subnets: [app-a], security", 0, 65_000),
        ("peering", BATCH, "batch", "ledger-db", "batch in the VPC ledger", "subnets: [ledger-a], ", 0, 65_000),
        ("database_in_vpc", BATCH, "batch", None, "batch in the VPC vpc", "[private-a], security", 0, 65_000),
        ("database_in_vpc", {}, "checkout", None, "another Elastic IP for natgw", "elastic_ips: 2", 65_000, 65_000),
        ("database_in_vpc", {}, "checkout", None, SUBNET, "subnet private-more", 65_000, 130_000),
        ("database_in_vpc", {}, "reports", None, WAY, "Add to ingress of the security group db: {protocol", 0, 65_000),
        ("privatelink", ENDPOINT_GROUP, None, None, WAY, "Add to ingress of the security group endpoint-sg", 0, 65_000),
        (
            "privatelink",
            {"server: cache}": "server: cache, private_dns: false}"},
            *(None, None, "private DNS for the interface endpoint cache: private DNS is off, so it is not used"),
            *("vpc.interface_endpoints[cache]: private_dns: true", 55_000, 65_000),
        ),
        (
            "endpoint_two_zones",
            {"cache, subnets: [private-a, private-b]": "cache, subnets: [private-a]"},
            *(None, None, "one more network interface for cache, in private-b, with a load balancer of its own"),
            *("subnets: [private-a, private-b]", 55_000, 110_000),
        ),
        (
            "two_addresses",
            {},
            *(None, None, "another address for cache: each is a destination of its own"),
            *("addresses: [203.0.113.10, 203.0.113.11, 203.0.113.12]", 110_000, 130_000),
        ),
        (
            "ec2_beside_lambda",
            {},
            *("bastion", None, "a wider range of ephemeral ports at bastion"),
            *('ephemeral_ports: "1024-65535"', 28_232, 64_512),
        ),
        (
            "ec2_beside_lambda",
            {},
            *("bastion", None, "one more private address for bastion", "addresses: 2", 28_232, 56_464),
        ),
    ],
)
def test_the_remedy_for_what_is_on_the_way(  # noqa: PLR0917
    tmp_path: Path,
    name: str,
    changes: dict[str, str],
    caller: str | None,
    callee: str | None,
    what: str,
    change: str,
    before: int,
    after: int,
) -> None:
    """Of VPCs, peerings, endpoints, addresses, clients: what to change, and how far they come before and after."""
    made = load(changed(path_of(name), tmp_path, changes))
    remedy = next(each for each in remedies(made, caller, callee) if each.what == what)
    assert change in remedy.change
    assert (remedy.threshold_before, remedy.threshold_after) == (before, after)


def test_an_endpoint_has_one_network_interface_in_a_zone(tmp_path: Path) -> None:
    """Another subnet of the same availability zone is none for it."""
    changes = {"cache, subnets: [private-a, private-b]": "cache, subnets: [private-a]", "zone: b": "zone: a"}
    made = load(changed(path_of("endpoint_two_zones"), tmp_path, changes))
    assert found(made, "one more network interface for cache").note == (
        "cache has one in every availability zone in which its VPC has a subnet"
    )


def test_a_transit_gateway_that_leads_nowhere() -> None:
    """The way through is a default route to the attached VPC that has a NAT gateway."""
    made = shipped("transit_gateway")
    closed = made.transit_gateways[0].model_copy(update={"default_route": None})
    first, *_ = remedies(made.model_copy(update={"transit_gateways": (closed,)}))
    assert numbers(first) == (0, 65_000, "hyperplane_eni")
    assert first.change == "Give the Transit Gateway tgw a default route: egress."


def test_no_gateway_to_route_to() -> None:
    """A way through is not invented."""
    made = topology({"private": "none"}, function("checkout", "private"), nat_gateways=())
    (way,) = (each for each in remedies(made) if each.what == "a way through")
    assert way.effect == "impossible"
    assert "no NAT gateway is there" in way.note


def test_what_is_not_known() -> None:
    """Where chance decides, or time, there is no number, and the reason is prediction's."""
    subnet = found(shipped("resolver_in_vpc"), SUBNET)
    assert (subnet.effect, subnet.threshold_after) == ("unknown", None)
    assert "chance decides" in subnet.sentence
    assert "another ENI appears 5 s after one is full" in found(shipped("eni_scaling"), SUBNET).note


def test_no_room_for_a_subnet() -> None:
    """A VPC whose range is taken has no more subnets."""
    text = """
        version: 1
        name: full
        vpc:
          cidr: 10.0.0.0/23
          subnets:
            - {name: public, cidr: 10.0.0.0/24}
            - {name: private, cidr: 10.0.1.0/24, default_route: natgw}
          nat_gateways: [{name: natgw, subnet: public, elastic_ips: 2}]
        functions: [{name: checkout, subnets: [private]}]
        servers: [{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}]
    """
    assert found(load_text(text), SUBNET).note == "the VPC's range 10.0.0.0/23 has no room for another subnet"


def test_reuse_is_always_told() -> None:
    """It needs no change of the topology."""
    assert [each.effect for each in remedies(shipped("one_subnet"))].count("saves") == 1


@pytest.mark.parametrize(("caller", "callee"), [("nobody", None), (None, "nobody")])
def test_unknown_names(caller: str | None, callee: str | None) -> None:
    """They are refused with the known ones."""
    with pytest.raises(UsageError, match=r"no (function|server) 'nobody'; known: (checkout|cache)"):
        remedies(shipped("one_subnet"), caller, callee)


@each_shipped
def test_remedies_can_be_brought_up(path: Path) -> None:
    """Each changed topology is one that the loader takes, and its threshold is what a burst beyond it shows."""
    made = load(path)
    for each in remedies(made):
        if each.topology is None:
            continue
        document = each.topology.model_dump_json(by_alias=True, exclude_none=True)
        assert load_text(document) == each.topology
        if each.threshold_after is not None and not each.meanwhile:
            beyond = predict(each.topology, each.threshold_after + 1)
            if each.effect == "throttles":
                assert (beyond.established, beyond.throttled, beyond.drop_threshold) == (each.threshold_after, 1, None)
                continue
            assert (beyond.drop_threshold, beyond.bottleneck) == (each.threshold_after, each.binds_after)
            if each.threshold_after:
                assert predict(each.topology, each.threshold_after).drop_threshold is None


_IN_ORDER = ["raises", "unlimited", "throttles", "saves", "unknown", "nothing", "impossible"]


@examples(25)
@given(topologies(), st.data())
def test_order(made: Topology, data: st.DataObject) -> None:
    """Of any topology: what raises the threshold comes first and does raise it; what changes nothing does not."""
    caller = data.draw(st.sampled_from([each.name for each in made.functions]))
    told = remedies(made, caller)
    effects = [each.effect for each in told]
    assert effects == sorted(effects, key=_IN_ORDER.index)
    for each in told:
        before, after = each.threshold_before, each.threshold_after
        if each.effect == "raises":
            assert before is not None
            assert after is not None
            assert after > before
        if each.effect == "nothing":
            assert (after or 0) <= (before or 0)
        assert each.sentence.endswith(".")


def test_servers_and_gateways_by_name() -> None:
    """The remedies are for the server that one asks for."""
    made = topology(
        {"private": "natgw"},
        function("checkout", "private"),
        nat_gateways=(nat_gateway(elastic_ips=2),),
        servers=(server(), server("store", 20)),
    )
    assert any(each.what == "an interface endpoint (PrivateLink) for store" for each in remedies(made, server="store"))


def test_an_acl_that_forbids_a_part_of_a_nat_gateways_ports() -> None:
    """How many connections end is not known, but how many are held with the entry that the ACL lacks."""
    public = {
        "name": "public",
        "subnets": ["pub-natgw"],
        "egress": [{"rule": 100, "action": "allow"}],
        "ingress": [
            {"rule": 100, "action": "allow", "from": "10.0.0.0/16"},
            {"rule": 110, "action": "allow", "protocol": "tcp", "ports": "32768-60999"},
        ],
    }
    made = topology({"p": "natgw"}, function("f", "p"), firewalls={"network_acls": [public]})
    cured = found(made, "a way through where connections end whatever the limits")
    assert cured.change == (
        "Add to ingress of the network ACL public: {rule: 120, action: allow, protocol: tcp, ports: 1024-65535, "
        "from: 203.0.113.10/32}"
    )
    assert cured.sentence == (
        "A way through where connections end whatever the limits: 55,000 connections; then the NAT gateway binds."
    )

"""Security groups and network ACLs that forbid the server: as predicted, in both accounts, and never called a limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.diagnosis.verdict import judge
from tests.support.labs import Clients, slots
from traffic.spec import Engine, Protocol

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

MakeClients = Callable[["Lab"], Clients]
WithAcl = Callable[..., "Lab"]

ENGINES: tuple[Engine, ...] = ("packet", "socket")
PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp")

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)

TWO_SUBNETS = """
version: 1
name: acl
hyperplane_eni: {{connection_limit: {eni}}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private-a, cidr: 10.0.1.0/24, default_route: natgw}}
    - {{name: private-b, cidr: 10.0.2.0/24, default_route: natgw}}
  nat_gateways:
    - {{name: natgw, subnet: public, elastic_ips: 1, connections_per_destination: {nat}}}
  network_acls:
    - name: strict
      subnets: [{subnet}]
      egress: [{egress}]
      ingress: [{ingress}]
functions:
  - {{name: checkout, subnets: [private-a, private-b]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
"""
EVERYTHING = "{rule: 100, action: allow}"
TO_OTHERS = "{rule: 100, action: allow, to: 198.18.0.0/15}"
FROM_OTHERS = "{rule: 100, action: allow, from: 198.18.0.0/15}"


@pytest.fixture
def with_acl(lab_up: LabUp, tmp_path: Path) -> WithAcl:
    """A lab whose network ACL guards one of its subnets, and allows everything unless told."""

    def up(
        subnet: str = "private-a",
        *,
        egress: str = EVERYTHING,
        ingress: str = EVERYTHING,
        eni: int = 500,
        nat: int = 500,
    ) -> Lab:
        path = tmp_path / "acl.yaml"
        path.write_text(TWO_SUBNETS.format(subnet=subnet, egress=egress, ingress=ingress, eni=eni, nat=nat))
        return lab_up(path)

    return up


def require_as_predicted(result: BurstResult) -> None:
    """The kernel's account, the clients' and arithmetic agree."""
    assert result.disagreements == ()
    assert result.incidents == ()
    predicted = result.predicted
    assert (result.tcp.established, result.drop_threshold) == (predicted.established, predicted.drop_threshold)
    assert result.bottleneck == predicted.bottleneck
    assert result.dns.failed == 0


def peaks(result: BurstResult) -> dict[str, int]:
    """Slots held in each node."""
    return {limit.node: limit.peak for limit in result.limits}


# ── Security groups ─────────────────────────────────────────────────────────────────────────────────────────


@each_engine
@each_protocol
def test_a_security_group_that_forbids_the_server(
    lab_up: LabUp, topologies: Path, engine: Engine, protocol: Protocol
) -> None:
    """Every connection is dropped before it takes a slot, another set's in the same subnet are established."""
    lab = lab_up(topologies / "security_group.yaml")
    result = lab.burst(200, engine=engine, protocol=protocol, connect_timeout_s=1.5)
    require_as_predicted(result)
    assert (result.tcp.established, result.tcp.timed_out, result.bottleneck) == (0, 200, None)
    assert peaks(result) == {"eni-private-a-locked": 0}
    (stop,) = result.stops
    assert (stop.node, stop.kind, stop.name) == ("eni-private-a-locked", "security_group", "locked")
    assert stop.dropped_packets == 200 + result.tcp.syn_retransmissions
    verdict = judge(result)
    assert verdict.headline == "Security group forbids it: egress of locked does not allow the server"
    rule = f"{{protocol: {protocol}, ports: 443, to: 203.0.113.10/32}}"
    assert verdict.remedies == (f"Add to egress of the security group locked: {rule}",)
    other = lab.burst(200, function="reports", engine=engine, protocol=protocol, connect_timeout_s=1.5)
    require_as_predicted(other)
    assert (other.tcp.established, other.stops) == (200, ())


def test_what_a_security_group_forbids_takes_nothing_of_a_limit(lab_up: LabUp, topologies: Path) -> None:
    """More than the NAT gateway's ports are forbidden, and the other function still has all of them."""
    lab = lab_up(topologies / "security_group.yaml", scale=100)
    forbidden = lab.burst(600, connect_timeout_s=3)
    require_as_predicted(forbidden)
    assert (forbidden.tcp.established, forbidden.stops[0].dropped_packets) == (0, 1_200)
    allowed = lab.burst(600, function="reports", connect_timeout_s=3)
    require_as_predicted(allowed)
    assert (allowed.tcp.established, allowed.bottleneck) == (550, "nat_gateway")


def test_the_cure_of_a_security_group(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """With the rule that the verdict names, everything is established; a set allows what any of its groups allows."""
    text = (topologies / "security_group.yaml").read_text()
    web = "    - name: web\n      egress: [{protocol: tcp, ports: 443, to: 203.0.113.10/32}]\n"
    path = tmp_path / "cured.yaml"
    path.write_text(
        text.replace("[locked]", "[locked, web]").replace("  security_groups:\n", f"  security_groups:\n{web}")
    )
    result = lab_up(path).burst(200, connect_timeout_s=1.5)
    require_as_predicted(result)
    assert (result.tcp.established, result.stops) == (200, ())


def test_security_groups_are_stateful(lab_up: LabUp, topologies: Path, clients: MakeClients, tmp_path: Path) -> None:
    """Answers need no rule: only new connections are judged, and by their destination."""
    path = tmp_path / "only_443.yaml"
    text = (topologies / "security_group.yaml").read_text()
    path.write_text(text.replace("ports: 5432, to: 10.0.0.0/16", "ports: 443, to: 203.0.113.0/24"))
    lab = lab_up(path)
    from_fleet = clients(lab)
    made = from_fleet.tcp()
    made.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert made.recv(1000)
    with pytest.raises(TimeoutError):
        from_fleet.tcp(port=444, timeout_s=0.5)
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.5)
    assert slots(lab, "eni-private-a-locked") <= 1


# ── Network ACLs ────────────────────────────────────────────────────────────────────────────────────────────


@each_engine
@each_protocol
@pytest.mark.parametrize(
    ("subnet", "direction"), [("private-a", "egress"), ("public", "ingress")], ids=["out of the ENI's", "into public"]
)
def test_requests_that_a_network_acl_forbids(
    with_acl: WithAcl, *, engine: Engine, protocol: Protocol, subnet: str, direction: str
) -> None:
    """SYNs that no entry allows across a border are dropped after the ENI's slot and before the NAT gateway's."""
    lab = with_acl(subnet, **{direction: TO_OTHERS if direction == "egress" else FROM_OTHERS})
    result = lab.burst(100, engine=engine, protocol=protocol, connect_timeout_s=1.5)
    require_as_predicted(result)
    through = 50 if subnet == "private-a" else 0
    assert (result.tcp.established, result.tcp.timed_out) == (through, 100 - through)
    assert peaks(result)["eni-private-a"] == peaks(result)["eni-private-b"] == 50
    assert peaks(result).get("natgw", 0) == through
    (stop,) = result.stops
    assert (stop.kind, stop.name, stop.direction, stop.answers) == ("network_acl", "strict", direction, False)
    verdict = judge(result)
    assert verdict.headline == f"Network ACL forbids it: {direction} of strict does not allow the server"
    far = "to: 203.0.113.10/32" if direction == "egress" else "from: 10.0.0.0/16"
    entry = f"{{rule: 110, action: allow, protocol: {protocol}, ports: 443, {far}}}"
    assert f"Add to {direction} of the network ACL strict: {entry}" in verdict.remedies[0]


@each_engine
@each_protocol
@pytest.mark.parametrize(
    ("subnet", "direction", "entries"),
    [("private-a", "ingress", ""), ("public", "egress", "{rule: 100, action: allow, to: 203.0.113.0/24}")],
    ids=["into the ENI's", "out of public"],
)
def test_answers_that_a_network_acl_forbids(
    with_acl: WithAcl, *, engine: Engine, protocol: Protocol, subnet: str, direction: str, entries: str
) -> None:
    """SYNs reach the server, answers do not come back: connections hold every slot and are established nowhere."""
    lab = with_acl(subnet, **{direction: entries})
    result = lab.burst(100, engine=engine, protocol=protocol, connect_timeout_s=1.5)
    require_as_predicted(result)
    through = 50 if subnet == "private-a" else 0
    assert (result.tcp.established, result.tcp.timed_out) == (through, 100 - through)
    assert peaks(result) == {"eni-private-a": 50, "eni-private-b": 50, "natgw": 100}
    (stop,) = result.stops
    assert (stop.kind, stop.name, stop.direction, stop.answers) == ("network_acl", "strict", direction, True)
    verdict = judge(result)
    assert verdict.headline.startswith(f"Network ACL forbids the answers: {direction} of strict")
    assert "ports: 1024-65535" in verdict.remedies[0]


def test_a_nat_gateway_whose_acl_keeps_it_from_the_internet(with_acl: WithAcl) -> None:
    """SYNs are dropped behind the NAT gateway, where each connection has taken a port, so its limit fills as well."""
    lab = with_acl("public", egress="{rule: 100, action: allow, to: 10.0.0.0/16}", nat=70)
    result = lab.burst(100, connect_timeout_s=1.5)
    require_as_predicted(result)
    assert (result.tcp.established, result.tcp.timed_out, result.bottleneck) == (0, 100, "nat_gateway")
    assert peaks(result) == {"eni-private-a": 50, "eni-private-b": 50, "natgw": 70}
    (stop,) = result.stops
    assert (stop.node, stop.kind, stop.name, stop.direction) == ("natgw", "network_acl", "strict", "egress")
    verdict = judge(result)
    assert verdict.headline == "Network ACL forbids it: egress of strict does not let natgw reach the server"
    entry = "{rule: 110, action: allow, protocol: tcp, ports: 443, to: 203.0.113.10/32}"
    assert verdict.remedies == (f"Add to egress of the network ACL strict: {entry}",)
    assert lab.why().headline.startswith("Network ACL forbids it: egress of strict")
    udp = lab.burst(60, protocol="udp", engine="socket", connect_timeout_s=1.5)
    require_as_predicted(udp)
    assert (udp.tcp.established, peaks(udp)["natgw"], judge(udp).headline) == (0, 60, verdict.headline)


def test_a_nat_gateway_whose_acl_forgets_the_ports_of_answers(with_acl: WithAcl) -> None:
    """The server answers the NAT gateway's port, the ACL of its subnet drops that, and every node holds the slot."""
    lab = with_acl("public", ingress="{rule: 100, action: allow, from: 10.0.0.0/16}")
    for engine, protocol in zip(ENGINES, PROTOCOLS, strict=True):
        result = lab.burst(100, engine=engine, protocol=protocol, connect_timeout_s=1.5)
        require_as_predicted(result)
        assert (result.tcp.established, result.tcp.timed_out, result.bottleneck) == (0, 100, None)
        assert peaks(result)["natgw"] == 100
        (stop,) = result.stops
        assert (stop.node, stop.direction, stop.answers, stop.far_side) == ("natgw", "ingress", True, True)
        verdict = judge(result)
        assert verdict.headline == (
            "Network ACL forbids the answers: ingress of strict does not allow all ports of natgw"
        )
        entry = f"{{rule: 110, action: allow, protocol: {protocol}, ports: 1024-65535, from: 203.0.113.10/32}}"
        assert verdict.remedies == (f"Add to ingress of the network ACL strict: {entry}",)
    (traced,) = lab.trace(f"{lab.plan.fleets[0].paths[0].first_address}:536")
    assert (traced.outcome, traced.died_at) == ("stopped", "natgw")


def test_the_cure_of_a_network_acl(with_acl: WithAcl) -> None:
    """Entries for the server's port out and for the ephemeral ports in are enough."""
    lab = with_acl(
        egress="{rule: 100, action: allow, protocol: tcp, ports: 443, to: 203.0.113.10/32}",
        ingress="{rule: 100, action: allow, protocol: tcp, ports: 1024-65535, from: 203.0.113.10/32}",
    )
    result = lab.burst(300, connect_timeout_s=1.5)
    require_as_predicted(result)
    assert (result.tcp.established, result.stops) == (300, ())


def test_the_first_entry_that_matches_decides(with_acl: WithAcl) -> None:
    """A denial before an allowance forbids, whatever their order in the file, and the cure goes before it."""
    lab = with_acl(egress="{rule: 200, action: allow}, {rule: 150, action: deny, protocol: tcp, to: 203.0.113.0/24}")
    result = lab.burst(100, connect_timeout_s=1.5)
    require_as_predicted(result)
    assert result.tcp.established == 50
    assert "{rule: 149, action: allow," in judge(result).remedies[0]


@pytest.mark.parametrize(
    ("egress", "ingress", "eni", "nat"),
    [
        (TO_OTHERS, EVERYTHING, 60, 500),
        (EVERYTHING, "", 60, 500),
        (TO_OTHERS, EVERYTHING, 500, 60),
        (EVERYTHING, "", 500, 70),
    ],
    ids=["requests, ENI full", "answers, ENI full", "requests, NAT full", "answers, NAT full"],
)
def test_a_limit_as_well(with_acl: WithAcl, *, egress: str, ingress: str, eni: int, nat: int) -> None:
    """Connections that end hold slots up to there, so limits fill by them, too; two bursts, as predicted."""
    lab = with_acl(egress=egress, ingress=ingress, eni=eni, nat=nat)
    first, second = (lab.burst(200, connect_timeout_s=1.5) for _ in range(2))
    require_as_predicted(first)
    require_as_predicted(second)
    assert first.bottleneck == ("hyperplane_eni" if eni < nat else "nat_gateway")
    assert judge(first).headline.startswith("Network ACL forbids")
    assert any("Limits refused" in each for each in judge(first).explanation)


def test_ports_that_an_acl_allows_in_part(with_acl: WithAcl) -> None:
    """An entry for some of the clients' ports lets some answers pass: no prediction, and accounts that agree."""
    lab = with_acl(ingress="{rule: 100, action: allow, protocol: tcp, ports: 32768-65535}")
    result = lab.burst(200, connect_timeout_s=1.5)
    assert result.disagreements == ()
    assert result.predicted.established is None
    assert 100 < result.tcp.established < 200
    assert [stop.answers for stop in result.stops] == [True]


def test_answers_to_an_earlier_burst_are_not_this_ones(with_acl: WithAcl) -> None:
    """A kernel repeats SYN-ACKs for a minute: dropped ones of before are no disagreement now."""
    lab = with_acl(ingress="{rule: 100, action: allow, protocol: udp}")
    for engine in ("socket", "packet"):
        require_as_predicted(lab.burst(100, engine=engine, connect_timeout_s=1.5))
    udp = lab.burst(100, protocol="udp", connect_timeout_s=1.5)
    require_as_predicted(udp)
    assert (udp.tcp.established, udp.stops) == (100, ())


def test_the_classic_mistake_wastes_ports(lab_up: LabUp, topologies: Path) -> None:
    """Half of 600 connections waste half of the NAT gateway's 550 ports."""
    result = lab_up(topologies / "network_acl.yaml", scale=100).burst(600, connect_timeout_s=3)
    assert result.disagreements == ()
    assert (result.tcp.established, result.tcp.timed_out, result.drop_threshold) == (275, 325, 0)
    assert (result.predicted.established, result.predicted.drop_threshold) == (275, 0)
    assert result.bottleneck == result.predicted.bottleneck == "nat_gateway"

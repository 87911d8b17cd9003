"""Clients that are no functions: no ENI on their way, and ephemeral ports of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import sys
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from lab.diagnosis.verdict import judge
from tests.support.labs import inside
from tests.support.topologies import function, nat_gateway, server, topology

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.burst.run import Progress
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine

PORTS = {"ephemeral_ports": "40000-40009"}
TWO_ADDRESSES = server(addresses=["203.0.113.10", "203.0.113.11"])
HOST = {"name": "bastion", "subnet": "private", **PORTS}


@pytest.fixture
def beside(lab_up: LabUp, tmp_path: Path) -> Callable[..., Lab]:
    """A lab with a function and a client in one private subnet; the client has ten ports unless told."""

    def up(client: dict[str, Any] | None = None, **rest: Any) -> Lab:
        made = topology(
            {"private": "natgw"},
            function("checkout", "private"),
            clients=[HOST | (client or {})],
            **{"nat_gateways": (nat_gateway(elastic_ips=2),), "hyperplane_eni": {"connection_limit": 20}} | rest,
        )
        path = tmp_path / "beside.yaml"
        path.write_text(made.model_dump_json(by_alias=True, exclude_none=True), encoding="utf-8")
        return lab_up(path)

    return up


def seen(result: BurstResult) -> tuple[object, ...]:
    """What a burst showed, after it was made sure that it was predicted, and that all accounts agree."""
    observed = (result.tcp.established, result.drop_threshold, result.bottleneck)
    predicted = result.predicted
    assert (predicted.established, predicted.drop_threshold, predicted.bottleneck) == observed
    assert result.disagreements == ()
    return (*observed, result.tcp.without_port)


def test_from_ec2_and_not_from_lambda(lab_up: LabUp, topologies: Path) -> None:
    """With the function's ENI full, its next connections are lost, and those of an instance beside it are not."""
    lab = lab_up(topologies / "ec2_beside_lambda.yaml", scale=500)
    assert seen(lab.burst(130, leave_open=True)) == (130, None, None, 0)
    assert seen(lab.burst(5, connect_timeout_s=0.9)) == (0, 0, "hyperplane_eni", 0)
    client = lab.burst(20, client="bastion")
    assert seen(client) == (20, None, None, 0)
    assert {limit.kind for limit in client.limits} == {"nat_gateway"}
    assert any("No Hyperplane ENI" in sentence for sentence in judge(client).explanation)
    command = "curl -sS -k -m 2 https://cache.example.com/ -o /dev/null && echo answered || echo $?"
    assert [inside(lab, node, command).split()[-1] for node in ("checkout", "bastion")] == ["28", "answered"]


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_ports_used_up(beside: Callable[..., Lab], engine: Engine) -> None:
    """Ten ports make ten connections to a server; the others fail at once, and no packet tells of them."""
    lab = beside()
    result = lab.burst(14, client="bastion", engine=engine)
    assert seen(result) == (10, 10, "client", 4)
    assert (result.dns.answered, result.tcp.timed_out, result.tcp.syn_retransmissions) == (14, 0, 0)
    assert (judge(result).cause, sum(limit.peak for limit in result.limits)) == ("ephemeral_ports", 10)


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_descriptors_used_up(beside: Callable[..., Lab], engine: Engine) -> None:
    """The program of each of two addresses has descriptors for six connections, unless a burst says another number."""
    lab = beside({"addresses": 2, "descriptors": 9})
    lab.burst(1, client="bastion", engine=engine, protocol="udp", descriptors=50, leave_open=True)
    result = lab.burst(17, client="bastion", engine=engine, protocol="udp")
    assert (seen(result), result.dns.emfile, result.predicted.emfile) == ((12, None, None, 0), 5, 5)
    lab.reset()
    result = lab.burst(17, client="bastion", engine=engine)
    assert (seen(result), result.dns.emfile, result.predicted.emfile) == ((12, None, None, 0), 5, 5)
    verdict = judge(result)
    assert verdict.cause == "too_many_open_files"
    assert "Each program on bastion has 9 descriptors" in verdict.explanation[0]
    result = lab.burst(30, client="bastion", engine=engine, descriptors=20)
    assert (seen(result), result.dns.emfile, result.predicted.emfile) == ((20, 20, "client", 10), 0, 0)
    result = lab.burst(40, client="bastion", engine=engine, descriptors=20)
    assert (seen(result)[:3], result.predicted.emfile) == ((20, 20, "client"), None)


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_what_is_held_takes_ports(beside: Callable[..., Lab], engine: Engine) -> None:
    """Each address has ports of its own, to each server anew; what an earlier burst holds is not there for the next."""
    lab = beside({"addresses": 3}, servers=(server(), server("store", 20)))
    assert seen(lab.burst(13, client="bastion", engine=engine, leave_open=True)) == (13, None, None, 0)
    assert seen(lab.burst(40, client="bastion", engine=engine, server="store")) == (30, 30, "client", 10)
    assert seen(lab.burst(20, client="bastion", engine=engine, leave_open=True)) == (17, 15, "client", 3)
    now = lab.why()
    assert now.cause == "ephemeral_ports"
    assert now.headline.startswith("Ephemeral ports used up: client-bastion has all 10 of 10.0.1.5 in use to cache, ")
    lab.reset()
    assert lab.why().cause == "no_limit"
    assert seen(lab.burst(30, client="bastion", engine=engine)) == (30, None, None, 0)


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_udp_ports_are_of_all_servers(beside: Callable[..., Lab], engine: Engine) -> None:
    """A UDP port is an address's alone, whichever server it talks to, and of one server whichever address."""
    lab = beside(servers=(TWO_ADDRESSES, server("store", 20)))
    four = lab.burst(4, client="bastion", engine=engine, protocol="udp", server="store", leave_open=True)
    assert seen(four) == (4, None, None, 0)
    assert seen(lab.burst(14, client="bastion", engine=engine, protocol="udp")) == (6, 6, "client", 8)


def test_what_is_closed_gives_its_port_back(beside: Callable[..., Lab]) -> None:
    """The NAT gateway keeps a closed flow over UDP, and the kernel its port for the next: the flow goes on."""
    lab = beside()
    for _ in range(2):
        assert seen(lab.burst(14, client="bastion", engine="socket", protocol="udp")) == (10, 10, "client", 4)
    lab = beside(nat_gateways=(nat_gateway(connections_per_destination=12),))
    assert seen(lab.burst(8, client="bastion", engine="socket", protocol="udp")) == (8, None, None, 0)
    result = lab.burst(8, client="bastion", engine="socket", protocol="udp", connect_timeout_s=0.9)
    assert (result.predicted.established, result.disagreements) == (None, ())
    assert "ports its kernel may use again" in str(result.predicted.unknown)


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_a_server_with_two_addresses(beside: Callable[..., Lab], engine: Engine) -> None:
    """connect() uses a port once for each address, and so does a program without the lab; what is held counts there."""
    lab = beside(servers=(TWO_ADDRESSES,))
    assert inside(lab, "bastion", f"exec {sys.executable} -c '{_CONNECTS}'").split() == ["10", "10", "10"]
    assert seen(lab.burst(7, client="bastion", engine=engine, leave_open=True)) == (7, None, None, 0)
    assert seen(lab.burst(30, client="bastion", engine=engine)) == (13, 12, "client", 17)


@pytest.mark.parametrize("engines", [("packet", "packet"), ("packet", "socket"), ("socket", "packet")])
def test_engines_share_ports(beside: Callable[..., Lab], engines: tuple[Engine, Engine]) -> None:
    """What one burst left open with one engine, and what another has that is under way, is not there for the next."""
    lab = beside()
    first, second = engines
    assert seen(lab.burst(3, client="bastion", engine=second, leave_open=True)) == (3, None, None, 0)
    held, go_on = Event(), Event()

    def wait(progress: Progress) -> None:
        if progress.phase == "holding":
            held.set()
            go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        one = pool.submit(lambda: lab.burst(5, client="bastion", engine=first, hold_s=0.5, progress=wait))
        try:
            assert held.wait(60)
            other = lab.burst(14, client="bastion", engine=second)
        finally:
            go_on.set()
    assert (other.tcp.established, other.tcp.without_port, other.drop_threshold) == (2, 12, 2)
    assert (other.bottleneck, one.result().tcp.established) == ("client", 5)
    assert (one.result().disagreements, other.disagreements) == ((), ())


_CONNECTS = """
import socket
held, made = [], dict.fromkeys(("203.0.113.10", "203.0.113.11"), 0)
for address in 2 * list(made):
    try:
        while True:
            held.append(socket.create_connection((address, 443)))
            made[address] += 1
    except OSError:
        pass
print(*made.values(), len({client.getsockname()[1] for client in held}))
"""


def test_an_odd_number_of_ports(beside: Callable[..., Lab]) -> None:
    """The kernel may miss a port of an odd number by chance, so the last one is left out."""
    lab = beside({"ephemeral_ports": "40000-40010"})
    assert seen(lab.burst(12, client="bastion", engine="socket")) == (10, 10, "client", 2)
    assert seen(lab.burst(12, client="bastion")) == (10, 10, "client", 2)


def test_the_nat_gateway_comes_first(beside: Callable[..., Lab]) -> None:
    """What finds no port never comes to the NAT gateway; of what comes, that refuses what it has no room for."""
    lab = beside(nat_gateways=(nat_gateway(connections_per_destination=6),))
    result = lab.burst(14, client="bastion", connect_timeout_s=0.9)
    assert seen(result) == (6, 6, "nat_gateway", 4)
    assert judge(result).cause == "limit"


def test_firewalls_judge_a_client(beside: Callable[..., Lab]) -> None:
    """Its security group and its subnet's network ACL drop what they forbid, and let it ask the name server."""
    walls = {"security_groups": [{"name": "db", "egress": [{"protocol": "tcp", "ports": "443", "to": "10.0.0.0/8"}]}]}
    lab = beside({"security_groups": ["db"]}, firewalls=walls)
    result = lab.burst(14, client="bastion", connect_timeout_s=0.9)
    assert (seen(result)[0], result.dns.answered, result.tcp.without_port) == (0, 14, 4)
    assert [(stop.kind, stop.node) for stop in result.stops] == [("security_group", "vpc")]
    strict = {"network_acls": [{"name": "strict", "subnets": ["private"]}]}
    lab = beside(firewalls=strict)
    result = lab.burst(5, client="bastion", connect_timeout_s=0.9)
    assert (seen(result)[0], result.dns.answered, [stop.kind for stop in result.stops]) == (0, 5, ["network_acl"])


def test_a_name_server_in_the_vpc(beside: Callable[..., Lab]) -> None:
    """A client's questions to it cross no ENI, and succeed when that is full."""
    lab = beside(service_vpc={"resolver": {"in": "vpc"}})
    lab.burst(10, leave_open=True)
    assert seen(lab.burst(8, client="bastion")) == (8, None, None, 0)


def test_a_trace_from_either_end(beside: Callable[..., Lab]) -> None:
    """A connection is known by the client's address and by the Elastic IP, and crosses no ENI."""
    lab = beside()
    lab.burst(1, client="bastion", leave_open=True)
    (trace,) = lab.trace("10.0.1.6:40000")
    assert (trace.client, trace.function, trace.outcome) == ("bastion", None, "established")
    assert [hop.node for hop in trace.hops] == ["client-bastion", "vpc", "natgw", "srv-cache"]
    (same,) = lab.trace(str(trace.hops[2].leaves_as))
    assert (same.client, same.source) == ("bastion", trace.source)

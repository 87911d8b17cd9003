"""The name server behind the ENI, and its quota: by bursts of every engine, by dig, by bare datagrams."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab.diagnosis.verdict import judge
from lab.errors import UsageError
from lab.kernel.netns import Namespaces
from lab.observe.drops import dropped_packets
from tests.support.command import run_lab
from tests.support.labs import eventually, slots
from traffic.dns import encode_query

if TYPE_CHECKING:
    from pathlib import Path

    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

MakeLab = Callable[..., "Lab"]

TOPOLOGY = """\
version: 1
name: resolver
service_vpc: {{resolver: {{{resolver}}}}}
hyperplane_eni: {{connection_limit: {eni}}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private, cidr: 10.0.1.0/24, default_route: natgw}}
  nat_gateways:
    - {{name: natgw, subnet: public}}
functions:
  - {{name: checkout, subnets: [private]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
"""

each_engine = pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])


@pytest.fixture
def made(lab_up: LabUp, tmp_path: Path) -> MakeLab:
    """A lab with this name server and this limit of its one ENI."""

    def up(resolver: str, eni: int = 1000) -> Lab:
        path = tmp_path / "resolver.yaml"
        path.write_text(TOPOLOGY.format(resolver=resolver, eni=eni))
        return lab_up(path)

    return up


def dig(lab: Lab) -> str:
    """What dig says in the function, asking whom resolv.conf names, once."""
    command = ("dig", "+short", "+tries=1", "+time=3", "cache.example.com")
    return run_lab("exec", "--lab", lab.name, "checkout", "--", *command).stdout


# ── Behind the ENI ──────────────────────────────────────────────────────────────────────────────────────────


@each_engine
def test_a_full_eni_fails_dns(made: MakeLab, engine: Any) -> None:
    """Half as many invocations as the ENI has connections fill it, and nobody after them learns an address."""
    lab = made("in: vpc", eni=30)
    first = lab.burst(15, engine=engine, connect_timeout_s=1.5, leave_open=True)
    assert first.tcp.established == first.predicted.established == 15
    assert slots(lab, "eni-private") == 30
    second = lab.burst(3, engine=engine, connect_timeout_s=1.5, leave_open=True)
    assert (second.dns.failed, second.tcp.attempted, second.drop_threshold) == (3, 0, None)
    assert second.bottleneck == second.predicted.bottleneck == "hyperplane_eni"
    assert (second.predicted.established, second.predicted.drop_threshold) == (0, None)
    assert first.disagreements == second.disagreements == ()
    (limit,) = (each for each in second.limits if each.kind == "hyperplane_eni")
    assert (limit.dropped_connections, limit.dropped_packets) == (3, 6)  # each is asked again after a second
    assert (
        "DNS failed for 3 of 3 invocations, because the name server is behind the ENI" in judge(second).explanation[0]
    )


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_questions_and_connections_come_to_the_limit(made: MakeLab, engine: Any) -> None:
    """An ENI that is filled in between has given each of its connections to a question or to a connection."""
    lab = made("in: vpc", eni=60)
    result = lab.burst(45, engine=engine, connect_timeout_s=1.5)
    assert result.dns.answered + result.tcp.established == 60
    assert result.dns.failed + result.tcp.timed_out + result.tcp.established == 45
    assert result.predicted.established is None
    assert (result.bottleneck, result.disagreements) == ("hyperplane_eni", ())


@each_engine
def test_questions_keep_their_slots(made: MakeLab, engine: Any) -> None:
    """What closed connections give back is used again by other environments; their questions stay for the idle time."""
    lab = made("in: vpc", eni=60)
    for already in (0, 10, 20):
        assert slots(lab, "eni-private") == already
        result = lab.burst(10, engine=engine, connect_timeout_s=1.5)
        assert result.tcp.established == result.predicted.established == 10
        assert (result.disagreements, result.incidents) == ((), ())


def test_dig_behind_the_eni(made: MakeLab) -> None:
    """Any program's question takes a slot; the one that finds none has no answer."""
    lab = made("in: vpc", eni=2)
    assert [dig(lab), dig(lab)] == ["203.0.113.10\n"] * 2
    assert slots(lab, "eni-private") == 2
    assert "203.0.113.10" not in dig(lab)


def test_dig_beside_the_eni(made: MakeLab) -> None:
    """In the service VPC no question takes a slot."""
    lab = made("in: service_vpc", eni=1)
    assert [dig(lab), dig(lab)] == ["203.0.113.10\n"] * 2
    assert slots(lab, "eni-private") == 0


@pytest.mark.alone
def test_at_full_scale(lab_up: LabUp, topologies: Path) -> None:
    """32,500 invocations take all of an ENI's 65,000 connections; then DNS fails for everybody."""
    lab = lab_up(topologies / "resolver_in_vpc.yaml")
    first = lab.burst(32_500, connect_timeout_s=5, leave_open=True)
    assert first.tcp.established == first.predicted.established == 32_500
    second = lab.burst(500, connect_timeout_s=1.5, leave_open=True)
    assert (second.dns.failed, second.bottleneck) == (500, "hyperplane_eni")
    assert slots(lab, "eni-private") == 65_000
    assert first.disagreements == second.disagreements == ()


# ── The quota ───────────────────────────────────────────────────────────────────────────────────────────────


def answers(lab: Lab, environment: int, count: int) -> tuple[int, float]:
    """How many of so many questions, sent as fast as can be by one environment, are answered; how long they took.

    Each question is answered or dropped by the quota: both together are all of them, however late the answers come.
    """
    already = dropped(lab)
    path = lab.plan.fleets[0].paths[0].sockets
    with Namespaces() as namespaces:
        asking = namespaces[lab.plan.fleets[0].namespace].run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.bind((str(path.first_address + environment), 0))
        asking.connect((str(lab.plan.fleets[0].resolver_address), 53))
        asking.settimeout(0.2)
        answered, begun_s = 0, time.monotonic()
        for _ in range(count):
            asking.send(encode_query("cache.example.com"))

        def is_all() -> bool:
            nonlocal answered
            with suppress(TimeoutError):
                while asking.recv(1000):
                    answered += 1
            return answered + dropped(lab) - already >= count

        assert eventually(is_all)
    return answered, time.monotonic() - begun_s


def dropped(lab: Lab) -> int:
    """How many packets the quota has dropped."""
    with Namespaces() as namespaces:
        return sum(dropped_packets(namespaces, lab.plan.barriers).values())


def test_no_more_than_the_quota_is_answered(made: MakeLab) -> None:
    """A second's packets at once and then the rate, for each interface by itself; what is over is counted."""
    lab = made("packets_per_second: 20")
    for environment in (1, 2):
        already = dropped(lab)
        answered, took_s = answers(lab, environment, 200)
        assert 20 <= answered <= 20 + 20 * took_s + 1
        assert dropped(lab) - already == 200 - answered


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_a_burst_over_the_quota(made: MakeLab, engine: Any) -> None:
    """The environments of an ENI share its quota: most questions are dropped, and the verdict says by what."""
    lab = made("in: vpc, packets_per_second: 10")
    result = lab.burst(100, engine=engine, connect_timeout_s=1.5)
    assert 10 <= result.dns.answered <= 10 + 10 * result.timing.duration_s + 1
    assert result.dns.failed == 100 - result.dns.answered
    assert (result.predicted.established, result.bottleneck, result.disagreements) == (None, None, ())
    (stop,) = result.stops
    assert (stop.node, stop.kind, stop.name) == ("resolver", "dns_quota", "10 packets/s per interface")
    assert judge(result).headline == "The resolver's quota reached: 10 packets/s per interface"


@each_engine
def test_a_burst_within_the_quota(made: MakeLab, engine: Any) -> None:
    """As many questions as a second allows are all answered, from whichever environments."""
    lab = made("in: vpc, packets_per_second: 20")
    result = lab.burst(20, engine=engine, connect_timeout_s=1.5)
    assert result.tcp.established == result.predicted.established == 20
    assert (result.stops, result.disagreements) == ((), ())


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_each_environment_has_its_own_quota(made: MakeLab, engine: Any) -> None:
    """In the service VPC each environment asks by its own interface: ten of them have ten quotas."""
    lab = made("packets_per_second: 10")
    result = lab.burst(100, engine=engine, connect_timeout_s=1.5, connections_per_environment=10)
    assert result.tcp.established == result.predicted.established == 100
    crowded = lab.burst(100, engine=engine, connect_timeout_s=0.9, connections_per_environment=100)
    assert 10 <= crowded.dns.answered <= 10 + 10 * crowded.timing.duration_s + 1
    assert result.disagreements == crowded.disagreements == ()


# ── Look-ups of two packets ─────────────────────────────────────────────────────────────────────────────────


@each_engine
def test_half_the_quota_in_look_ups(made: MakeLab, engine: Any) -> None:
    """20 packets a second are 10 look-ups of A and AAAA, each by one port, which is one connection of the ENI."""
    lab = made("in: vpc, packets_per_second: 20")
    result = lab.burst(10, engine=engine, connect_timeout_s=1.5, resolver_schedule="glibc", leave_open=True)
    assert result.tcp.established == result.predicted.established == 10
    assert (result.questions, result.stops, result.disagreements) == (20, (), ())
    assert slots(lab, "eni-private") == 20


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_look_ups_over_the_quota(made: MakeLab, engine: Any) -> None:
    """Every packet that the kernel drops is a question that the clients miss, and the verdict tells of both packets."""
    lab = made("in: vpc, packets_per_second: 10")
    result = lab.burst(50, engine=engine, connect_timeout_s=1.5, resolver_schedule="musl")
    assert 5 <= result.dns.answered <= 5 + 5 * result.timing.duration_s + 1
    assert (result.questions, result.predicted.established, result.disagreements) == (100, None, ())
    verdict = judge(result)
    assert verdict.cause == "questions_dropped"
    assert (
        "50 look-ups sent 100 questions, for each of them asks for A and AAAA at once: 10 packets/s per interface are "
        "half as many look-ups."
    ) in verdict.explanation


# ── Over TCP ────────────────────────────────────────────────────────────────────────────────────────────────


def test_truncated_answers(made: MakeLab) -> None:
    """Real programs and the socket engine ask again over TCP, A and AAAA on one connection; no limit is met."""
    lab = made("in: vpc, truncate: true, tcp_connections: 10")
    assert dig(lab) == "203.0.113.10\n"
    result = lab.burst(10, engine="socket", connect_timeout_s=3, resolver_schedule="glibc")
    assert result.tcp.established == result.predicted.established == 10
    assert (result.questions, result.stops, result.disagreements) == (30, (), ())  # two datagrams and a SYN each


def test_too_many_connections_to_the_name_server(made: MakeLab) -> None:
    """The kernel counts to the limit exactly; look-ups beyond it fail, and the verdict and `why` name that limit."""
    lab = made("in: vpc, truncate: true, tcp_connections: 10")
    path = lab.plan.fleets[0].paths[0].sockets
    with Namespaces() as namespaces, ExitStack() as undo:
        fleet = namespaces[lab.plan.fleets[0].namespace]
        held = [undo.enter_context(fleet.run(socket.socket, socket.AF_INET, socket.SOCK_STREAM)) for _ in range(13)]
        for asking in held:
            asking.bind((str(path.first_address), 0))
            asking.settimeout(5.0 if asking in held[:10] else 0.5)
        refused = [asking.connect_ex((str(lab.plan.fleets[0].resolver_address), 53)) for asking in held]
        assert [bool(error) for error in refused] == [False] * 10 + [True] * 3
        for asking in held[10:]:
            asking.close()
        result = lab.burst(5, engine="socket", connect_timeout_s=0.9)
        assert (result.dns.failed, result.tcp.attempted, result.disagreements) == (5, 0, ())
        assert result.predicted.established is None
        (stop,) = result.stops
        assert (stop.kind, stop.name, stop.dropped_packets) == ("dns_tcp", "10 TCP connections per interface", 5)
        headline = "The resolver's limit of DNS over TCP reached: 10 TCP connections per interface"
        assert (judge(result).cause, judge(result).headline) == ("dns_tcp_limit", headline)
        assert headline in run_lab("why", "--lab", lab.name).stdout


@pytest.mark.parametrize("engine", ["packet", "scapy"])
def test_engines_without_dns_over_tcp(made: MakeLab, engine: Any) -> None:
    """An engine that cannot ask over TCP refuses a name server that truncates."""
    with pytest.raises(UsageError, match="--engine socket"):
        made("truncate: true").burst(1, engine=engine)

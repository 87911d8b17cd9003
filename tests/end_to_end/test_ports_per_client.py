"""A NAT gateway that gives each client ports of its own: whose they are, to what, and from which Elastic IP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from lab.diagnosis.verdict import judge
from lab.lab import Lab
from tests.support.labs import Clients

if TYPE_CHECKING:
    from pathlib import Path

    from lab.pytest_plugin import LabUp

Up = Callable[[str], Lab]
MakeClients = Callable[[Lab], Clients]

TWO_VPCS = """
version: 1
name: clients
vpcs:
  - name: orders
    cidr: 10.1.0.0/16
    subnets:
      - {{name: orders, cidr: 10.1.1.0/24, default_route: tgw}}
  - name: egress
    cidr: 10.0.0.0/16
    subnets:
      - {{name: public, cidr: 10.0.0.0/24}}
      - {{name: attached, cidr: 10.0.1.0/24, default_route: natgw}}
      - {{name: a, cidr: 10.0.2.0/24, default_route: natgw}}
      - {{name: b, cidr: 10.0.3.0/24, default_route: natgw}}
    nat_gateways:
      - {{name: natgw, subnet: public, {nat}}}
transit_gateways:
  - name: tgw
    attachments: [{{vpc: orders, subnet: orders}}, {{vpc: egress, subnet: attached}}]
    default_route: egress
functions:
  - {{name: near, subnets: [a, b]}}
  - {{name: far, subnets: [orders]}}
clients:
  - {{name: host, subnet: b, addresses: 2}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
  - {{name: store, hostname: store.example.com, address: 203.0.113.20, port: 8080}}
"""


@pytest.fixture
def up(lab_name: str, tmp_path: Path) -> Up:
    """Brings a lab of two VPCs that share a NAT gateway to these settings."""

    def made(nat: str) -> Lab:
        path = tmp_path / "two_vpcs.yaml"
        path.write_text(TWO_VPCS.format(nat=nat))
        return Lab.up(path, name=lab_name)

    return made


LISTENER = """
import socket
server, kept = socket.create_server(("", 9000)), []
print("up", flush=True)
while True:
    kept.append(server.accept())
"""


def held(lab: Lab) -> dict[tuple[str | None, str | None, str], int]:
    """What each client holds to each server, where that is anything."""
    there = [(each.limiter, each.in_use) for each in lab.readings() if each.limiter.client and each.in_use]
    return {(limiter.client, limiter.destination, limiter.protocol): in_use for limiter, in_use in there}


def burst(lab: Lab, connections: int = 8, **options: Any) -> int:
    """So many connections at once, left open; as predicted, so many are established."""
    result = lab.burst(connections, connect_timeout_s=1, leave_open=True, **options)
    assert result.disagreements == ()
    predicted = result.predicted
    assert (result.tcp.established, result.drop_threshold) == (predicted.established, predicted.drop_threshold)
    return result.tcp.established


def test_each_client_has_its_own_ports_to_each_destination(up: Up) -> None:
    """Clients of two VPCs, TCP and UDP, two servers: 3 connections each."""
    lab = up("ports_per_client: 3")
    assert [burst(lab, function=each) for each in ("far", "near", "near")] == [3, 6, 0]
    assert burst(lab, function="near", server="store") == 6
    assert burst(lab, function="far", protocol="udp") == 3
    assert held(lab) == {
        ("eni-a", "cache", "tcp"): 3,
        ("eni-b", "cache", "tcp"): 3,
        ("eni-a", "store", "tcp"): 3,
        ("eni-b", "store", "tcp"): 3,
        ("eni-orders", "cache", "tcp"): 3,
        ("eni-orders", "cache", "udp"): 3,
    }
    result = lab.burst(1, function="far", connect_timeout_s=1, leave_open=True)
    assert judge(result).headline == (
        "Ports per client used up: natgw gives each client 3, and eni-orders has used all of them to cache"
    )


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_each_address_of_a_host_is_a_client(up: Up, engine: str) -> None:
    """Real sockets have an address of their own, and those of the packet engine another: one client."""
    lab = up("ports_per_client: 3")
    assert burst(lab, client="host", engine=engine) == 6
    assert held(lab) == {("client-host/1", "cache", "tcp"): 3, ("client-host/2", "cache", "tcp"): 3}
    assert burst(lab, function="far", engine=engine) == 3


def test_the_topology_that_ships(lab_up: LabUp, topologies: Path) -> None:
    """1,024 ports for each of two clients: 2,048 of 3,000 connections, and ErrorPortAllocation tells of the others."""
    lab = lab_up(topologies / "ports_per_client.yaml")
    assert burst(lab, 3_000) == 2_048
    explanation = lab.why()
    assert explanation.cause == "ports_per_client"
    assert [account.limit.first.client for account in explanation.refusing] == ["eni-private-a", "eni-private-b"]
    assert [shown.values["ErrorPortAllocation"] for shown in explanation.metrics] == [952]


def test_a_destination_that_the_topology_does_not_name(up: Up, clients: MakeClients) -> None:
    """Each client has as many ports to it, too."""
    lab = up("ports_per_client: 2")
    ours, listener = clients(lab), [sys.executable, "-uc", LISTENER]
    with subprocess.Popen(["ip", "netns", "exec", lab.node("cache").namespace, *listener], stdout=-1) as listening:
        assert listening.stdout is not None
        listening.stdout.readline()
        for _ in range(4):
            ours.tcp(port=9000)
        with pytest.raises(TimeoutError):
            ours.tcp(port=9000, timeout_s=0.5)
        listening.kill()
    assert lab.sample().nodes["natgw"].counters["refused_connections_undeclared_tcp"] == 1


def test_a_lab_that_is_up(up: Up, clients: MakeClients) -> None:
    """Clients keep connections when they get more ports, or another Elastic IP; one that goes drains."""
    lab = up("ports_per_client: 2")
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(4)]
    with pytest.raises(TimeoutError):
        ours.tcp(timeout_s=0.5)
    ours.open[-1].close()  # or its SYN would come again
    lab = up("ports_per_client: {min: 1, max: 8}, elastic_ips: 2")
    sample += [ours.tcp() for _ in range(3)]  # the first of them from eni-b
    assert held(lab) == {("eni-a", "cache", "tcp"): 3, ("eni-b", "cache", "tcp"): 4}
    eips = {each.client: each.eip for each in lab.plan.limiters if each.client}
    assert {name: eips[name] for name in ("eni-a", "eni-b", "eni-orders")} == {
        "eni-a": "198.51.100.1",
        "eni-b": "198.51.100.2",
        "eni-orders": "198.51.100.1",
    }
    up("ports_per_client: 8")
    lab = up("ports_per_client: 9")
    assert lab.plan.standing.draining["natgw"].keys() == {2}
    assert all(answers(each) for each in sample)
    assert len([ours.tcp() for _ in range(2)]) == 2


def answers(connection: socket.socket, within_s: float = 10.0) -> bool:
    """Whether data still goes to the server and back."""
    connection.settimeout(within_s)
    with suppress(TimeoutError, ConnectionError):
        connection.send(b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n")
        return connection.recv(1000).startswith(b"HTTP/1.1 200")
    return False

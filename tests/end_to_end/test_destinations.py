"""Several addresses of one name, several ports of one address: each a unique destination, with a limit of its own."""

from __future__ import annotations

from contextlib import ExitStack
import socket
from typing import TYPE_CHECKING

import pytest

from lab.kernel.netns import Namespaces
from lab.plan.addressing import SECOND_ADDRESS
from tests.support.labs import inside

if TYPE_CHECKING:
    from pathlib import Path

    from lab.burst.result import BurstResult
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine


def _seen(result: BurstResult) -> tuple[int, int | None, str | None]:
    """Established, drop threshold and bottleneck, which are as predicted."""
    seen = (result.tcp.established, result.drop_threshold, result.bottleneck)
    predicted = result.predicted
    assert (predicted.established, predicted.drop_threshold, predicted.bottleneck) == seen
    assert result.disagreements == ()
    return seen


def _peaks(result: BurstResult) -> dict[str | None, int]:
    """Address → connections to it that the NAT gateway held."""
    return {limit.address: limit.peak for limit in result.limits if limit.kind == "nat_gateway"}


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_each_address_has_its_own_ports(lab_up: LabUp, topologies: Path, engine: Engine) -> None:
    """One Elastic IP carries its limit to each of two addresses; a burst that follows finds them as full."""
    lab = lab_up(topologies / "two_addresses.yaml", scale=1_000)
    first = lab.burst(113, connect_timeout_s=2, engine=engine, leave_open=True)
    assert _seen(first) == (110, 109, "nat_gateway")  # the 56th to the first address is in the 28th pair of its turns
    assert _peaks(first) == {"203.0.113.10": 55, "203.0.113.11": 55}
    assert _seen(lab.burst(5, connect_timeout_s=1, engine=engine)) == (0, 0, "nat_gateway")


def test_ports_in_use_of_one_address(lab_up: LabUp, topologies: Path) -> None:
    """What a real program holds to one address leaves the other's ports free; the prediction knows whose they are."""
    lab = lab_up(topologies / "two_addresses.yaml", scale=1_000)
    with Namespaces() as namespaces, ExitStack() as held:
        fleet = namespaces[lab.plan.fleets[0].namespace]
        for _ in range(30):
            held.enter_context(fleet.run(socket.create_connection, ("203.0.113.11", 443)))
        result = lab.burst(60, connect_timeout_s=2)
    established, _, bottleneck = _seen(result)
    assert (established, bottleneck) == (55, "nat_gateway")
    assert _peaks(result) == {"203.0.113.10": 30, "203.0.113.11": 55}


def test_each_port_has_its_own_ports(lab_up: LabUp, topologies: Path) -> None:
    """One address with two ports is two servers: when one has no port left from the Elastic IP, the other has all."""
    lab = lab_up(topologies / "two_ports.yaml", scale=1_000)
    assert _seen(lab.burst(58, connect_timeout_s=2, leave_open=True)) == (55, 55, "nat_gateway")
    assert _seen(lab.burst(57, server="pooler", connect_timeout_s=2, leave_open=True)) == (55, 55, "nat_gateway")


def test_real_clients_reach_every_address_and_port(made: Lab) -> None:
    """Programs are answered by the server whose port they ask for, at whichever address of the name."""
    pages = "for port in 443 8443; do curl -s -m 9 http://cache.example.com:$port/ | head -1; done"
    assert inside(made, "fn-checkout", pages).split("\n")[:2] == ["server: cache", "server: same"]


@pytest.mark.parametrize("engine", ["packet", "socket"])
def test_a_full_server_counts_all_its_addresses(made: Lab, engine: Engine) -> None:
    """A server keeps so many connections, whichever of its addresses they came to; each address turns clients away."""
    result = made.burst(40, engine=engine, connect_timeout_s=2)
    assert _seen(result) == (30, 30, "server")
    seconds = [str(SECOND_ADDRESS + number) for number in range(2)]
    assert all(second in inside(made, "srv-cache", "ip -4 -o address show") for second in seconds)


def test_an_endpoint_has_each_address_as_a_target(made: Lab) -> None:
    """Behind PrivateLink a server with two addresses has room for twice the connections to one target."""
    assert _seen(made.burst(50, server="store", connect_timeout_s=2)) == (40, 40, "interface_endpoint")


@pytest.fixture
def made(lab_up: LabUp, tmp_path: Path) -> Lab:
    """A name with two ports at two addresses, one of them full soon, and a server behind an endpoint."""
    path = tmp_path / "made.yaml"
    path.write_text(_MADE, encoding="utf-8")
    return lab_up(path)


_MADE = """
version: 1
name: made
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {name: public, cidr: 10.0.0.0/24}
    - {name: private-a, cidr: 10.0.1.0/24, default_route: natgw}
  nat_gateways:
    - {name: natgw, subnet: public}
  interface_endpoints:
    - {name: store, subnet: private-a, server: store, connections_per_target: 20}
functions:
  - {name: checkout, subnets: [private-a]}
servers:
  - {name: cache, hostname: cache.example.com, addresses: [203.0.113.10, 203.0.113.11], port: 443, max_connections: 30}
  - {name: same, hostname: cache.example.com, addresses: [203.0.113.11, 203.0.113.10], port: 8443}
  - {name: store, hostname: store.example.com, addresses: [203.0.113.20, 203.0.113.21], port: 443}
"""

"""What AWS leaves open about Hyperplane ENIs, as knobs: whether others come to help, and what the limit counts."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import TYPE_CHECKING

import pytest

from lab.kernel.netfilter import nftables
from lab.kernel.netns import Namespaces
from lab.slots.limiter import OTHER_DESTINATIONS
from tests.support.labs import Clients, eventually, inside, slots

if TYPE_CHECKING:
    from pathlib import Path

    from lab.burst.result import BurstResult
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

WithEnis = Callable[[str], "Lab"]
MakeClients = Callable[["Lab"], Clients]

FIRST, SECOND, THIRD = "eni-private", "eni-private-2", "eni-private-3"

ONE_SUBNET = """
version: 1
name: one-subnet
hyperplane_eni: {{{settings}}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private, cidr: 10.0.1.0/24, default_route: natgw}}
  nat_gateways:
    - {{name: natgw, subnet: public}}
  interface_endpoints:
    - {{name: few, subnet: private, server: few, connections_per_target: 8}}
functions:
  - {{name: checkout, subnets: [private]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
  - {{name: store, hostname: store.example.com, address: 203.0.113.20, port: 8080}}
  - {{name: few, hostname: few.example.com, address: 203.0.113.30, port: 443}}
"""


@pytest.fixture
def with_enis(lab_up: LabUp, tmp_path: Path) -> WithEnis:
    """A lab of one subnet, whose ENIs have these settings."""

    def up(settings: str) -> Lab:
        path = tmp_path / "one_subnet.yaml"
        path.write_text(ONE_SUBNET.format(settings=settings))
        return lab_up(path)

    return up


def held(result: BurstResult) -> dict[str, int]:
    """What each ENI held, of those that were there."""
    return {limit.node: limit.peak for limit in result.limits if limit.kind == "hyperplane_eni"}


def there(lab: Lab, node: str) -> bool:
    """Whether an ENI has appeared by now."""
    return any(each.appeared for each in lab.readings() if each.limiter.node == node)


def lag_left_s(lab: Lab, node: str) -> float:
    """How long it takes until an ENI that was asked for appears; nothing if it is there."""
    (limiter,) = (each for each in lab.plan.limiters if each.node == node)
    with Namespaces() as namespaces:
        found = namespaces[limiter.namespace].run(lambda: list(nftables.elements(limiter.table, limiter.growing or "")))
    return sum(each.expires_ms for each in found) / 1000


# ── Growth ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_enis_appear_one_after_the_other(with_enis: WithEnis) -> None:
    """A full ENI drops all the lag long; then there is room for one ENI's connections more, and so on up to `most`."""
    lab = with_enis("connection_limit: 20, eni_scaling: {after: 5s, most: 3}")
    lab.burst(20, leave_open=True)
    for full, next_one in ((FIRST, SECOND), (SECOND, THIRD)):
        refused = lab.burst(5, connect_timeout_s=0.5, leave_open=True)
        assert (refused.tcp.established, refused.bottleneck) == (0, "hyperplane_eni")
        assert held(refused)[full] == 20
        assert next_one not in held(refused)
        assert eventually(lambda node=next_one: there(lab, node))  # type: ignore[misc]
        grown = lab.burst(20, leave_open=True)
        assert (grown.tcp.established, grown.tcp.syn_retransmissions) == (20, 0)
        assert held(grown)[next_one] == 20
        assert grown.disagreements == ()
    nodes = [(name, node.established) for name, node in lab.sample().nodes.items() if node.established]
    assert nodes == [(FIRST, 60), ("natgw", 60)]  # ENIs of one namespace have one count
    last = lab.burst(5, connect_timeout_s=2.5)
    assert held(last) == {FIRST: 20, SECOND: 20, THIRD: 20}
    assert last.drop_threshold == last.tcp.established == 0
    assert [limit.dropped_connections for limit in last.limits[:3]] == [0, 0, 5]
    assert last.disagreements == ()


def test_refused_by_an_eni_and_then_by_a_limit_behind_it(with_enis: WithEnis) -> None:
    """A connection that both refuse, one after the other, is one that was refused: the two accounts agree."""
    lab = with_enis("connection_limit: 6, eni_scaling: {after: 1s, most: 2}")
    result = lab.burst(12, server="few", connect_timeout_s=4)
    assert result.tcp.established == 8
    assert [(limit.node, limit.dropped_connections) for limit in result.limits] == [
        (FIRST, 6),
        (SECOND, 0),
        ("vpce-few", 4),
    ]
    assert result.disagreements == ()


def test_the_lag_runs_from_the_first_refusal(with_enis: WithEnis) -> None:
    """A full ENI that refuses nobody asks for no other; refusals after the first one do not prolong the lag."""
    lab = with_enis("connection_limit: 20, eni_scaling: {after: 5s}")
    lab.burst(20, leave_open=True)
    assert lag_left_s(lab, SECOND) == 0
    assert not there(lab, SECOND)
    lab.burst(1, connect_timeout_s=0.5, leave_open=True)
    refused_s = time.monotonic()
    lab.burst(1, connect_timeout_s=0.5, leave_open=True)
    since_s = time.monotonic() - refused_s
    assert lag_left_s(lab, SECOND) <= max(0, 5 - since_s)


def test_clients_that_wait_longer_than_the_lag_get_through(with_enis: WithEnis) -> None:
    """SYNs that come again after the lag are admitted, and leave from an address of the new ENI's own."""
    lab = with_enis("connection_limit: 20, eni_scaling: {after: 2s}")
    result = lab.burst(30, connect_timeout_s=6, leave_open=True)
    assert result.tcp.established_at_syn == (20, 0, 10)
    assert (result.tcp.timed_out, result.drop_threshold, result.bottleneck) == (0, None, None)
    assert held(result) == {FIRST: 20, SECOND: 10}
    assert result.disagreements == ()
    entries = inside(lab, "natgw", "conntrack -L 2>/dev/null")
    assert (entries.count("src=10.0.1.4 "), entries.count("src=10.0.1.5 ")) == (20, 10)


def test_without_scaling_nobody_waits_long_enough(with_enis: WithEnis) -> None:
    """By default an ENI stays alone, however long clients send SYNs."""
    lab = with_enis("connection_limit: 20, eni_scaling: off")
    result = lab.burst(30, connect_timeout_s=2)
    assert (result.tcp.established, result.tcp.timed_out) == (20, 10)
    assert held(result) == {FIRST: 20}


def test_closed_connections_of_every_eni_free_their_slots(with_enis: WithEnis) -> None:
    """ENIs that have appeared stay, and after a burst that is over neither they nor conntrack hold anything."""
    lab = with_enis("connection_limit: 20, eni_scaling: {after: 1s}")
    lab.burst(30, connect_timeout_s=6)
    again = lab.burst(30, connect_timeout_s=6)
    assert again.tcp.established_at_syn == (30,)
    assert [(each.node, each.slots, each.conntrack) for each in again.tracking] == [(FIRST, 0, 0), ("natgw", 0, 0)]


@pytest.mark.alone
def test_growth_at_full_scale(lab_up: LabUp, topologies: Path) -> None:
    """65,000 before the lag has passed, to the connection, and 65,000 more after it.

    On a busy machine the clients' ring may lose frames at this rate, and the result tells so: accounts are not claimed.
    """
    lab = lab_up(topologies / "eni_scaling.yaml")
    for node in ("eni-private-a", "eni-private-a-2"):
        assert eventually(lambda node=node: there(lab, node))  # type: ignore[misc]
        result = lab.burst(66_000, connect_timeout_s=2, leave_open=True)
        assert result.tcp.established == result.drop_threshold == 65_000
        assert held(result)[node] == 65_000


# ── What the limit counts ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.alone
def test_two_servers_behind_one_elastic_ip(lab_up: LabUp, topologies: Path) -> None:
    """A NAT gateway with one Elastic IP holds 55,000 connections to each of two servers: 110,000 at the same time."""
    lab = lab_up(topologies / "two_servers.yaml")
    for server in ("cache", "store"):
        result = lab.burst(56_000, server=server, connect_timeout_s=2, leave_open=True)
        assert result.tcp.established == result.drop_threshold == 55_000
        assert result.bottleneck == "nat_gateway"
        assert result.disagreements == ()
    assert [slots(lab, "natgw", server, "tcp") for server in ("cache", "store")] == [55_000, 55_000]
    entries = inside(lab, "natgw", "conntrack -C")
    assert int(entries) >= 110_000


@pytest.mark.alone
def test_an_eni_with_a_limit_for_each_destination(lab_up: LabUp, topologies: Path) -> None:
    """With `per_destination` one ENI holds its limit to each of two servers, from one set of ports."""
    lab = lab_up(topologies / "per_destination.yaml", scale=100)
    for server in ("cache", "store"):
        result = lab.burst(700, server=server, connect_timeout_s=1, leave_open=True)
        assert result.tcp.established == result.drop_threshold == result.predicted.established == 650
        assert result.bottleneck == "hyperplane_eni"
        assert result.disagreements == ()
    assert slots(lab, "eni-private-a") == 1300
    again = lab.burst(10, connect_timeout_s=0.5)
    assert (again.tcp.established, again.disagreements) == (0, ())


def test_protocols_and_unnamed_destinations_with_a_limit_each(with_enis: WithEnis, clients: MakeClients) -> None:
    """TCP and UDP to one server are two destinations; those that the topology does not name share one limit."""
    lab = with_enis("connection_limit: 2, per_destination: true")
    from_fleet = clients(lab)
    for _ in range(2):
        from_fleet.tcp()
        from_fleet.udp()
    with pytest.raises(TimeoutError):
        from_fleet.tcp(timeout_s=0.5)
    with pytest.raises(TimeoutError):
        from_fleet.udp(timeout_s=0.5)
    for port in (9, 10):
        with pytest.raises(ConnectionRefusedError):
            from_fleet.udp(port=port)
    with pytest.raises(TimeoutError):
        from_fleet.udp(port=11, timeout_s=0.5)
    counted = [("cache", "tcp"), ("cache", "udp"), (OTHER_DESTINATIONS, "any")]
    assert [slots(lab, FIRST, *each) for each in counted] == [2, 2, 2]

"""Half-open connections that one burst leaves to the next, and labs that are made to forget them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from lab.burst.result import BurstResult
from lab.diagnosis.verdict import judge
from lab.kernel.netfilter import conntrack, nftables
from lab.kernel.netns import Namespaces
from lab.observe.readings import Reading
from lab.slots.counters import FIRST_REFUSED, REFUSED
from tests.support.command import run_lab
from tests.support.labs import Clients, inside, slots, without_times

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

Small = Callable[..., "Lab"]
MakeClients = Callable[["Lab"], Clients]

CACHE, STORE = ("203.0.113.10", 443), ("203.0.113.20", 8080)


def burst(lab: Lab, number: int = 40, **options: Any) -> BurstResult:
    """A burst whose clients send one SYN each."""
    return lab.burst(number, connect_timeout_s=0.9, **options)


def states(readings: tuple[Reading, ...]) -> dict[str, tuple[int, dict[str, int], int]]:
    """Limiter that holds anything → established, half-open by server, closing."""
    return {
        " ".join(filter(None, (reading.limiter.node, reading.limiter.eip))): (
            reading.fill.established,
            {each.to: each.slots for each in reading.fill.half_open},
            reading.fill.closing,
        )
        for reading in readings
        if reading.fill and reading.in_use
    }


def counted(result: BurstResult) -> dict[str, Any]:
    """All that was counted of a burst; not how much its limits had refused before."""
    seen = without_times(result)
    return {**seen, "limits": [replace(limit, refused_before=0) for limit in seen["limits"]]}


# ── What holds slots ────────────────────────────────────────────────────────────────────────────────────────


def test_states(small: Small, clients: MakeClients) -> None:
    """Two connections and a flow over UDP; two half-open; two closed, by FINs and by an RST, in their port hold."""
    lab = small(timeouts="port_hold: 60s")
    lab.impair("store", silence=True)
    from_fleet = clients(lab)
    _, _, by_fins, by_rst = (from_fleet.tcp(*CACHE) for _ in range(4))
    from_fleet.udp(*CACHE)
    by_fins.shutdown(socket.SHUT_WR)
    assert by_fins.recv(1) == b""
    by_rst.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    by_rst.close()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            from_fleet.tcp(*STORE, timeout_s=0.2)
    readings = lab.readings_with_fills()
    assert states(readings)["eni-private"] == (3, {"store": 2}, 2)
    eni = readings[0]
    assert eni.fill is not None
    assert eni.fill.half_open[0].timeout_s == 120 >= eni.fill.half_open[0].free_s
    assert 0 < eni.fill.closing_free_s <= 60


# ── The next burst ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_burst_twice(lab_up: LabUp, topologies: Path) -> None:
    """The NAT gateway refuses 10 of 40: the ENIs hold those half-open, and have room for 30 of the next 40."""
    lab = lab_up(topologies / "tiny.yaml")
    first = burst(lab)
    left = {"eni-private-a": (0, {"cache": 5}, 0), "eni-private-b": (0, {"cache": 5}, 0)}
    assert states(lab.readings_with_fills()) == left
    second = burst(lab)
    assert (first.bottleneck, first.tcp.established) == ("nat_gateway", 30)
    assert judge(first).cause == "limit"
    assert (second.bottleneck, second.tcp.established) == ("hyperplane_eni", 30)
    assert [limit.dropped_connections for limit in second.limits] == [5, 5, 0, 0]
    assert [limit.fill.half_open_earlier for limit in second.limits if limit.fill] == [5, 5, 0, 0]
    headline = "Half-open connections to cache hold 10 of the 40 slots of eni-private-a, eni-private-b"
    assert judge(second).headline == headline
    assert counted(burst(lab, fresh=True)) == counted(first)


def test_a_dead_server(small: Small) -> None:
    """A server that is silent fills the ENI, which then refuses connections to one that is well."""
    lab = small(eni=20, nat=50)
    lab.impair("store", silence=True)
    silent = burst(lab, 20, server="store")
    told = judge(silent)
    assert told.cause == "faults"
    assert any(
        text.startswith("20 of the 20 slots of eni-private are half-open, to store") for text in told.explanation
    )
    healthy = burst(lab, 8, server="cache")
    assert (healthy.tcp.established, healthy.tcp.timed_out, healthy.bottleneck) == (0, 8, "hyperplane_eni")
    headline = "Half-open connections to store hold 20 of the 20 slots of eni-private"
    assert judge(healthy).headline == lab.why().headline == headline
    assert "the server is silent" in " ".join(lab.why().details)


def test_a_silent_server_behind_a_small_eni(small: Small) -> None:
    """The server is the cause, and the ENI that its silence has filled the consequence."""
    lab = small(eni=5, nat=50)
    chain = "{ type filter hook forward priority 0; policy drop; }"
    inside(lab, "inet", f"nft add table ip silent && nft add chain ip silent forward '{chain}'")
    result = burst(lab, 8, server="store")
    assert (result.tcp.timed_out, result.bottleneck) == (8, "hyperplane_eni")
    verdict = judge(result)
    assert verdict.cause == "silence"
    assert any(text.startswith("5 of the 5 slots of eni-private are half-open") for text in verdict.explanation)
    inside(lab, "inet", "nft delete table ip silent")
    lab.reset()
    lab.impair("cache", silence=True)
    assert judge(burst(lab, 8, server="cache")).cause == "faults"


def test_what_is_left_is_told(lab_up: LabUp, topologies: Path) -> None:
    """`lab burst` says at its start what earlier bursts have left, and what forgets it."""
    lab = lab_up(topologies / "tiny.yaml")
    burst(lab, leave_open=True)
    said = run_lab("burst", "--lab", lab.name, "-n", 1, "--no-record", "--connect-timeout", "0.5").stderr
    assert "eni-private-a: 15 established, 5 half-open to cache (last SYN" in said
    assert f"lab reset --lab {lab.name}" in said


# ── Reset ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_sockets_that_were_left_open(lab_up: LabUp, topologies: Path) -> None:
    """A fresh burst closes them, and has their addresses and ports for its own."""
    lab = lab_up(topologies / "tiny.yaml")
    lab.burst(20, engine="socket", leave_open=True)
    again = lab.burst(20, engine="socket", fresh=True)
    assert (again.tcp.established, again.disagreements) == (20, ())


def test_reset(lab_up: LabUp, topologies: Path) -> None:
    """Slots, refused connections and conntrack entries of all NAT nodes are gone; what was counted stays."""
    lab = lab_up(topologies / "tiny.yaml")
    burst(lab, leave_open=True)
    before = lab.sample().nodes
    forgotten = run_lab("reset", "--lab", lab.name, "--json").json
    assert forgotten["connections"] == 40
    assert [limit["connections"] for limit in forgotten["limits"]] == [20, 20, 15, 15]
    after = lab.sample().nodes
    with Namespaces() as namespaces:
        for node in lab.plan.nat_nodes:
            here = namespaces[node.namespace]
            sizes = here.run(nftables.set_sizes, node.table)
            assert here.run(conntrack.tracked) == sum(sizes.values()) == 0
            assert {REFUSED, FIRST_REFUSED} < sizes.keys()
            was, now = before[node.node], after[node.node]
            assert (now.established, now.refused_connections) == (was.established, was.refused_connections)
            assert (now.active, now.forgotten, now.idle_timeouts) == (0, was.active, 0)
    assert run_lab("reset", "--lab", lab.name).stdout == f"lab {lab.name} has forgotten 0 connections\n"
    assert burst(lab).disagreements == ()


def test_idle_timeouts_and_reset(small: Small) -> None:
    """Connections that a reset removed have not fallen idle; those that are gone for another reason count as before."""
    lab = small()
    burst(lab, 3, leave_open=True)
    inside(lab, "natgw", "conntrack -F 2>/dev/null")
    for resets in (1, 2):
        burst(lab, 4, leave_open=True)
        lab.reset()
        natgw = lab.sample().nodes["natgw"]
        assert (natgw.established, natgw.forgotten) == (3 + 4 * resets, 4 * resets)
        assert (natgw.idle_timeouts, natgw.active) == (3, 0)


def test_a_connection_that_was_forgotten(small: Small, clients: MakeClients) -> None:
    """A program that goes on with one gets an RST, and takes no slot."""
    lab = small()
    client = clients(lab).tcp(*CACHE)
    assert lab.reset().connections == 1
    with pytest.raises(ConnectionResetError):
        client.sendall(b"GET / HTTP/1.1\r\n\r\n") or client.recv(1)  # type: ignore[func-returns-value]
    assert slots(lab, "eni-private") == 0

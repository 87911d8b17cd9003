"""The packet engine and the socket engine see the same network: the same numbers, whatever makes the connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
import os
from pathlib import Path
import signal
import socket
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import KernelError
from lab.kernel.netns import NETNS_DIRECTORY, Namespaces
from tests.support.labs import eventually, inside, without_times
from traffic.spec import Engine, SynSchedule

if TYPE_CHECKING:
    from lab import Lab
    from lab.pytest_plugin import LabUp

ENGINES: tuple[Engine, ...] = ("packet", "socket")
VARIANTS: list[dict[str, Any]] = [
    {},
    {"requests_per_connection": 3},
    {"requests_per_connection": 1, "close": "half-close"},
    {"requests_per_connection": 1, "close": "reset"},
    {"protocol": "udp"},
    {"protocol": "udp", "requests_per_connection": 2},
    {"rate_per_s": 200.0},
]


TWO_FUNCTIONS = """
version: 1
name: two-functions
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {name: public, cidr: 10.0.0.0/24}
    - {name: private, cidr: 10.0.1.0/24, default_route: natgw}
  nat_gateways: [{name: natgw, subnet: public}]
functions:
  - {name: first, subnets: [private]}
  - {name: second, subnets: [private]}
servers: [{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}]
"""


def _close_by_server(lab: Lab, connections: int) -> None:
    """So many connections of the first function, from as many addresses, which the server closes first."""
    fleet = lab.plan.fleets[0]
    first = fleet.paths[0].sockets.first_address
    with Namespaces() as namespaces, ExitStack() as opened:
        for turn in range(connections):
            client = namespaces[fleet.namespace].run(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
            opened.enter_context(client)
            client.settimeout(5)
            client.bind((str(first + turn), int(fleet.blocks.port(turn))))
            client.connect(("203.0.113.10", 443))
            client.sendall(b"GET / HTTP/1.0\r\nHost: cache.example.com\r\n\r\n")
            while client.recv(1 << 16):
                pass


def test_syns_that_meet_time_wait(lab_up: LabUp, tmp_path: Path) -> None:
    """SYNs that the server answers by a challenge ACK were answered; the client's kernel resets just as many."""
    path = tmp_path / "two_functions.yaml"
    path.write_text(TWO_FUNCTIONS)
    lab = lab_up(path)
    _close_by_server(lab, 40)
    # While conntrack has an entry, however short, another client of the same port is translated to another one.
    assert eventually(
        lambda: not any(inside(lab, node, "conntrack -L 2>/dev/null") for node in ("eni-private", "natgw"))
    )
    result = lab.burst(40, function="second", engine="socket", connections_per_environment=1, connect_timeout_s=5)
    assert result.tcp.established == 40
    resets = inside(lab, "fn-second", "awk '/^Tcp: [0-9]/ { print $15 }' /proc/net/snmp")  # OutRsts
    assert result.tcp.challenged_syns == int(resets) > 0
    assert result.disagreements == ()


@pytest.mark.parametrize("options", VARIANTS, ids=lambda options: " ".join(map(str, options.values())) or "plain")
def test_engines_agree(lab_up: LabUp, topologies: Path, options: dict[str, Any]) -> None:
    """Requests and closes of all kinds, datagrams, a rate: both engines report the same."""
    accounts = []
    for engine in ENGINES:
        with lab_up(topologies / "tiny.yaml") as lab:
            accounts.append(without_times(lab.burst(40, engine=engine, connect_timeout_s=1.5, **options)))
    assert accounts[0] == accounts[1]
    assert (accounts[0]["tcp"].established, accounts[0]["threshold"]) == (30, 30)


@pytest.mark.parametrize(("schedule", "retransmissions"), [("classic", 3), ("linear", 6)])
def test_kernel_retransmits_by_the_schedule(
    lab_up: LabUp, topologies: Path, schedule: SynSchedule, retransmissions: int
) -> None:
    """In 8 s, as both the clients' TCP_INFO and the limiters' counters tell."""
    result = lab_up(topologies / "tiny.yaml").burst(40, engine="socket", connect_timeout_s=8, syn_schedule=schedule)
    assert result.tcp.syn_retransmissions == 10 * retransmissions
    assert sum(limit.dropped_packets for limit in result.limits) == 10 * (1 + retransmissions)
    assert result.disagreements == ()


def test_connections_come_and_go(lab_up: LabUp, topologies: Path) -> None:
    """More real connections one after the other than fit at a time, and one for many requests."""
    lab = lab_up(topologies / "tiny.yaml")
    result = lab.burst(100, engine="socket", rate_per_s=20, hold_s=0.2)
    assert (result.tcp.established, result.drop_threshold, result.disagreements) == (100, None, ())
    result = lab.burst(100, engine="socket", rate_per_s=50, hold_s=1.0, reuse=True)
    assert result.tcp.attempted < 100
    assert (result.invocations.served, result.disagreements) == (100, ())


def test_same_ports_again(lab_up: LabUp, topologies: Path) -> None:
    """A burst may have the ports of the one before it, whose connections are in TIME_WAIT."""
    lab = lab_up(topologies / "tiny.yaml")
    first, second = (without_times(lab.burst(30, engine="socket", connect_timeout_s=3)) for _ in range(2))
    assert first["tcp"] == second["tcp"]


def test_connections_that_are_left_open(lab_up: LabUp, topologies: Path) -> None:
    """They outlive their burst, in processes that `lab down` ends."""
    lab = lab_up(topologies / "tiny.yaml")
    lab.burst(20, engine="socket", leave_open=True)
    assert "443" in inside(lab, "checkout", "ss -Htn state established")
    assert len(_workers(lab)) == 1
    assert lab.burst(10, engine="socket", connect_timeout_s=3).tcp.established == 10
    lab.down()
    assert _workers(lab) == []


@pytest.mark.parametrize(("whom", "number"), [(0, signal.SIGTERM), (0, signal.SIGKILL), (-1, signal.SIGKILL)])
def test_nothing_outlives_a_burst_that_is_ended(lab_up: LabUp, topologies: Path, whom: int, number: int) -> None:
    """Whether the coordinator or a worker is ended, the burst fails and its processes and sockets are gone."""
    lab = lab_up(topologies / "one_subnet.yaml")
    with _burst(lab, 20_000) as failures:
        assert eventually(lambda: any(each.in_use for each in lab.readings()))
        os.kill(_workers(lab)[whom], number)
    assert len(failures) == 1
    assert eventually(lambda: not _workers(lab))  # those of a coordinator that was killed end by themselves
    # A process leaves its namespace before its sockets are closed (do_exit, exit_task_work).
    assert eventually(lambda: inside(lab, "checkout", "ss -Htn state established") == "")


@contextmanager
def _burst(lab: Lab, connections: int) -> Iterator[list[KernelError]]:
    """A burst that holds its connections until something ends it; how it failed."""
    failures: list[KernelError] = []

    def run() -> None:
        try:
            lab.burst(connections, engine="socket", hold_s=120.0)
        except KernelError as error:
            failures.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        thread.join()


def _workers(lab: Lab) -> list[int]:
    """Processes of the socket engine, oldest first."""
    home = NETNS_DIRECTORY / lab.node("checkout").namespace
    if not home.exists():
        return []
    found = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return sorted(pid for pid in found if _lives_in(home, pid))


def _lives_in(home: Path, pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/ns/net")).samefile(home)
    except OSError:
        return False

"""Real programs in a lab: curl, wrk, redis-benchmark and dig in the fleet; nginx and redis-server on the servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from lab.kernel.processes import processes_in
from tests.support.command import Ended, run_lab, start_lab
from tests.support.labs import eventually, inside, slots
from tests.support.machine import left_of, require_machine
from tests.support.programs import start_nginx, start_redis

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp

Start = Callable[["Lab", Path], None]

URL = "http://web.example.com/"
EACH_SERVER = pytest.mark.parametrize(("server", "start"), [("web", start_nginx), ("cache", start_redis)])
QUICK = ("--connect-timeout", "1.2")
OPERATION_TIMED_OUT = 28  # curl(1)


@pytest.fixture
def lab(lab_up: LabUp, topologies: Path) -> Lab:
    """The topology `real_programs`: two ENIs of 200 connections, two Elastic IPs of 300 per server."""
    return lab_up(topologies / "real_programs.yaml")


@pytest.fixture
def embedded(lab_up: LabUp, topologies: Path, tmp_path: Path) -> Lab:
    """The same topology with the lab's own servers."""
    path = tmp_path / "embedded.yaml"
    path.write_text((topologies / "real_programs.yaml").read_text().replace("embedded: false", "embedded: true"))
    return lab_up(path)


@pytest.fixture(params=["nginx", "embedded"])
def web(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """The topology with nginx for `web`, and with the lab's own: to see wrk in the lab takes no more than wrk."""
    if request.param == "embedded":
        own: Lab = request.getfixturevalue("embedded")
        return own
    require_machine("nginx")
    real: Lab = request.getfixturevalue("lab")
    start_nginx(real, tmp_path)
    return real


def in_fleet(lab: Lab, *command: object) -> Ended:
    """A command in the function's fleet, to its end."""
    return run_lab("exec", "--lab", lab.name, "checkout", "--", *command)


@contextmanager
def wrk(lab: Lab, connections: int) -> Iterator[subprocess.Popen[str]]:
    """Wrk with so many connections, until the block ends; then it says what it has seen, as after Ctrl-C."""
    command = ("wrk", "-t1", f"-c{connections}", "-d60s", URL)
    running = start_lab("exec", "--lab", lab.name, "checkout", "--", *command)
    try:
        yield running
        running.send_signal(signal.SIGINT)
        said, _ = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    assert running.returncode == 0
    assert "requests in" in said


def refused(lab: Lab, node: str) -> int:
    """Connections that the node has refused."""
    return sum(each.refused_connections for each in lab.readings() if each.limiter.node == node)


def established(lab: Lab, node: str) -> int:
    """Connections that the node's conntrack calls established."""
    return inside(lab, node, "conntrack -L -p tcp 2>/dev/null").count("ESTABLISHED")


# ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_dig(lab: Lab) -> None:
    """The names of real programs' servers are the resolver's, whether anything runs there or not."""
    require_machine("dig")
    asked = in_fleet(lab, "dig", "+short", "web.example.com", "cache.example.com")
    assert asked == (0, "203.0.113.20\n203.0.113.10\n", "")


def test_curl(lab: Lab, tmp_path: Path) -> None:
    """Curl gets nginx's page, and nginx sees an Elastic IP."""
    require_machine("curl")
    start_nginx(lab, tmp_path)
    page = in_fleet(lab, "curl", "--silent", "--max-time", "5", URL)
    assert page.status == 0
    assert "sees 198.51.100." in page.stdout


def test_curl_through_each_eni(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """Curl takes the first ENI, and with the address of an execution environment that environment's."""
    require_machine("curl")
    topology = (topologies / "real_programs.yaml").read_text()
    held = tmp_path / "held.yaml"
    held.write_text(topology.replace("connection_limit: 200", "connection_limit: 200\n  port_hold: 60s"))
    assert held.read_text() != topology
    lab = lab_up(held)
    start_nginx(lab, tmp_path)
    for source, first, second in (((), 1, 0), (("100.65.48.1",), 1, 1), (("100.65.16.9",), 2, 1)):
        from_there = [word for address in source for word in ("--interface", address)]
        assert in_fleet(lab, "curl", "--silent", "--max-time", "5", *from_there, URL).status == 0
        assert (slots(lab, "eni-private-a"), slots(lab, "eni-private-b")) == (first, second)


def test_wrk_holds_a_slot_per_connection_in_both_nats(web: Lab) -> None:
    """Each of wrk's connections is one slot and one conntrack entry of the first ENI, and of the NAT gateway."""
    require_machine("wrk", "conntrack")
    with wrk(web, 50):
        assert eventually(lambda: slots(web, "eni-private-a") == slots(web, "natgw", "web", "tcp") == 50)
        assert (established(web, "eni-private-a"), established(web, "natgw")) == (50, 50)
        assert slots(web, "eni-private-b") == slots(web, "natgw", "cache") == 0
    assert eventually(lambda: slots(web, "eni-private-a") == slots(web, "natgw") == 0)
    assert refused(web, "eni-private-a") == refused(web, "natgw") == 0


def test_wrk_runs_into_the_limit(web: Lab) -> None:
    """Of 300 connections the first ENI drops 100; while it is full curl times out and dig has its answer."""
    require_machine("wrk", "curl", "dig", "conntrack")
    with wrk(web, 300):
        # wrk connects once beforehand: that connection's slot is one of the 200 for a moment, and then free.
        assert eventually(lambda: established(web, "eni-private-a") == 200)
        assert eventually(lambda: refused(web, "eni-private-a") >= 100)
        assert in_fleet(web, "curl", "--silent", "--max-time", "1", URL).status == OPERATION_TIMED_OUT
        assert in_fleet(web, "dig", "+short", "web.example.com").stdout == "203.0.113.20\n"
        assert slots(web, "natgw", "web", "tcp") == 200
    assert refused(web, "natgw") == refused(web, "eni-private-b") == 0


def test_wrk_through_both_enis(web: Lab) -> None:
    """With a route that has both ENIs for next hops, wrk fills both."""
    require_machine("wrk")
    hops = [f"nexthop via {each} dev svc" for each in ("100.64.1.1", "100.64.1.2")]
    inside(web, "checkout", "echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy")
    inside(web, "checkout", f"ip route replace 203.0.113.20 {' '.join(hops)}")
    with wrk(web, 600):
        assert eventually(lambda: slots(web, "eni-private-a") == slots(web, "eni-private-b") == 200)
        assert eventually(lambda: refused(web, "eni-private-a") + refused(web, "eni-private-b") >= 200)
    assert refused(web, "natgw") == 0


def test_redis_benchmark(lab: Lab, tmp_path: Path) -> None:
    """redis-benchmark measures a real redis-server, to which its clients are an Elastic IP."""
    require_machine("redis-benchmark", "redis-cli")
    start_redis(lab, tmp_path)
    place = ("-h", "cache.example.com", "-p", 6379)
    # Each of the four tests connects anew, and what is closed holds its slot for up to a second.
    measured = in_fleet(lab, "redis-benchmark", *place, "-c", 20, "-n", 1000, "-t", "ping,set,get", "--csv")
    assert measured.status == 0
    assert all(f'"{command}"' in measured.stdout for command in ("PING_INLINE", "PING_MBULK", "SET", "GET"))
    assert " addr=198.51.100." in in_fleet(lab, "redis-cli", *place, "client", "list").stdout
    assert refused(lab, "eni-private-a") == 0


# ── Servers ─────────────────────────────────────────────────────────────────────────────────────────────────


def account(result: BurstResult) -> tuple[object, ...]:
    """What clients and kernel saw."""
    tcp = result.tcp
    clients = (tcp.established, tcp.timed_out, tcp.refused, tcp.reset, result.drop_threshold, result.bottleneck)
    return (*clients, *((each.node, each.peak, each.dropped_connections) for each in result.limits))


@EACH_SERVER
def test_a_burst_meets_a_real_program_as_it_meets_the_labs_own(
    lab: Lab, embedded: Lab, tmp_path: Path, server: str, start: Start
) -> None:
    """The packet engine's connections are established and refused just as with the embedded server."""
    start(lab, tmp_path)
    real, own = (each.burst(500, server=server, connect_timeout_s=1.2) for each in (lab, embedded))
    assert account(real) == account(own)
    assert (real.tcp.established, real.drop_threshold, real.bottleneck) == (400, 400, "hyperplane_eni")
    assert real.disagreements == ()


@EACH_SERVER
def test_a_burst_leaves_a_real_program_as_it_was(lab: Lab, tmp_path: Path, server: str, start: Start) -> None:
    """A burst closes its connections with the program, which then holds none."""
    start(lab, tmp_path)
    for _ in range(2):
        assert lab.burst(100, server=server).tcp.established == 100
    assert eventually(lambda: "ESTAB" not in inside(lab, server, "ss -nt"))


def test_nginx_answers_the_packet_engines_requests(lab: Lab, tmp_path: Path) -> None:
    """Clients that are only numpy arrays have a conversation with nginx, and it ends with both FINs."""
    start_nginx(lab, tmp_path)
    result = lab.burst(100, server="web", requests_per_connection=3)
    assert (result.tcp.established, result.requests.sent, result.requests.answered) == (100, 300, 300)
    assert result.disagreements == ()
    assert eventually(lambda: "ESTAB" not in inside(lab, "web", "ss -nt"))


def test_nobody_listens(lab: Lab) -> None:
    """Where no program has taken the port every connection is refused, and the verdict says so."""
    ended = run_lab("burst", "--lab", lab.name, "--server", "web", "-n", 40, *QUICK)
    assert (ended.status, ended.stderr) == (0, "")
    assert "the server refused 40 of 40 connections" in ended.stdout
    assert "no program listens" in ended.stdout


def test_down_ends_real_servers_and_names_them(lab: Lab, tmp_path: Path) -> None:
    """Servers in the background end with the lab, which says who they were."""
    start_redis(lab, tmp_path)
    found = [each for each in processes_in(lab.plan.namespaces) if not each.ours]
    assert {(each.command, each.namespace) for each in found} == {("redis-server", lab.node("cache").namespace)}
    down = run_lab("down", "--lab", lab.name)
    said = "".join(f"ended with it: {each.command} ({each.pid}) in {each.namespace}\n" for each in found)
    assert down == (0, f"lab {lab.name} is gone\n", said)
    assert not any(Path(f"/proc/{each.pid}/exe").exists() for each in found)  # which a zombie has not
    assert left_of(lab.name) == []


def test_down_ends_every_process_of_a_server(lab: Lab, tmp_path: Path) -> None:
    """Nginx' master and its worker both end, and what they wrote is where they were told to write."""
    start_nginx(lab, tmp_path)

    def found() -> set[int]:
        return {each.pid for each in processes_in(lab.plan.namespaces) if each.command == "nginx"}

    assert eventually(lambda: len(found()) == 2)  # the master answers before its worker bears its name
    before = found()
    assert {each.pid for each in lab.down()} == before
    assert (tmp_path / "error.log").exists()

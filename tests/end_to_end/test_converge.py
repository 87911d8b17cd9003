"""`lab up` on a lab that is up: it becomes what the file has, and what the change does not touch lives on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
import os
from pathlib import Path
import resource
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab.errors import ExpectationError, KernelError, UsageError
from lab.kernel.apply import STEPS
from lab.kernel.generator_events import Progress
from lab.kernel.invoker import runnable
from lab.kernel.netfilter import nftables
from lab.kernel.state import State
from lab.lab import Lab
from lab.plan.objects import Process, Ruleset, VethPair
from tests.support.command import run_lab, start_lab
from tests.support.labs import Clients, eventually, inside, slots
from tests.support.machine import NETNS, RUN_LAB, hosts_own_network, ip, left_of, require_sizes_that_change
from tests.support.throwaway import text_of

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp

MakeClients = Callable[[Lab], Clients]
Write = Callable[..., Path]

QUESTION = b"GET / HTTP/1.1\r\nHost: cache.example.com\r\n\r\n"

_FILE = """\
version: 1
name: small
hyperplane_eni: {{connection_limit: {eni}, port_hold: 0s}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private-a, cidr: 10.0.1.0/24, default_route: natgw}}
{private_b}  nat_gateways:
    - {{name: natgw, subnet: public, elastic_ips: {eips}, connections_per_destination: {nat}, port_hold: 0s{more}}}
functions:
  - {{name: checkout, subnets: [{subnets}]}}
{functions}servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
{servers}"""
PRIVATE_B = "    - {name: private-b, cidr: 10.0.2.0/24, default_route: natgw}\n"
SEARCH = "  - {name: search, subnets: [private-b], security_groups: [web]}\n"
STORE = "  - {name: store, hostname: store.example.com, address: 203.0.113.20, port: 8080}\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the topology file, or write it anew with something else in it."""

    def write(**changes: Any) -> Path:
        wanted = {"eni": 20, "nat": 20, "eips": 1, "more": "", "subnets": "private-a", "functions": "", "servers": ""}
        wanted |= changes
        private_b = PRIVATE_B if "private-b" in f"{wanted['subnets']}{wanted['functions']}" else ""
        path = tmp_path / "small.yaml"
        path.write_text(_FILE.format(**wanted, private_b=private_b))
        return path

    return write


@pytest.fixture
def up(lab_name: str, write: Write) -> Callable[..., Lab]:
    """Write the file with these changes, and bring the lab to it."""
    return lambda disruptive=False, **changes: Lab.up(write(**changes), name=lab_name, disruptive=disruptive)


def answers(connection: socket.socket, within_s: float = 10.0) -> bool:
    """Whether data still goes to the server and back; nothing comes, or an RST, of what a NAT node has forgotten."""
    connection.settimeout(within_s)
    try:
        connection.send(QUESTION)
        return connection.recv(1000).startswith(b"HTTP/1.1 200")
    except (TimeoutError, ConnectionError):
        return False


def network_of(lab: Lab) -> dict[str, list[str]]:
    """All that each namespace of a lab has, in words, but for what is counted and held."""
    commands = (
        "ls /sys/class/net",
        "ip -4 address",
        "ip neighbour",
        "ip route show table all",
        "ip rule",
        "nft -s list tables",
    )
    return {name: [text_of(name, *each.split()) for each in commands] for name in lab.plan.namespaces}


def changes(lab: Lab) -> list[str]:
    """Which nodes came and went with the call that returned this lab."""
    assert lab.convergence is not None
    names = [{each.name for each in plan.nodes} for plan in (lab.convergence.old, lab.convergence.new)]
    return [*(f"+{name}" for name in names[1] - names[0]), *(f"-{name}" for name in names[0] - names[1])]


# ── The article's remedies, live ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Room for a thousand sockets in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.alone
@pytest.mark.usefixtures("descriptors")
def test_a_second_elastic_ip_while_55_000_connections_are_held(
    lab_name: str, topologies: Path, tmp_path: Path, clients: MakeClients
) -> None:
    """Remedy 1, live and at full scale: a sample of 1,000 goes on exchanging data, the next burst reaches 65,000."""
    path = tmp_path / "one_subnet.yaml"
    path.write_text((topologies / "one_subnet.yaml").read_text())
    lab = Lab.up(path, name=lab_name)
    assert lab.burst(54_000, leave_open=True).tcp.established == 54_000
    ours = clients(lab)
    sample = [ours.tcp(turn=54_000 + index) for index in range(1000)]
    assert slots(lab, "natgw", protocol="tcp") == slots(lab, "eni-private-a") == 55_000

    path.write_text(path.read_text().replace("elastic_ips: 1", "elastic_ips: 2"))
    lab = Lab.up(path, name=lab_name)
    assert lab.changed
    assert slots(lab, "natgw", protocol="tcp") == slots(lab, "eni-private-a") == 55_000
    assert sum(answers(each) for each in sample) == 1000

    more = lab.burst(15_000, leave_open=True, connect_timeout_s=3)
    assert more.tcp.established == 10_000
    assert more.bottleneck == "hyperplane_eni"
    assert slots(lab, "eni-private-a") == 65_000
    assert sum(answers(each) for each in sample) == 1000


def test_another_subnet_while_connections_are_held(up: Callable[..., Lab], clients: MakeClients) -> None:
    """Remedy 2, live: a subnet brings an ENI with as many connections again, and what is held stays."""
    lab = up(nat=100)
    sample = [clients(lab).tcp()]
    assert lab.burst(30, leave_open=True, connect_timeout_s=1.5).tcp.established == 19
    lab = up(nat=100, subnets="private-a, private-b")
    assert changes(lab) == ["+eni-private-b"]
    assert slots(lab, "eni-private-a") == 20
    assert all(answers(each) for each in sample)
    burst = lab.burst(60, connect_timeout_s=1.5)
    assert (burst.tcp.established, burst.bottleneck) == (20, "hyperplane_eni")
    assert all(answers(each) for each in sample)


def test_a_limit_that_grows(up: Callable[..., Lab], clients: MakeClients) -> None:
    """Limits of both nodes grow with everything held, and count what is held already."""
    require_sizes_that_change()
    lab = up(eni=10, nat=10)
    sample = [clients(lab).tcp()]
    assert lab.burst(20, leave_open=True, connect_timeout_s=1.5).tcp.established == 9
    lab = up(eni=16, nat=14)
    burst = lab.burst(20, connect_timeout_s=1.5)
    assert (burst.tcp.established, burst.bottleneck) == (4, "nat_gateway")
    assert all(answers(each) for each in sample)
    assert lab.topology.hyperplane_eni.connection_limit == 16


def test_a_limit_that_shrinks_to_what_is_held(up: Callable[..., Lab]) -> None:
    """A limit may become what is held, to the connection, and then holds."""
    require_sizes_that_change()
    lab = up()
    lab.burst(12, leave_open=True)
    lab = up(eni=12)
    assert lab.burst(5, connect_timeout_s=1.5).tcp.established == 0
    assert slots(lab, "eni-private-a") == 12


@pytest.mark.parametrize(
    ("change", "came", "of"),
    [
        ({"functions": SEARCH}, {"+fn-search", "+eni-private-b-web"}, ("search", "cache")),
        ({"servers": STORE}, {"+srv-store"}, ("checkout", "store")),
    ],
    ids=("a function", "a server"),
)
def test_what_comes_works_and_what_was_stays(
    up: Callable[..., Lab], clients: MakeClients, change: dict[str, str], came: set[str], of: tuple[str, str]
) -> None:
    """A function or a server that is new is used, also by real programs, then goes again; others do not notice."""
    lab = up()
    before = network_of(lab)
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(3)]
    lab = up(**change)
    assert set(changes(lab)) == came
    function, server = of
    assert lab.burst(5, function=function, server=server).tcp.established == 5
    assert all(answers(each) for each in sample)
    lab = up()
    assert len(changes(lab)) == len(came)
    assert network_of(lab) == before
    assert all(answers(each) for each in sample)
    assert lab.burst(5).tcp.established == 5


def test_up_during_a_burst(lab_name: str, write: Write) -> None:
    """The article's remedy while a burst holds its connections: it ends as if nothing had been."""
    lab = Lab.up(write(nat=10), name=lab_name)
    held: list[int] = []

    def up(progress: Progress) -> None:
        if progress.phase == "holding" and not held:  # the burst goes on when this returns
            Lab.up(write(nat=10, eips=2, subnets="private-a, private-b"), name=lab_name)
            held.append(slots(lab, "natgw"))

    result = lab.burst(10, hold_s=0.5, progress=up)
    assert held == [10]
    assert (result.tcp.established, result.bottleneck, result.disagreements) == (10, None, ())
    assert eventually(lambda: slots(lab, "natgw") == 0)
    assert lab.burst(30, connect_timeout_s=1.5).tcp.established == 20


# ── Elastic IPs that go ─────────────────────────────────────────────────────────────────────────────────────


def test_a_removed_elastic_ip_drains(up: Callable[..., Lab], clients: MakeClients) -> None:
    """It takes no new connections, and data of those that it has flows."""
    lab = up(eips=2)
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(6)]
    lab = up(eips=1)
    held = {each.limiter.eip: each.in_use for each in lab.readings() if each.limiter.protocol == "tcp"}
    assert held == {"198.51.100.1": 3, "198.51.100.2": 3}
    assert all(answers(each) for each in sample)
    assert lab.burst(4, leave_open=True).tcp.established == 4
    held = {each.limiter.eip: each.in_use for each in lab.readings() if each.limiter.protocol == "tcp"}
    assert held == {"198.51.100.1": 7, "198.51.100.2": 3}
    assert all(answers(each) for each in sample)


def test_an_elastic_ip_that_has_drained(up: Callable[..., Lab], clients: MakeClients) -> None:
    """Data of its connections flows until its end and not after, that of others does; then it can be taken away."""
    ours = clients(up(eips=2))
    sample = [ours.tcp() for _ in range(6)]
    up(eips=1, more=", drain_timeout: 3s")
    assert eventually(lambda: [answers(each, within_s=0.5) for each in sample].count(True) == 3, within_s=60)
    lab = up(eips=1, more=", drain_timeout: 3s")
    assert lab.changed
    assert {each.eip for each in lab.plan.limiters} == {None, "198.51.100.1"}
    assert not up(eips=1, more=", drain_timeout: 3s").changed
    assert "198.51.100.2" not in inside(lab, "inet", "ip route") + inside(lab, "natgw", "nft list ruleset; ip route")
    assert [answers(each, within_s=0.5) for each in sample].count(True) == 3


def test_an_elastic_ip_that_comes_back(up: Callable[..., Lab], clients: MakeClients) -> None:
    """One that drains and is wanted again keeps its connections for good: no rule has a time any more."""
    ours = clients(up(eips=2))
    sample = [ours.tcp() for _ in range(2)]
    assert "meta time" in inside(up(eips=1), "natgw", "nft list ruleset")
    lab = up(eips=2)
    assert "meta time" not in inside(lab, "natgw", "nft list ruleset")
    assert not lab.plan.standing.draining
    assert all(answers(each) for each in sample)


def test_an_elastic_ip_without_connections_just_goes(up: Callable[..., Lab]) -> None:
    """Nothing is there to be drained."""
    up(eips=3)
    lab = up(eips=1)
    assert {each.eip for each in lab.plan.limiters} == {None, "198.51.100.1"}


def test_nine_elastic_ips(lab_name: str, write: Write) -> None:
    """More than a NAT gateway can have are refused at their line, and the lab stays as it is."""
    lab = Lab.up(write(), name=lab_name)
    before = network_of(lab)
    refused = run_lab("up", write(eips=9), "--name", lab_name)
    assert refused.status == 2
    assert "elastic_ips: 9" in refused.stderr
    assert "1 to 8" in refused.stderr
    assert network_of(lab) == before


# ── What would break ────────────────────────────────────────────────────────────────────────────────────────


def test_what_would_break_is_refused_and_done_on_request(lab_name: str, write: Write, clients: MakeClients) -> None:
    """Status 1 and what it would break; with `--disruptive` it is done, and the limit holds from then on."""
    lab = Lab.up(write(), name=lab_name)
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(8)]
    before = network_of(lab)
    refused = run_lab("up", write(eni=5), "--name", lab_name)
    assert (refused.status, refused.stdout) == (1, "")
    assert refused.stderr.splitlines() == [
        f"lab {lab_name} stays as it is, for the change would break connections that are held:",
        "  eni-private-a: the limit of its connections would be 5: 8 connections held",
        "to do it anyway: lab up … --disruptive",
    ]
    assert network_of(lab) == before
    assert all(answers(each) for each in sample)
    done = run_lab("up", write(eni=5), "--name", lab_name, "--disruptive", "--json").json
    assert (done["changed"], done["converged"], done["added"], done["removed"]) == (True, True, [], [])
    assert done["changes"] == ["~ eni-private-a: 20 → 5 connections"]
    assert done["broken"][0]["connections"] == 8
    assert not any(answers(each, within_s=0.5) for each in sample)
    assert slots(lab, "eni-private-a") == 0
    assert lab.burst(9, connect_timeout_s=1.5).tcp.established == 5


def test_a_server_that_moves(up: Callable[..., Lab], clients: MakeClients) -> None:
    """A server with connections does not move without a word; when it has moved it is found, by its name as well."""
    lab = up(servers=STORE)
    to_store, to_cache = clients(lab).tcp("203.0.113.20", 8080), clients(lab).tcp()
    with pytest.raises(ExpectationError, match=r"srv-store: .*: 1 connection held\nto do it anyway"):
        up(servers=STORE.replace("113.20", "113.21"))
    assert answers(to_store)
    lab = up(disruptive=True, servers=STORE.replace("113.20", "113.21"))
    assert not answers(to_store, within_s=0.5)
    assert answers(to_cache)
    assert lab.burst(3, server="store").tcp.established == 3
    assert inside(lab, "checkout", "curl -s --max-time 10 http://store.example.com:8080/").startswith("server: store")


def test_a_subnet_that_goes(up: Callable[..., Lab], clients: MakeClients) -> None:
    """The connections of its ENI are named; on request they break, and those of the other subnet do not."""
    lab = up(subnets="private-a, private-b")
    ours = clients(lab)
    of_a, of_b = (ours.tcp() for _ in range(2))
    with pytest.raises(ExpectationError, match="eni-private-a: it would go: 1 connection held"):
        up(subnets="private-b")
    lab = up(disruptive=True, subnets="private-b")
    assert changes(lab) == ["-eni-private-a"]
    assert not answers(of_a, within_s=0.5)
    assert answers(of_b)
    assert lab.burst(5).tcp.established == 5


def test_connections_that_no_limiter_counts(lab_name: str, write: Write) -> None:
    """An endpoint without a limit has no limiter: its connections are known all the same, and when it gets one."""

    def endpoint(settings: str = "", port: int = 443) -> Path:
        path = write()
        text = path.read_text().replace("port: 443", f"port: {port}")
        cache = f"    - {{name: cache, subnet: private-a, server: cache{settings}}}\n"
        path.write_text(text.replace("functions:\n", f"  interface_endpoints:\n{cache}functions:\n"))
        return path

    lab = Lab.up(endpoint(), name=lab_name)
    lab.burst(8, leave_open=True)
    with pytest.raises(ExpectationError, match="srv-cache: its server process would change: 8 connections held"):
        Lab.up(endpoint(port=444), name=lab_name)
    with pytest.raises(ExpectationError, match="vpce-cache: the limit of its connections to cache would be 5: 8 conn"):
        Lab.up(endpoint(", connections_per_target: 5"), name=lab_name)
    assert not Lab.up(endpoint(", connections_per_target: 10"), name=lab_name).burst(2).tcp.timed_out
    done = run_lab("up", endpoint(), "--name", lab_name).stdout
    assert done.splitlines()[1:] == ["  ~ vpce-cache: 10 connections → no limit"]
    lab = Lab.up(endpoint(", connections_per_target: 5"), name=lab_name, disruptive=True)
    assert lab.burst(9, connect_timeout_s=1.5).tcp.established == 5


def test_without_connections_nothing_breaks(up: Callable[..., Lab]) -> None:
    """Everything can go while nobody uses it, there and back."""
    lab = up(subnets="private-a, private-b", functions=SEARCH, servers=STORE, eips=3)
    lab = up(eni=3)
    assert lab.burst(5, connect_timeout_s=1.5).tcp.established == 3
    lab.down()
    assert left_of(lab.name) == []


def test_faults_on_links_that_stay(up: Callable[..., Lab]) -> None:
    """What `lab impair` has set stays on interfaces that stay, and is forgotten with those that go."""
    lab = up(servers=STORE)
    lab.impair("natgw", interface="inet", rate="100mbit")
    lab.impair("inet", interface="srv-store", silence=True)
    lab = up()
    (left,) = lab.impairments()
    assert (left.node, left.interface) == ("natgw", "inet")
    lab = up(servers=STORE)
    assert len(lab.impairments()) == 1
    assert lab.burst(3, server="store").tcp.established == 3


# ── Failures on the way ─────────────────────────────────────────────────────────────────────────────────────


def failing(monkeypatch: pytest.MonkeyPatch, kind: type, error: BaseException) -> None:
    """Let the making of an object fail after it has been made."""
    do, undo = STEPS[kind]

    def step(site: Any, item: Any) -> None:
        do(site, item)
        raise error

    monkeypatch.setitem(STEPS, kind, (step, undo))


@pytest.mark.parametrize("kind", [VethPair, Ruleset, Process])
@pytest.mark.parametrize(
    "error", [OSError(12, "Cannot allocate memory"), KeyboardInterrupt()], ids=lambda each: type(each).__name__
)
def test_a_step_that_fails_is_taken_back(
    lab_name: str,
    write: Write,
    clients: MakeClients,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: type,
    error: BaseException,
) -> None:
    """The lab is as it was, says so, holds what it held, and can be changed later."""
    lab = Lab.up(write(eips=2), name=lab_name)
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(4)]
    before, plan, said = network_of(lab), lab.plan, list[str]()
    wanted = {"servers": STORE, "functions": SEARCH, "eips": 3, "eni": 30}
    with monkeypatch.context() as broken:
        failing(broken, kind, error)
        with pytest.raises((KernelError, KeyboardInterrupt)):
            Lab.up(write(**wanted), name=lab_name, notice=said.append)
    assert said == [f"what was changed is changed back: lab {lab_name} is as it was"]
    assert lab.complete
    assert Lab.find(lab_name).plan == plan
    assert network_of(lab) == before
    assert all(answers(each) for each in sample)
    assert lab.burst(5).tcp.established == 5
    assert Lab.up(write(**wanted), name=lab_name).burst(5, function="search", server="store").tcp.established == 5


def test_a_change_of_rules_that_fails_is_taken_back(
    lab_name: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a kernel that does not change a set's size that is said, and the lab is as it was."""
    lab = Lab.up(write(), name=lab_name)
    lab.burst(5, leave_open=True)
    said: list[str] = []
    with monkeypatch.context() as old_kernel:
        old_kernel.setattr(nftables, "set_limit", partial(_stays_at_20, nftables.set_limit))
        with pytest.raises(KernelError, match="set connections has room for 20 and should have 30"):
            Lab.up(write(eni=30), name=lab_name, notice=said.append)
    assert said == [f"what was changed is changed back: lab {lab_name} is as it was"]
    assert lab.burst(20, connect_timeout_s=1.5).tcp.established == 15


def test_a_change_that_there_is_no_room_for(lab_name: str, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without room for its record a change does not begin: the lab is up as it was, and can be changed later."""
    lab = Lab.up(write(), name=lab_name)
    before, plan, said = network_of(lab), lab.plan, list[str]()

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.link", no_room)
        with pytest.raises(KernelError, match=f"the record of lab {lab_name} cannot be written"):
            Lab.up(write(eni=30, servers=STORE), name=lab_name, notice=said.append)
    assert said == [f"what was changed is changed back: lab {lab_name} is as it was"]
    assert lab.complete
    assert (Lab.find(lab_name).plan, network_of(lab)) == (plan, before)
    assert Lab.up(write(eni=30, servers=STORE), name=lab_name).burst(5, server="store").tcp.established == 5


def test_whatever_goes_wrong_on_the_way_back_is_said(
    lab_name: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody expects is a notice; what is raised is why the change was taken back, and `down` works."""
    Lab.up(write(), name=lab_name)
    said: list[str] = []

    def surprise(*_: object) -> None:
        raise RuntimeError("a surprise")

    with monkeypatch.context() as broken:
        failing(broken, VethPair, OSError(12, "Cannot allocate memory"))
        broken.setattr("lab.kernel.state.Record.revert", surprise)
        with pytest.raises(KernelError, match="Cannot allocate memory"):
            Lab.up(write(servers=STORE), name=lab_name, notice=said.append)
    assert said == [
        f"lab {lab_name} is half changed; take it down, then up again: {runnable(f'lab down --lab {lab_name}')}",
        "a surprise",
    ]
    Lab.find(lab_name).down()
    assert left_of(lab_name) == []


def test_a_removal_that_fails_leaves_what_down_takes_away(
    lab_name: str, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is named, the lab is half built and says so, and `down` leaves nothing of it."""
    Lab.up(write(eips=2, servers=STORE), name=lab_name)
    said: list[str] = []

    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("lab.kernel.rtnl.remove_route", refuse)
    with pytest.raises(KernelError, match=r"refused a step: removing .*: route .*Operation not permitted"):
        Lab.up(write(), name=lab_name, notice=said.append)
    down = runnable(f"lab down --lab {lab_name}")
    assert said == [f"lab {lab_name} is half changed; take it down, then up again: {down}"]
    lab = Lab.find(lab_name)
    assert not lab.complete
    lab.down()
    assert left_of(lab_name) == []


def _stays_at_20(size_of: Callable[[str, str, int], int], table: str, name: str, family: int) -> int:
    """A set's size on a kernel that has not changed that of the connections."""
    return 20 if name == "connections" else size_of(table, name, family)


def changing(lab: str) -> bool:
    """The record says that the lab is on its way."""
    phase = RUN_LAB / lab / "phase"
    return phase.exists() and phase.read_text() == "building"


def growing(lab: str) -> bool:
    """A new namespace is there."""
    return changing(lab) and (NETNS / f"lab-{lab}-srv-store").exists()


def wired(lab: str) -> bool:
    """The new server has its link."""
    with suppress(subprocess.CalledProcessError):  # its namespace has a name a moment before it is there
        return growing(lab) and len(ip("link", namespace=f"lab-{lab}-srv-store") or ()) > 1
    return False


at_each_moment = pytest.mark.parametrize("moment", [changing, growing, wired], ids=lambda each: each.__name__)


@contextmanager
def going(path: Path, lab: str, moment: Callable[[str], bool]) -> Iterator[Any]:
    """`lab up` on a lab that is up, when it has come so far."""
    with start_lab("up", path, "--name", lab) as process:
        try:
            deadline = time.monotonic() + 60
            while not moment(lab) and process.poll() is None:
                assert time.monotonic() < deadline
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@at_each_moment
def test_a_killed_change_can_be_taken_down(lab_name: str, write: Write, moment: Callable[[str], bool]) -> None:
    """However far it came when it was killed: the lab is half built, and `down` leaves nothing of old and new."""
    Lab.up(write(functions=SEARCH, eips=2), name=lab_name)
    with going(write(servers=STORE, subnets="private-a, private-b"), lab_name, moment) as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    lab = Lab.find(lab_name)
    if not lab.complete:
        with pytest.raises(UsageError, match="half built"):
            lab.burst(1)
    lab.down()
    assert left_of(lab_name) == []


@at_each_moment
def test_ctrl_c_during_a_change(lab_name: str, write: Write, moment: Callable[[str], bool]) -> None:
    """Status 130 and the lab as it was, or it was too late and is done; in any case it is whole and works."""
    lab = Lab.up(write(), name=lab_name)
    before = network_of(lab)
    with going(write(servers=STORE, subnets="private-a, private-b", eips=2), lab_name, moment) as process:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert "Traceback" not in said
    now = Lab.find(lab_name)
    assert now.complete
    assert now.lost() == []
    if process.returncode == 130:
        assert f"lab {lab_name} is as it was" in said
        assert network_of(now) == before
    else:
        assert process.returncode == 0
    assert now.burst(5).tcp.established == 5


def test_down_after_changes_leaves_nothing(lab_name: str, write: Write) -> None:
    """Also by a `Lab` from before them, and the host's own network does not notice any of it."""
    before = hosts_own_network()
    lab = Lab.up(write(functions=SEARCH), name=lab_name)
    Lab.up(write(servers=STORE, subnets="private-a, private-b", eips=2), name=lab_name)
    assert {each.name for each in lab.plan.servers} == {"cache", "store"}
    lab.down()
    assert left_of(lab_name) == []
    assert hosts_own_network() == before


@pytest.mark.alone
def test_a_change_that_needs_more_conntrack_entries(lab_name: str, topologies: Path, tmp_path: Path) -> None:
    """A lab that grows raises the host's maximum then, and the last `down` restores it."""
    setting, record = Path("/proc/sys/net/netfilter/nf_conntrack_max"), State().conntrack_max_record
    found = int(setting.read_text(encoding="utf-8"))
    if record.exists() or found > 300_000:
        pytest.skip(f"net.netfilter.nf_conntrack_max is {found:,} already: there is nothing to raise")
    path = tmp_path / "growing.yaml"
    text = (topologies / "seven_subnets_eight_eips.yaml").read_text()
    subnets = text[text.index("subnets: [") :].partition("]")[0] + "]"
    path.write_text(text.replace(subnets, subnets.partition(",")[0] + "]"))
    lab = Lab.up(path, name=lab_name)
    assert int(setting.read_text(encoding="utf-8")) == found
    path.write_text(text)
    Lab.up(path, name=lab_name)
    assert int(setting.read_text(encoding="utf-8")) > 800_000
    lab.down()
    assert int(setting.read_text(encoding="utf-8")) == found


def test_a_dry_run_says_what_up_then_does(lab_name: str, write: Write, clients: MakeClients) -> None:
    """Of a lab that is up the change, in the lines of the real one, with what breaks; until then nothing changes."""
    lab = Lab.up(write(), name=lab_name)
    ours = clients(lab)
    sample = [ours.tcp() for _ in range(8)]
    before, plan = network_of(lab), lab.plan
    path = write(eni=5, eips=2, servers=STORE)
    dry, dry_document = (run_lab("up", path, "--name", lab_name, "--dry-run", *more) for more in ((), ("--json",)))
    assert (dry.status, dry_document.status) == (0, 0)
    assert (network_of(lab), Lab.find(lab_name).plan) == (before, plan)
    assert all(answers(each) for each in sample)

    done = run_lab("up", path, "--name", lab_name, "--disruptive")
    assert dry.stdout.splitlines() == [f"lab {lab_name} would converge", *done.stdout.splitlines()[1:]]
    assert "  ~ eni-private-a: 20 → 5 connections" in done.stdout.splitlines()
    breaks = "eni-private-a: the limit of its connections would be 5: 8 connections held"
    assert (dry.stderr, done.stderr) == (f"would break: {breaks}\n", f"broken: {breaks}\n")
    document = dry_document.json
    assert [f"  {line}" for line in document["changes"]] == done.stdout.splitlines()[1:]
    assert (document["changed"], document["added"], document["broken"][0]["connections"]) == (True, ["srv-store"], 8)

    again = run_lab("up", path, "--name", lab_name, "--dry-run")
    assert again == (0, f"lab {lab_name} is up already, just as {path} has it\n", "")


def test_what_is_recorded_is_what_was_loaded(lab_name: str, write: Write) -> None:
    """To the letter, in whatever locale: a topology file is UTF-8."""
    path = write()
    path.write_bytes("# für Köln\r\n".encode() + path.read_bytes())
    done = run_lab("up", path, "--name", lab_name, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.status == 0, done.stderr
    assert Lab.find(lab_name).topology_text == path.read_bytes().decode()


def test_what_is_said(lab_name: str, write: Write) -> None:
    """A change in a few lines, and nothing for none."""
    Lab.up(write(), name=lab_name)
    done = run_lab("up", write(eips=2, servers=STORE), "--name", lab_name)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"lab {lab_name} converged",
        "  + server srv-store (203.0.113.20)",
        "  ~ resolver: restarted, DNS paused for a moment",
        "  + Elastic IP 198.51.100.2 of natgw",
    ]
    again = run_lab("up", write(eips=2, servers=STORE), "--name", lab_name, "--json").json
    assert (again["changed"], again["converged"], again["added"], again["changes"]) == (False, False, [], [])


def test_another_quota_of_the_resolver(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """The set by which questions are counted is in a table of the netdev family, and changes in place as others do."""
    text = (topologies / "resolver_quota.yaml").read_text(encoding="utf-8")
    path = tmp_path / "quota.yaml"
    path.write_text(text, encoding="utf-8")
    first = lab_up(path)
    path.write_text(text.replace("packets_per_second: 1024", "packets_per_second: 512"), encoding="utf-8")
    assert Lab.up(path, name=first.name).changed

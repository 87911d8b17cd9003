"""`lab why` on real labs: who refused is named, each command that is told prints its number, connections are found.

What conntrack, nft and tcpdump show in the same namespaces is the other account.
"""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from typer.testing import CliRunner

from lab.cli.commands import app
from lab.kernel.invoker import in_sandbox
from lab.lab import Lab
from tests.support.command import bare, run_lab
from tests.support.labs import Clients, eventually, inside, slots
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp

MakeClients = Callable[[Lab], Clients]
Small = Callable[..., Lab]

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
QUICK_S = 0.9
"""Too short for a SYN to come again."""
ENTRY = re.compile(
    r"(?P<state>[A-Z_]+) (?:\[UNREPLIED\] )?src=(?P<src>\S+) dst=\S+ sport=(?P<sport>\d+) dport=\d+ "
    r"(?:\[UNREPLIED\] )?src=\S+ dst=(?P<nat>\S+) sport=\d+ dport=(?P<nport>\d+)"
)


def said(*arguments: object) -> str:
    """What `lab why` says, without a process for each."""
    ended = CliRunner().invoke(app, ["why", *map(str, arguments)], catch_exceptions=False)
    assert (ended.exit_code, ended.stderr) == (0, "")
    return ended.stdout


def why(lab: Lab, *arguments: str) -> Any:
    """The document of `lab why`."""
    return json.loads(said("--lab", lab.name, *arguments, "--json"))


def followed(lab: Lab, end: str, *arguments: str) -> Any:
    """The only trace of a connection."""
    (trace,) = why(lab, "--connection", end, *arguments)["traces"]
    return trace


def hops(trace: Any) -> dict[str, Any]:
    """Node → what it has."""
    return {each["node"]: each for each in trace["hops"]}


def tracked(lab: Lab, node: str) -> list[re.Match[str]]:
    """What `conntrack -L` shows of a node's established connections."""
    return list(ENTRY.finditer(inside(lab, node, "conntrack -L -p tcp --state ESTABLISHED 2>/dev/null")))


def refused(lab: Lab, node: str, table: str) -> list[str]:
    """The first ends of what a node has refused, as nft lists them."""
    listed = inside(lab, node, f"nft list set ip {table} refused")
    return [f"{address}:{port}" for address, port in re.findall(r"([\d.]+) \. (\d+) \. 203\.", listed)]


def printed(command: str) -> str:
    """What a shell prints."""
    return subprocess.run(["sh", "-c", bare(command)], capture_output=True, text=True, check=True, timeout=30).stdout


def shows(evidence: Any) -> bool:
    """Whether a command prints its number, as a number of its own."""
    return re.search(rf"(?<!\d){evidence['value']}(?!\d)", printed(evidence["command"])) is not None


def unproved(document: Any) -> list[str]:
    """Evidence whose command shows something else."""
    return [each["what"] for each in document["evidence"] if each["value"] is not None and not shows(each)]


# ── A NAT gateway that is full ──────────────────────────────────────────────────────────────────────────────


class Burst(NamedTuple):
    """A burst in a lab, and when it was, in Unix time."""

    lab: Lab
    began_s: float
    ended_s: float


@pytest.fixture
def burst(lab_up: LabUp) -> Burst:
    """40 connections in the topology `tiny`: 30 are held, and the NAT gateway has refused 10.

    Each test has its own, for the kernel forgets: half-open connections after 120 s, refused ones after 140 s.
    """
    require_machine("conntrack", "tcpdump")
    lab = lab_up(TOPOLOGIES / "tiny.yaml")
    began_s = time.time()
    result = lab.burst(40, connect_timeout_s=QUICK_S, leave_open=True)
    assert (result.tcp.established, result.bottleneck) == (30, "nat_gateway")
    return Burst(lab, began_s, time.time())


@pytest.fixture
def exhausted(burst: Burst) -> Lab:
    """The lab of that burst."""
    return burst.lab


def test_who_refused(burst: Burst) -> None:
    """The NAT gateway is named with what it refused, when, and that it is full; ENIs that are full are not accused."""
    asked_s = time.time()
    document = why(burst.lab)
    took_s = time.time() - asked_s
    assert "natgw with 2 Elastic IPs" in document["headline"]
    natgw, *others = document["limits"]
    assert (natgw["node"], natgw["held"], natgw["limit"]) == ("natgw", 30, 30)
    assert (natgw["refused_connections"], natgw["refused_packets"]) == (10, 10)
    # The moment of the sample and the age of the first refusal are read one after the other.
    assert burst.began_s - took_s <= natgw["first_refusal_s"] <= burst.ended_s
    assert {(each["node"], each["free"], each["refused_connections"]) for each in others} == {
        ("eni-private-a", 0, 0),
        ("eni-private-b", 0, 0),
    }


def test_each_command_prints_its_number(exhausted: Lab) -> None:
    """A person who copies a command sees what was claimed."""
    document = why(exhausted)
    claimed = {each["what"]: each["value"] for each in document["evidence"]}
    assert claimed["connections refused"] == 10
    assert claimed["connections held"] == 30
    assert claimed["active connections"] == 30
    assert unproved(document) == []


def test_what_cloudwatch_would_show(exhausted: Lab) -> None:
    """The metrics of the NAT gateway are the kernel's numbers."""
    shown = why(exhausted)["cloudwatch"]
    assert shown["nat_gateways"]["natgw"] == {
        "ErrorPortAllocation": 10,
        "ActiveConnectionCount": 30,
        "ConnectionAttemptCount": 40,
        "ConnectionEstablishedCount": 30,
        "IdleTimeoutCount": 0,
    }
    assert "in no metric" in shown["blind_spot"]


def test_for_people(exhausted: Lab) -> None:
    """In a pipe it is plain text, in the promised order."""
    ended = run_lab("why", "--lab", exhausted.name, TERM="xterm-256color")
    assert (ended.status, ended.stderr) == (0, "")
    assert "\x1b" not in ended.stdout
    parts = [
        "natgw with 2 Elastic IPs",
        "natgw to cache (2 Elastic IPs) refused 10 connections, 10 SYNs; it holds 30 of 30 now",
        "Refused nothing:",
        "The evidence:",
        "CloudWatch would show since `lab up`:",
        "What would help checkout, connecting to cache:",
        "With all slots free, the first connection is lost beyond 30: the NAT gateway binds.",
        "A third Elastic IP for natgw: 40 connections instead of 30; then the Hyperplane ENI binds.",
    ]
    places = [ended.stdout.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


def test_a_connection_that_is_held(exhausted: Lab) -> None:
    """Each node's translation is the one that `conntrack -L` shows there."""
    behind_natgw = {f"{each['src']}:{each['sport']}" for each in tracked(exhausted, "natgw")}
    at_enis = tracked(exhausted, "eni-private-a")
    at_eni = next(each for each in at_enis if f"{each['nat']}:{each['nport']}" in behind_natgw)
    trace = followed(exhausted, f"{at_eni['src']}:{at_eni['sport']}")
    behind = f"{at_eni['nat']}:{at_eni['nport']}"
    (at_natgw,) = (each for each in tracked(exhausted, "natgw") if f"{each['src']}:{each['sport']}" == behind)
    found = hops(trace)
    assert found["eni-private-a"]["leaves_as"] == behind
    assert found["natgw"]["leaves_as"] == f"{at_natgw['nat']}:{at_natgw['nport']}"
    assert [each["node"] for each in trace["hops"]] == ["fn-checkout", "eni-private-a", "vpc", "natgw", "srv-cache"]
    assert found["natgw"]["conntrack"]["state"] == at_natgw["state"] == "ESTABLISHED"
    assert found["natgw"]["slot"] in {"eip1_cache_tcp", "eip2_cache_tcp"}
    assert (trace["outcome"], trace["died_at"]) == ("established", None)


def test_a_connection_by_its_other_names(exhausted: Lab) -> None:
    """From behind the ENI, and from the Elastic IP, the same connection is found."""
    at_natgw = tracked(exhausted, "natgw")[-1]
    public = followed(exhausted, f"{at_natgw['nat']}:{at_natgw['nport']}")
    private = followed(exhausted, f"{at_natgw['src']}:{at_natgw['sport']}", "--to", "cache")
    inner = followed(exhausted, public["source"])
    assert public["source"] == private["source"] == inner["source"]
    assert hops(inner)["natgw"]["leaves_as"] == f"{at_natgw['nat']}:{at_natgw['nport']}"


def test_a_connection_that_was_refused(burst: Burst, exhausted: Lab) -> None:
    """It died at the NAT gateway; the ENI still waits for an answer."""
    behind = refused(exhausted, "natgw", "nat_gateway")[0]
    trace = followed(exhausted, behind)
    assert (trace["outcome"], trace["died_at"], trace["server"]) == ("refused", "natgw", "cache")
    assert 0 < hops(trace)["natgw"]["refused_ago_s"] <= time.time() - burst.began_s
    assert (
        hops(trace)[next(each for each in hops(trace) if each.startswith("eni-"))]["conntrack"]["state"] == "SYN_SENT"
    )
    assert "its 30 connections to cache (2 Elastic IPs) were taken" in trace["conclusion"]
    lines = said("--lab", exhausted.name, "--connection", trace["source"]).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == [each["node"] for each in trace["hops"]]
    assert lines[-1].startswith("It died at natgw, a NAT gateway, which refused it ")


def test_a_connection_that_nobody_has_seen(exhausted: Lab) -> None:
    """That is an answer, too, with the addresses that connections have."""
    assert followed(exhausted, "100.65.0.0:1")["outcome"] == "never_seen"
    foreign = followed(exhausted, "192.168.1.1:80")
    assert foreign["outcome"] == "never_seen"
    assert "those of checkout have 100.65.0.0 to 100.65.31.255" in foreign["conclusion"]
    assert followed(exhausted, "198.51.100.1:1023")["conclusion"].count("natgw has no connection from") == 1


# ── An ENI that is full ─────────────────────────────────────────────────────────────────────────────────────


def test_a_full_eni(small: Small, clients: MakeClients, tmp_path: Path) -> None:
    """The ENI is named, CloudWatch sees nothing of it, and a refused connection died there; so says its record."""
    lab = small(eni=10, nat=20)
    options = ("-n", 14, "--connect-timeout", QUICK_S, "--leave-open", "--record", tmp_path / "runs")
    assert run_lab("burst", "--lab", lab.name, *options).status == 0
    document = why(lab)
    assert document["headline"].endswith(": eni-private, 10 connections")
    assert document["limits"][0]["refused_connections"] == 4
    assert {each["destination"]: each["free"] for each in document["limits"][1:]} == {"cache": 10, "store": 20}
    assert "ErrorPortAllocation is 0, so CloudWatch looks healthy" in document["cloudwatch"]["blind_spot"]
    assert document["remedies"][0]["threshold_after"] == 20
    assert unproved(document) == []
    trace = followed(lab, refused(lab, "eni-private", "hyperplane_eni")[0])
    assert (trace["outcome"], trace["died_at"]) == ("refused", "eni-private")
    assert hops(trace)["natgw"]["conntrack"] is None
    (record,) = (tmp_path / "runs").iterdir()
    of_run = json.loads(said(record, "--json"))
    assert of_run["run"] == record.name
    assert of_run["headline"] == document["headline"]
    assert of_run["limits"][0]["refused_connections"] == 4
    assert [each["sentence"] for each in of_run["remedies"]] == [each["sentence"] for each in document["remedies"]]
    assert unproved(of_run) == []
    assert re.search(r"The first refusal was \d+\.\d s after the run began", said(record))
    if not in_sandbox():  # where `lab capture` reads what is refused, which has tests of its own
        assert "203.0.113.10.443: Flags [S]" in watched(document, lambda: attempted(lab, clients))


def watched(document: Any, attempt: Callable[[], object]) -> str:
    """What the command for tcpdump shows of an attempt, as it is refused."""
    (live,) = (each for each in document["evidence"] if each["value"] is None)
    command = bare(live["command"]).replace("tcpdump", "timeout 30 tcpdump -c 1")
    with subprocess.Popen(command.split(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tcpdump:
        assert tcpdump.stderr is not None
        assert any("listening on" in line for line in tcpdump.stderr)
        attempt()
        shown, _ = tcpdump.communicate(timeout=30)
    return shown


def test_the_last_of_two_bursts(small: Small) -> None:
    """Right after a burst that one limit has stopped and another that a second limit has, the second is named."""
    lab = small(eni=15, nat=10)
    first = lab.burst(12, connect_timeout_s=QUICK_S, leave_open=True)
    second = lab.burst(6, server="store", connect_timeout_s=QUICK_S)
    assert (first.bottleneck, second.bottleneck) == ("nat_gateway", "hyperplane_eni")
    assert why(lab)["limits"][0]["node"] == "eni-private"


# ── No limit ────────────────────────────────────────────────────────────────────────────────────────────────


def attempted(lab: Lab, clients: MakeClients) -> str:
    """The end of a connection that was tried in vain; its socket is closed, so that no SYN comes again."""
    made = clients(lab)
    with pytest.raises(TimeoutError):
        made.tcp(timeout_s=0.2)
    address, port = made.open[-1].getsockname()
    made.open[-1].close()
    return f"{address}:{port}"


def test_a_security_group(lab_up: LabUp, clients: MakeClients) -> None:
    """It is named, never called a limit, its counter is evidence, and a connection died there."""
    lab = lab_up(TOPOLOGIES / "security_group.yaml")
    end = attempted(lab, clients)
    document = why(lab)
    assert document["headline"].startswith("Security group forbids it: egress of locked")
    assert [each["kind"] for each in document["barriers"]] == ["security_group"]
    assert unproved(document) == []
    assert document["remedies"][0]["change"].startswith("Add to egress of the security group locked")
    trace = followed(lab, end)
    assert (trace["outcome"], trace["died_at"]) == ("stopped", "eni-private-a-locked")
    assert "egress of the security-group set locked" in trace["conclusion"]


def test_a_network_acl(lab_up: LabUp, clients: MakeClients) -> None:
    """Answers that are forbidden: the NAT gateway has seen one, the ENI has not."""
    lab = lab_up(TOPOLOGIES / "network_acl.yaml")
    end = attempted(lab, clients)
    trace = followed(lab, end)
    assert (trace["outcome"], trace["died_at"]) == ("stopped", "vpc")
    assert "forbids the answers of cache" in trace["conclusion"]
    assert hops(trace)["eni-private-a"]["conntrack"]["state"] == "SYN_SENT"
    assert hops(trace)["natgw"]["conntrack"]["state"] == "SYN_RECV"
    assert why(lab)["headline"].startswith("Network ACL forbids the answers")


def test_a_real_connection_and_what_befalls_it(small: Small, clients: MakeClients) -> None:
    """Its sockets are seen at both ends; a silent server, and being forgotten as idle, are told apart from a limit."""
    lab = small(timeouts="idle_timeout: 8s, half_open_timeout: 8s, port_hold: 0s")
    quiet = why(lab)
    assert quiet["headline"].startswith("No limit reached")
    assert unproved(quiet) == []
    made = clients(lab)
    address, port = made.tcp().getsockname()
    alive = followed(lab, f"{address}:{port}")
    assert (alive["outcome"], hops(alive)["srv-cache"]["socket"]) == ("established", "ESTABLISHED")
    lab.impair("cache", silence=True)
    silent = followed(lab, attempted(lab, clients))
    assert (silent["outcome"], silent["died_at"]) == ("silent", "srv-cache")
    assert "srv-cache inet is set to silence" in silent["conclusion"]
    document = why(lab)
    assert "lab impair has set faults on the way: srv-cache" in document["headline"]
    assert [each for each in unproved(document) if "silence" in each] == []
    assert eventually(lambda: slots(lab, "eni-private") == 0)
    address, port = made.open[0].getsockname()
    forgotten = followed(lab, f"{address}:{port}")
    assert (forgotten["outcome"], forgotten["died_at"]) == ("forgotten", "eni-private")
    assert "its socket is still open, so it was idle for longer than 8 s" in forgotten["conclusion"]

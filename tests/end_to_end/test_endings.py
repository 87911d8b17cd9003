"""Who ended a connection, by the kernel's count and by the clients': the server, a NAT node, or a client; FIN or RST.

Look-alikes have different causes: an idle time-out of a NAT node, of the server, a server that turns clients away, and
a NAT node that never knew the connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from lab.burst.endings import Endings
from lab.cli.commands import app
from lab.diagnosis.verdict import judge
from lab.lab import Lab
from tests.support.command import bare, run_lab
from tests.support.labs import Clients, eventually, slots
from tests.support.programs import start_closing_server
from traffic.result import NOT_TLS

if TYPE_CHECKING:
    from lab.burst.result import BurstResult
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine

_FILE = """\
version: 1
name: endings
hyperplane_eni: {{connection_limit: 50, port_hold: 0s, idle_timeout: {eni}}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private, cidr: 10.0.1.0/24, default_route: {route}}}
  nat_gateways:
    - {{name: natgw, subnet: public, connections_per_destination: 50, port_hold: 0s, idle_timeout: {nat}}}
    - {{name: green, subnet: public}}
functions:
  - {{name: checkout, subnets: [private]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
  - {{name: real, hostname: real.example.com, address: 203.0.113.20, port: 8080, embedded: false}}
  - {{name: polite, hostname: polite.example.com, address: 203.0.113.30, port: 8080, embedded: false}}
  - {{name: rude, hostname: rude.example.com, address: 203.0.113.40, port: 8080, embedded: false}}
"""
IDLE: dict[str, Any] = {"connections": 2, "rate_per_s": 0.6, "reuse": True, "requests_per_connection": 9}
"""Two invocations, 1.7 s apart; the second one finds the first one's connection."""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the topology file, or write it anew with something else in it."""

    def write(**changes: str) -> Path:
        path = tmp_path / "endings.yaml"
        path.write_text(_FILE.format(**{"eni": "350s", "nat": "350s", "route": "natgw"} | changes))
        return path

    return write


def ended(*arguments: str) -> str:
    """What a command says, without a process for each."""
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def printed(command: str) -> str:
    """What a shell prints."""
    command = bare(command)
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30).stdout


def outcome(result: BurstResult) -> tuple[Any, ...]:
    """Connections established, reset and closed by the server; invocations served; where accounts differ; the cause."""
    tcp = result.tcp
    ended = (tcp.established, tcp.reset, tcp.closed_by_server)
    return (*ended, result.invocations.served, result.disagreements, judge(result).cause)


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_four_outcomes(lab_up: LabUp, write: Callable[..., Path], engine: Engine) -> None:
    """FIN and RST of the server, and of the client, are counted apart, by the kernel and by every engine."""
    lab = lab_up(write())
    for server, way, keep in (("polite", "answer-fin", 0), ("real", "fin", 2), ("rude", "rst", 2)):
        start_closing_server(lab, server, way, keep)
    polite = lab.burst(5, server="polite", engine=engine, requests_per_connection=1)
    assert outcome(polite) == (5, 0, 5, 5, (), "no_limit")
    assert polite.endings == Endings(closed_by_server=5)
    # Two are kept by the server, until their clients close them.
    full = lab.burst(5, server="real", engine=engine, hold_s=0.3)
    assert outcome(full) == (5, 0, 3, 5, (), "closed_by_server")
    assert full.endings == Endings(closed_by_server=3, closed_by_client=2)
    rude = lab.burst(5, server="rude", engine=engine, hold_s=0.3)
    assert outcome(rude) == (2, 3, 0, 5, (), "reset_by_server")
    assert rude.endings == Endings(reset_by_server=3, closed_by_client=2)
    by_client = lab.burst(5, server="cache", engine=engine, close="reset")
    assert outcome(by_client) == (5, 0, 0, 5, (), "no_limit")
    assert by_client.endings == Endings(reset_by_client=5)


@pytest.mark.parametrize(
    ("node", "forgets", "shown"),
    [
        ("natgw", "nat", "IdleTimeoutCount of natgw rises by 1"),
        ("eni-private", "eni", "No CloudWatch metric shows it"),
    ],
)
def test_an_idle_time_out_is_named(  # noqa: PLR0917 -- a case's three values
    lab_up: LabUp, write: Callable[..., Path], tmp_path: Path, node: str, forgets: str, shown: str
) -> None:
    """The node whose idle timeout it was is named by burst, why, why of the run, and report; reuse is no remedy."""
    lab = lab_up(write(**{forgets: "1s"}))
    load = ("-n", 2, "--rate", 0.6, "--reuse", "--requests-per-connection", 9, "--json", tmp_path / "burst.json")
    page = tmp_path / "page.html"
    burst = run_lab("burst", "--lab", lab.name, "--server", "cache", *load)
    assert burst.status == 0
    said = [burst.stdout, ended("why", "--lab", lab.name), ended("why", "last")]
    ended("report", "last", "-o", str(page))
    told = f"Idle time-out of {node}: 1 connection forgotten, and reset when its client went on"
    for text in said:
        assert (told in text, shown in text) == (True, True), text
        assert "Reuse connections" not in text
        assert "reuse of connections across invocations" not in text
    assert "1 connection forgotten, and reset when its client went on" in page.read_text()
    assert "What would help" not in page.read_text()
    document = json.loads(ended("why", "--lab", lab.name, "--json"))
    evidence = [each for each in document["evidence"] if each["node"] == node and "no entry" in each["what"]]
    evidence += [each for each in document["evidence"] if each["node"] == node and "fallen idle" in each["what"]]
    assert [each["value"] for each in evidence] == [1, 1]
    assert [int(re.findall(r"\d+", printed(each["command"]))[0]) for each in evidence] == [1, 1]
    (forgot,) = json.loads((tmp_path / "burst.json").read_text())["endings"]["nodes"]
    assert (forgot["node"], forgot["reset"], forgot["idle_timeouts"], forgot["idle_timeout_s"]) == (node, 1, 1, 1)


@pytest.mark.parametrize(
    ("way", "expected", "cause"),
    [
        ("idle-fin", Endings(closed_by_server=1, closed_by_client=1), "no_limit"),
        ("idle-rst", Endings(reset_by_server=1, closed_by_client=1), "reset_by_server"),
    ],
)
def test_a_server_that_ends_idle_connections(
    lab_up: LabUp, write: Callable[..., Path], way: str, expected: Endings, cause: str
) -> None:
    """The next invocation opens a new connection, as HTTP clients do, and no NAT node is blamed."""
    lab = lab_up(write())
    start_closing_server(lab, "real", way)
    result = lab.burst(**IDLE, server="real")
    assert (result.tcp.attempted, result.invocations.served, result.invocations.reused) == (2, 2, 0)
    # The second connection may fall idle before it is closed, or not.
    ended = replace(result.endings, closed_by_client=1, closed_by_server=min(result.endings.closed_by_server, 1))
    ended = replace(ended, reset_by_server=min(result.endings.reset_by_server, 1))
    assert (ended, judge(result).cause) == (expected, cause)
    assert lab.why().cause == "no_limit"


def test_a_server_that_answers_a_client_hello_with_text_and_closes(lab_up: LabUp, write: Callable[..., Path]) -> None:
    """A FIN that comes in a TLS handshake is no RST, in both accounts; a client that fails before it sends its own."""
    lab = lab_up(write())
    start_closing_server(lab, "real", "answer-fin")
    result = lab.burst(4, server="real", engine="socket", tls=True, connect_timeout_s=5)
    assert result.disagreements == ()
    assert (result.tcp.established, result.tcp.reset, result.endings.reset_by_server) == (4, 0, 0)
    assert result.tls is not None
    assert result.tls.failures == {NOT_TLS: 4}


def test_an_answer_that_comes_after_the_idle_timeout(lab_up: LabUp, write: Callable[..., Path]) -> None:
    """A server that thinks for longer than the NAT gateway remembers: its answer is dropped there without a RST."""
    lab = lab_up(write(nat="1s"))
    start_closing_server(lab, "real", "slow-fin")
    result = lab.burst(1, server="real", engine="socket", requests_per_connection=1, connect_timeout_s=4)
    (forgot,) = result.endings.nodes
    assert (forgot.node, forgot.reset, forgot.idle_timeouts) == ("natgw", 0, 1)
    verdict = judge(result)
    assert verdict.headline == (
        "Idle time-out of natgw: 1 connection forgotten while waiting for an answer, which was dropped"
    )


def test_a_nat_gateway_that_never_knew_a_connection(
    lab_name: str, write: Callable[..., Path], clients: Callable[[Lab], Clients]
) -> None:
    """A route that leads to another NAT gateway: that one resets what it never saw, and no idle time-out is blamed."""
    lab = Lab.up(write(), name=lab_name)
    client = clients(lab).tcp()
    Lab.up(write(route="green"), name=lab_name, disruptive=True)
    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    found = Lab.find(lab_name).why()
    assert (found.cause, found.headline) == (
        "unknown_connections",
        "No limit reached: nat-green reset 1 connection that it did not know, none of them idle",
    )
    assert eventually(lambda: slots(lab, "eni-private") == 0)

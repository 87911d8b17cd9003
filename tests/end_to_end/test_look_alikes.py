"""The table of look-alikes: every cause that a lab can make, by every engine that can meet it, is named as itself.

A row makes one cause in a fresh lab, mostly a topology that ships, with limits of a few connections. A burst of each
engine meets it; the verdict, the record of the burst and `lab why` of the lab have to agree on its name.
docs/look-alikes.md is the same table for people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from lab.burst.load import Load
from lab.burst.run import Progress
from lab.diagnosis import drops
from lab.diagnosis.evidence import of_burst
from lab.diagnosis.findings import CAUSES, find
from lab.diagnosis.verdict import judge
from lab.kernel.netns import Namespaces
from lab.nodes.diagnosis import limiting_kinds
from lab.observe.samples import Sample
from lab.runs import load, save
from tests.support.command import start_lab
from tests.support.labs import eventually, inside
from tests.support.programs import start_closing_server
from tests.support.runs import explained_run
from tests.support.topologies import BEHIND_A_TRANSIT_GATEWAY, changed

if TYPE_CHECKING:
    from lab.diagnosis.explanation import Explanation
    from lab.lab import Lab
    from lab.pytest_plugin import LabUp
    from lab.runs import Run
    from traffic.spec import Engine

ALL: tuple[Engine, ...] = ("packet", "socket", "scapy")
SOON_S, QUICK_S, PATIENT_S = 0.9, 1.0, 5.0
"""How long clients wait where all connections are to time out, where some are, and where none is."""


def _nothing(_: Lab) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cause, and how a lab makes it."""

    cause: str
    """The key of `CAUSES`, and behind it the kind of the limit, or of what drops packets, if the cause has one."""
    topology: str
    """One that ships."""
    scale: int = 1
    changes: Mapping[str, str] = field(default_factory=dict)
    """Texts of the topology file → texts in their place."""
    made: Callable[[Lab], object] = _nothing
    """What is done once, before the first burst."""
    burst: Mapping[str, Any]
    """The burst; what was half-open before it is forgotten, and what it established is left open."""
    while_it_runs: Callable[[Lab], Callable[[Progress], None]] = lambda _: lambda _: None
    engines: tuple[Engine, ...] = ALL
    now: str | None = None
    """What `lab why` of the lab names afterwards; the same cause unless the kernel keeps no evidence of it."""


def _firewall(node: str, family: str, chain: str) -> Callable[[Lab], object]:
    """Something in a node that drops packets, and that nobody has told the lab of."""
    return lambda lab: inside(lab, node, f"nft 'table {family} firewall {{ chain drops {{ {chain} }}; }}'")


def _serving(way: str) -> Callable[[Lab], object]:
    """A program on the port of the server `web` that treats its clients in this way."""
    return lambda lab: start_closing_server(lab, "web", way)


def _silence(lab: Lab) -> None:
    lab.impair("cache", silence=True)


def _neighbour(lab: Lab) -> None:
    """Another function's connections hold all slots of the ENI."""
    lab.burst(3, function="search", leave_open=True)


def _half_open(lab: Lab) -> None:
    """Connections to a server that was silent for a while hold all slots of the ENI."""
    _silence(lab)
    lab.burst(3, connect_timeout_s=SOON_S)
    lab.clear_impairments()


def _silent_at_first(lab: Lab) -> Callable[[Progress], None]:
    """The server is silent for the first SYNs only."""
    _silence(lab)

    def look(now: Progress) -> None:
        if now.t_s > SOON_S:
            lab.clear_impairments()

    return look


def _taken_at_first(lab: Lab) -> Callable[[Progress], None]:
    """A program holds the only slot of the ENI until it closes its connection."""
    with Namespaces() as namespaces:
        server = lab.topology.servers[0]
        address = (str(server.address), server.port)
        held = namespaces[lab.plan.fleets[0].namespace].run(socket.create_connection, address)

    def look(now: Progress) -> None:
        if now.t_s > SOON_S:
            held.close()

    return look


AT_ONCE = {"connections": 3, "connect_timeout_s": QUICK_S}
IN_VAIN = {"connections": 2, "connect_timeout_s": SOON_S}
IDLE = {"connections": 2, "rate_per_s": 0.6, "reuse": True, "requests_per_connection": 9}
"""Two invocations, 1.7 s apart; the second finds the first one's connection."""
NO_LIMIT = "no_limit"
ANSWERS = {"ingress: []": "ingress: [{rule: 100, action: allow, from: 10.0.0.0/8}]"}

TABLE = {
    "ENI full": Row(
        cause="limit hyperplane_eni",
        topology="one_subnet_two_eips",
        scale=20_000,
        burst=AT_ONCE | {"connections": 4},
    ),
    "NAT gateway full": Row(cause="limit nat_gateway", topology="one_subnet", scale=20_000, burst=AT_ONCE),
    "NAT gateway full to each address of a name": Row(
        cause="limit nat_gateway", topology="two_addresses", scale=20_000, burst=AT_ONCE | {"connections": 5}
    ),
    "ports per client used up": Row(
        cause="ports_per_client nat_gateway", topology="ports_per_client", scale=1024, burst=AT_ONCE
    ),
    "endpoint full": Row(
        cause="limit interface_endpoint",
        topology="privatelink",
        scale=20_000,
        changes={"server: cache}": "server: cache, connections_per_target: 40000}"},
        burst=AT_ONCE,
    ),
    **{
        f"server full, {when_full}": Row(
            cause="limit server",
            topology="server_full",
            changes={"max_connections: 40": "max_connections: 2", "when_full: close\n": f"when_full: {when_full}\n"},
            burst=AT_ONCE,
        )
        for when_full in ("close", "reset", "ignore")
    },
    "throttled": Row(
        cause="throttled",
        topology="two_functions",
        scale=10_000,
        burst=AT_ONCE | {"function": "reports"},
        now=NO_LIMIT,
    ),
    "noisy neighbour": Row(
        cause="limit hyperplane_eni",
        topology="shared_eni",
        scale=20_000,
        made=_neighbour,
        burst=IN_VAIN | {"function": "checkout", "fresh": False},
    ),
    "half-open pile-up": Row(
        cause="half_open_slots hyperplane_eni",
        topology="half_open",
        scale=100,
        changes={"half_open_timeout: 8s": "half_open_timeout: 120s"},
        made=_half_open,
        burst=IN_VAIN | {"connections": 2, "fresh": False},
    ),
    "no route": Row(cause="dropped no_route", topology="no_route", burst=AT_ONCE),
    "no route in the Transit Gateway": Row(
        cause="dropped no_transit_route",
        topology="transit_gateway",
        changes={"    default_route: egress\n": ""},
        burst=IN_VAIN,
    ),
    "no route to the server's VPC": Row(
        cause="dropped no_vpc_route",
        topology="peering",
        changes={"subnets: [app-a, data-a]": "subnets: [app-b, data-a]"},
        burst=IN_VAIN,
    ),
    "function outside its server's VPC": Row(
        cause="dropped outside_vpc",
        topology="database_in_vpc",
        changes={"\nservers:": "  - {name: outside}\n\nservers:"},
        burst=IN_VAIN | {"function": "outside"},
    ),
    "peering is not transitive": Row(
        cause="dropped not_transitive",
        topology="peering",
        changes=BEHIND_A_TRANSIT_GATEWAY,
        burst=IN_VAIN | {"server": "ledger-db"},
    ),
    "no route back": Row(
        cause="dropped no_route_back",
        topology="peering",
        changes={"subnets: [app-a, data-a]": "subnets: [app-a, data-b]"},
        burst=IN_VAIN,
    ),
    "target's security group": Row(
        cause="dropped ingress",
        topology="database_in_vpc",
        changes={
            "subnets: [private-a], security_groups: [lambda-sg]": "subnets: [private-a], security_groups: [other]"
        },
        burst=IN_VAIN,
    ),
    "security group": Row(cause="dropped security_group", topology="security_group", burst=IN_VAIN),
    "endpoint's security group": Row(
        cause="dropped endpoint_ingress",
        topology="privatelink",
        changes={
            "server: cache}": "server: cache, security_groups: [endpoint-sg]}",
            "functions:": "  security_groups:\n    - {name: endpoint-sg, ingress: [{from: 10.9.0.0/16}]}\nfunctions:",
        },
        burst=IN_VAIN,
    ),
    "network ACL of the function's subnet": Row(cause="dropped network_acl", topology="network_acl", burst=AT_ONCE),
    "network ACL of the NAT gateway's subnet": Row(
        cause="dropped network_acl",
        topology="network_acl",
        changes={"subnets: [private-a]\n": "subnets: [public]\n"} | ANSWERS,
        burst=IN_VAIN,
    ),
    "DNS quota": Row(
        cause="questions_dropped dns_quota",
        topology="resolver_quota",
        changes={"packets_per_second: 1024": "packets_per_second: 1"},
        burst=IN_VAIN,
    ),
    "DNS over TCP": Row(
        cause="dns_tcp_limit dns_tcp",
        topology="resolver_tcp",
        changes={"tcp_connections: 20": "tcp_connections: 1"},
        burst={"connections": 30, "connect_timeout_s": SOON_S},
        engines=("socket",),
    ),
    "no ephemeral port left": Row(
        cause="ephemeral_ports",
        topology="ec2_beside_lambda",
        changes={"name: bastion, subnet: private": 'name: bastion, subnet: private, ephemeral_ports: "40000-40003"'},
        burst={"connections": 6, "client": "bastion"},
    ),
    "no descriptor left": Row(
        cause="too_many_open_files",
        topology="two_subnets",
        burst={"connections": 8, "descriptors": 6, "connections_per_environment": 4},
    ),
    "idle time-out of the NAT gateway": Row(
        cause="idle_timeout", topology="idle_timeout", changes={"idle_timeout: 5s": "idle_timeout: 1s"}, burst=IDLE
    ),
    "limit waited out": Row(
        cause="waited_out hyperplane_eni",
        topology="one_subnet_two_eips",
        scale=65_000,
        burst={"connections": 1, "connect_timeout_s": PATIENT_S, "fresh": False, "leave_open": False},
        while_it_runs=_taken_at_first,
        now="limit hyperplane_eni",
    ),
    "silent server": Row(
        cause="silence",
        topology="real_programs",
        made=_firewall("web", "ip", "type filter hook input priority 0; policy drop;"),
        burst=IN_VAIN,
        now=NO_LIMIT,
    ),
    "silent name server": Row(
        cause="dns_failed",
        topology="tiny",
        made=_firewall("svc", "bridge", "type filter hook forward priority 0; udp dport 53 drop;"),
        burst=IN_VAIN,
        now=NO_LIMIT,
    ),
    "no program listens": Row(cause="refused", topology="real_programs", burst=AT_ONCE, now=NO_LIMIT),
    "closed by the server": Row(
        cause="closed_by_server",
        topology="real_programs",
        made=_serving("fin"),
        burst=AT_ONCE | {"hold_s": 0.3},
        now=NO_LIMIT,
    ),
    "reset by the server": Row(
        cause="reset_by_server",
        topology="real_programs",
        made=_serving("rst"),
        burst=AT_ONCE | {"hold_s": 0.3},
        now=NO_LIMIT,
    ),
    "no answer": Row(
        cause="no_answer",
        topology="real_programs",
        made=_serving("mute-fin"),
        burst=AT_ONCE | {"connections": 1, "requests_per_connection": 1, "leave_open": False},
        now=NO_LIMIT,
    ),
    "TLS handshake unanswered": Row(
        cause="tls",
        topology="real_programs",
        made=_serving("mute-fin"),
        burst=AT_ONCE | {"tls": True},
        engines=("socket",),
        now=NO_LIMIT,
    ),
    "all packets lost": Row(cause="faults", topology="tiny", made=_silence, burst=IN_VAIN, now="impaired"),
    "first packets lost": Row(
        cause="impaired",
        topology="tiny",
        burst=AT_ONCE | {"connect_timeout_s": PATIENT_S},
        while_it_runs=_silent_at_first,
        now=NO_LIMIT,
    ),
}


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
def test_no_cause_is_taken_for_another(lab_up: LabUp, topologies: Path, tmp_path: Path, row: Row) -> None:
    """Whatever the engine, the verdict, the record and the lab itself name the cause that the row has made."""
    lab = lab_up(changed(topologies / f"{row.topology}.yaml", tmp_path, row.changes), scale=row.scale)
    row.made(lab)
    assert {engine: _named_by(lab, row, engine, tmp_path) for engine in row.engines} == dict.fromkeys(
        row.engines, row.cause
    )
    now = lab.why()
    assert _name(now.cause, _kinds(now)) == (row.cause if row.now is None else row.now)


def _named_by(lab: Lab, row: Row, engine: Engine, directory: Path) -> str:
    """What the verdict on a burst names; the same must be told of its record."""
    run = _recorded(
        lab, Load(**{"engine": engine, "fresh": True, "leave_open": True} | dict(row.burst)), row, directory
    )
    finding = find(of_burst(run.result))
    explanation, verdict = explained_run(run), judge(run.result)
    assert (verdict.cause, verdict.headline) == (explanation.cause, explanation.headline)
    kinds = [limit.kind for limit in finding.limits] + [drop.kind for drop in finding.drops]
    return _name(finding.cause, kinds)


def _recorded(lab: Lab, options: Load, row: Row, directory: Path) -> Run:
    """A burst as its record has it."""
    began_s, samples = time.time(), list[Sample]()
    result = lab.carry(options, row.while_it_runs(lab), sampled=samples.append)
    return load(str(save(lab.record(options, result, samples, began_s), directory / "runs")))


def _kinds(now: Explanation) -> list[str]:
    return [account.limit.first.kind for account in now.refusing] + [drop.kind for drop in now.drops]


def _name(cause: str, kinds: Iterable[str]) -> str:
    return " ".join(dict.fromkeys([cause, *kinds]))


def test_a_frozen_environment(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """A program that is stopped sends no keep-alives: its next request is reset, and the NAT gateway's time-out named.

    While it runs it is never idle for as long as that.
    """
    changes = {"idle_timeout: 5s": "idle_timeout: 2s"}
    lab = lab_up(changed(topologies / "idle_timeout.yaml", tmp_path, changes))
    program = start_lab("exec", "--lab", lab.name, "checkout", "--", sys.executable, "-uc", _KEEPS_ALIVE)
    assert program.stdout is not None
    answers = [program.stdout.readline() for _ in range(30)]
    assert set(answers) == {"answered\n"}
    assert lab.why().cause == NO_LIMIT
    os.kill(program.pid, signal.SIGSTOP)
    assert eventually(lambda: lab.sample().nodes["natgw"].idle_timeouts == 1)
    os.kill(program.pid, signal.SIGCONT)
    _, complaint = program.communicate(timeout=30)
    assert "ConnectionResetError: [Errno 104] Connection reset by peer" in complaint
    assert lab.why().headline == "Idle time-out of natgw: 1 connection forgotten, and reset when its client went on"


_KEEPS_ALIVE = """
import http.client, time
connection = http.client.HTTPConnection("cache.example.com", 443)
while True:
    connection.request("GET", "/")
    connection.getresponse().read()
    print("answered")
    time.sleep(0.1)
"""


def test_the_table_has_every_cause() -> None:
    """And every limit, and all that drops packets; what is not in it is no fault, or has to be made by hand."""
    assert {row.cause.split()[0] for row in TABLE.values()} == CAUSES.keys() - {
        *(NO_LIMIT, "half_open"),  # nothing is lost: SYNs alone were asked for
        *("failed", "lost_parts"),  # what no other cause explains; the lab itself
        "unknown_connections",  # a route that changes under a connection: test_endings.py
    }
    kinds = {row.cause.split()[1] for row in TABLE.values() if " " in row.cause}
    assert kinds == drops.CAUSES.keys() | limiting_kinds()

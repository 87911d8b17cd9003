"""The `lab` command as people and scripts use it: documents, sentences, exit statuses, real programs in the nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import fcntl
import json
import os
from pathlib import Path
import pty
import re
import shutil
import subprocess
from typing import Any

import pytest

from lab.kernel import preflight
from lab.kernel.invoker import runnable
from lab.kernel.processes import processes_in
from lab.lab import Lab
from tests.support.command import LAB, Ended, environment, run_lab
from tests.support.labs import eventually, slots
from tests.support.loaded import IMPORT_TIMES, beyond
from tests.support.machine import NETNS, RUN_LAB, ip, left_of, require_machine

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
QUICK = ("--connect-timeout", "1.2")

Small = Callable[..., Lab]
SmallFile = Callable[..., Path]
Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def tiny() -> Iterator[Lab]:
    """The topology `tiny`, up for all of these tests; they leave no connection open in it."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-cmd") as lab:
        yield lab


@pytest.fixture
def lab(tiny: Lab) -> Run:
    """Run a command on that lab, which holds no connection of an earlier test."""
    tiny.reset()

    def run(verb: str, *arguments: object, **options: Any) -> Ended:
        return run_lab(verb, "--lab", tiny.name, *arguments, **options)

    return run


def is_plain(ended: Ended) -> bool:
    """Whether there are no escape codes in what was said, and no traceback."""
    said = ended.stdout + ended.stderr
    return "\x1b" not in said and "Traceback" not in said


# ── up, list, status, down ──────────────────────────────────────────────────────────────────────────────────


def test_up_list_status_down_for_programs(small_file: SmallFile, lab_name: str) -> None:
    """With `--json` each of them prints one document and nothing else, from `up` to the end."""
    path = small_file(eni=20, nat=10)
    up = run_lab("up", path, "--name", lab_name, "--json")
    assert (up.status, up.stderr) == (0, "")
    namespaces = up.json["namespaces"]
    nothing: dict[str, list[str]] = {"added": [], "removed": [], "changes": [], "broken": []}
    assert up.json == {"lab": lab_name, "changed": True, "converged": False, "namespaces": namespaces, **nothing}
    assert {f"lab-{lab_name}-{node}" for node in ("svc", "fn-checkout", "resolver", "vpc", "natgw")} < set(namespaces)
    again = run_lab("up", path, "--name", lab_name, "--json")
    assert again.json == {**up.json, "changed": False}
    (mine,) = (each for each in run_lab("list", "--json").json if each["lab"] == lab_name)
    assert mine == {"lab": lab_name, "complete": True, "nodes": len(namespaces), "fault": None, "lost": []}
    down = run_lab("down", "--lab", lab_name)
    assert down == (0, f"lab {lab_name} is gone\n", "")
    assert left_of(lab_name) == []
    assert lab_name not in {each["lab"] for each in run_lab("list", "--json").json}


def test_up_list_status_down_for_people(small_file: SmallFile, lab_name: str) -> None:
    """In a pipe each of them prints plain text that says what is up, what to do next, and what was done."""
    path = small_file()
    up = run_lab("up", path, "--name", lab_name, TERM="xterm-256color")
    assert up.stdout.startswith(f"lab {lab_name} is up: 9 namespaces")
    assert f"lab down --lab {lab_name}" in up.stdout
    again = run_lab("up", path, "--name", lab_name)
    assert again.stdout == f"lab {lab_name} is up already, just as {path} has it\n"
    listing = run_lab("list", TERM="xterm-256color")
    assert re.search(rf"^{lab_name} +9 +up", listing.stdout, re.MULTILINE)
    status = run_lab("status", "--lab", lab_name, TERM="xterm-256color")
    assert re.search(r"^eni-private +Hyperplane ENI +10\.0\.1\.4 *$", status.stdout, re.MULTILINE)
    down = run_lab("down", "--lab", lab_name, TERM="xterm-256color")
    assert all(is_plain(each) and each.status == 0 and not each.stderr for each in (up, again, listing, status, down))


def test_a_command_loads_what_it_needs(small_file: SmallFile, lab_name: str) -> None:
    """Of a lab that is up as well: neither numpy nor the topology's models, and netlink only where a lab ends."""
    run_lab("up", small_file(), "--name", lab_name)
    commands = (
        ("list",),
        ("exec", "--lab", lab_name, "cache", "--", "true"),
        ("status", "--lab", lab_name),
        ("reset", "--lab", lab_name),
        ("down", "--lab", lab_name),
    )
    for command in commands:
        done = run_lab(*command, through=IMPORT_TIMES)
        assert (done.status, beyond(command[0], done.stderr)) == (0, []), command


def test_status_for_programs(lab: Run, tiny: Lab) -> None:
    """Status lists every node with its namespace and addresses, and every limit with what it holds now."""
    document = lab("status", "--json").json
    assert (document["lab"], document["complete"]) == (tiny.name, True)
    nodes = {each["node"]: each for each in document["nodes"]}
    assert nodes["natgw"]["kind"] == "nat_gateway"
    assert nodes["natgw"]["namespace"] == f"lab-{tiny.name}-natgw"
    assert nodes["srv-cache"]["addresses"] == ["203.0.113.10"]
    eni, _, first, second = document["limits"][:4]
    assert eni == eni | {
        "node": "eni-private-a",
        "kind": "hyperplane_eni",
        "eip": None,
        "destination": None,
        "protocol": "any",
        "limit": 20,
        "connections": 0,
    }
    assert eni["fill"] == eni["fill"] | {"established": 0, "half_open": [], "closing": 0, "closing_free_s": 0}
    assert {"refused_connections", "refused_packets"} <= eni.keys()
    assert {(each["node"], each["destination"], each["limit"]) for each in (first, second)} == {("natgw", "cache", 15)}


def test_status_on_a_terminal_has_colour(tiny: Lab) -> None:
    """What goes to a terminal has escape codes, and is as wide as the terminal."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        done = subprocess.Popen(
            (LAB, "status", "--lab", tiny.name), stdout=theirs, stderr=theirs, env=environment(TERM="xterm-256color")
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := screen.read(4096):
                shown += chunk
        except OSError:  # EIO: the other end is closed, pty(7)
            pass
        assert done.wait(timeout=60) == 0
    assert b"\x1b[1m" in shown
    assert b"eni-private-a" in shown


def test_down_names_whom_it_ended(small: Small) -> None:
    """A program of somebody's that ended with the lab is named on standard error."""
    made = small()
    node = made.node("vpc").namespace
    with subprocess.Popen(("ip", "netns", "exec", node, "sleep", "60")) as sleeper:
        assert eventually(lambda: any(each.command == "sleep" for each in processes_in([node])))
        down = run_lab("down", "--lab", made.name)
    assert down == (0, f"lab {made.name} is gone\n", f"ended with it: sleep ({sleeper.pid}) in {node}\n")


def test_a_step_that_the_kernel_refuses(small_file: SmallFile, lab_name: str) -> None:
    """What stands in the way ends `up` with status 4 and a sentence that says what helps."""
    foreign = f"lab-{lab_name}-inet"
    ip("netns", "add", foreign)
    try:
        ended = run_lab("up", small_file(), "--name", lab_name)
    finally:
        ip("netns", "del", foreign)
    assert (ended.status, ended.stdout) == (4, "")
    assert runnable(f"lab down --lab {lab_name}") in ended.stderr
    assert is_plain(ended)


# ── Which lab ───────────────────────────────────────────────────────────────────────────────────────────────


def where_labs_are(directory: Path, *names: str, like: Lab) -> tuple[str, ...]:
    """A program that starts another where these labs, recorded like that one, are the only ones on record."""
    for name in names:
        shutil.copytree(RUN_LAB / like.name, directory / name)
        plan = directory / name / "plan.json"
        plan.write_text(plan.read_text().replace(f'"lab": "{like.name}"', f'"lab": "{name}"'))
    roots = "[ ! -d /run/.host/lab ] || mount -t tmpfs none /run/.host/lab"  # in a sandbox: the machine has none either
    return ("unshare", "--mount", "sh", "-ec", f'mount --bind "$0" /run/lab; {roots}; exec "$@"', str(directory))


def test_no_lab_is_up(tiny: Lab, tmp_path: Path) -> None:
    """Without any lab a command ends with status 2 and says how to have one; `list` and `down --all` are content."""
    nowhere = where_labs_are(tmp_path, like=tiny)
    for words in (("burst", "-n", "5"), ("down",), ("exec", "checkout", "true")):
        ended = run_lab(*words, through=nowhere)
        assert ended == (2, "", "no lab is up; bring one up: lab up TOPOLOGY.yaml\n")
    assert run_lab("list", through=nowhere) == (0, "no lab is up\n", "")
    assert run_lab("list", "--json", through=nowhere).json == []
    assert run_lab("down", "--all", through=nowhere) == (0, "no lab is up\n", "")


def test_the_only_lab_needs_no_name(tiny: Lab, tmp_path: Path) -> None:
    """While one lab is up, commands find it by themselves."""
    through = where_labs_are(tmp_path, tiny.name, like=tiny)
    assert run_lab("status", "--json", through=through).json["lab"] == tiny.name
    assert run_lab("exec", "cache", "ip", "netns", "identify", through=through).stdout == f"lab-{tiny.name}-srv-cache\n"


def test_one_of_several_labs_needs_a_name(tiny: Lab, tmp_path: Path) -> None:
    """While several labs are up a command asks which, and lists them; `LAB_NAME` and `--lab` say it."""
    through = where_labs_are(tmp_path, "alpha", "beta", like=tiny)
    assert run_lab("status", through=through) == (2, "", "several labs are up; name one with --lab: alpha, beta\n")
    assert run_lab("status", "--json", through=through, LAB_NAME="alpha").status == 0
    assert run_lab("status", "--json", "--lab", "alpha", through=through, LAB_NAME="gamma").status == 0
    unknown = run_lab("status", through=through, LAB_NAME="gamma")
    assert unknown == (2, "", "no lab 'gamma'; known: alpha, beta\n")


def test_a_half_built_lab(tiny: Lab, tmp_path: Path) -> None:
    """A lab whose making was killed is listed as such, and what needs a whole one is refused with what to do."""
    through = where_labs_are(tmp_path, tiny.name, like=tiny)
    (tmp_path / tiny.name / "phase").write_text("building")
    assert re.search(rf"^{tiny.name} +9 +half built", run_lab("list", through=through).stdout, re.MULTILINE)
    assert run_lab("list", "--json", through=through).json == [
        {"lab": tiny.name, "complete": False, "nodes": 9, "fault": None, "lost": []}
    ]
    status = run_lab("status", "--json", through=through).json
    assert (status["complete"], status["limits"]) == (False, [])
    said = f"lab {tiny.name} is half built; take it down: lab down --lab {tiny.name}\n"
    for words in (("burst", "-n", 5), ("capture", "-w", tmp_path / "path.pcapng")):
        refused = run_lab(*words, through=through)
        assert (refused.status, refused.stdout, refused.stderr) == (2, "", said)
    with (tmp_path / f".{tiny.name}.lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        meanwhile = run_lab("burst", "-n", 5, through=through)
        assert "being built, changed or taken down" in run_lab("list", through=through).stdout
    assert (meanwhile.status, "is being built, changed or taken down; try again" in meanwhile.stderr) == (2, True)


def test_down_all(small: Small, tmp_path: Path) -> None:
    """`down --all` takes away every lab on record."""
    made = small()
    ended = run_lab("down", "--all", through=where_labs_are(tmp_path, made.name, like=made))
    assert ended == (0, f"lab {made.name} is gone\n", "")
    assert left_of(made.name) == [str(RUN_LAB / made.name)]  # the original, of which the command had a copy


# ── burst ───────────────────────────────────────────────────────────────────────────────────────────────────

FIELDS = {
    "": {"schema", "lab", "engine", "offered", "dns", "tcp", "drop_threshold", "limits", "bottleneck", "predicted"}
    | {"timing", "series"},
    "dns": {"asked", "answered", "failed"},
    "tcp": {"attempted", "established", "timed_out", "refused", "reset", "syn_retransmissions"},
    "predicted": {"established", "drop_threshold", "bottleneck"},
    "timing": {"duration_s", "connect_phase_s", "handshakes_per_s"},
}
LIMIT_FIELDS = {"node", "kind", "limit", "peak", "dropped_packets", "dropped_connections"}
SAMPLE_FIELDS = {"t_s", "established", "timed_out", "attempted"}


def test_burst_for_programs(lab: Run, tiny: Lab) -> None:
    """`--json -` prints one document with every field of the contract, and nothing else; the record is named beside."""
    ended = lab("burst", "-n", 40, *QUICK, "--json", "-")
    assert ended.status == 0
    assert re.fullmatch(rf"recorded: \S+-{tiny.name}\S* \(lab report .*\)\n", ended.stderr)
    document = ended.json
    for place, names in FIELDS.items():
        assert names <= (document[place] if place else document).keys(), place
    assert all(limit.keys() >= LIMIT_FIELDS for limit in document["limits"])
    assert all(sample.keys() >= SAMPLE_FIELDS for sample in document["series"])
    assert document["series"]
    assert (document["schema"], document["lab"], document["engine"]) == (1, tiny.name, "packet")
    assert document["dns"] == {"asked": 40, "answered": 40, "failed": 0, "emfile": 0}
    assert (document["tcp"]["established"], document["tcp"]["timed_out"]) == (30, 10)
    assert (document["drop_threshold"], document["bottleneck"]) == (30, "nat_gateway")
    predicted = {"established": 30, "drop_threshold": 30, "bottleneck": "nat_gateway", "emfile": 0}
    assert document["predicted"] == document["predicted"] | predicted
    assert [(limit["node"], limit["peak"]) for limit in document["limits"]] == [
        ("eni-private-a", 20),
        ("eni-private-b", 20),
        ("natgw", 15),
        ("natgw", 15),
    ]


def test_burst_for_people_and_programs(lab: Run, tmp_path: Path) -> None:
    """`--json FILE` leaves the document in the file; the person reads numbers, the verdict and what helps."""
    path = tmp_path / "result.json"
    ended = lab("burst", "-n", 40, *QUICK, "--json", path, TERM="xterm-256color")
    assert (ended.status, ended.stderr) == (0, "")
    assert json.loads(path.read_text())["drop_threshold"] == 30
    assert "What helps:" in ended.stdout
    assert "natgw" in ended.stdout
    assert is_plain(ended)


def test_expectations(lab: Run) -> None:
    """A burst that shows what was expected ends with status 0, another with 1 and a line for each difference."""
    alone = ("--json", "-", "--no-record")
    met = lab("burst", "-n", 10, "--expect", "established=10", "--expect", "bottleneck=none", *alone)
    assert (met.status, met.stderr) == (0, "")
    assert met.json["verdict"]["cause"] == "no_limit"
    expected = ("established=11", "bottleneck=nat_gateway", "cause=limit")
    unmet = lab("burst", "-n", 10, *(word for text in expected for word in ("--expect", text)), *alone)
    assert unmet.status == 1
    assert unmet.json["tcp"]["established"] == 10
    assert unmet.stderr == (
        "expected established=11, saw established=10\n"
        "expected bottleneck=nat_gateway, saw bottleneck=none\n"
        "expected cause=limit, saw cause=no_limit\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("status", "--lab", "nowhere"), "no lab 'nowhere'; known: "),
        (("burst", "-n", "5", "--function", "payment"), "no function 'payment'; known: checkout"),
        (("burst", "-n", "5", "--server", "database"), "no server 'database'; known: cache"),
        (("burst", "-n", "0"), "-n 0: a burst has at least one connection"),
        (("burst", "-n", "-5"), "-n -5: a burst has at least one connection"),
        (("burst", "-n", "99999999999"), "-n 99999999999: a burst has at least one connection, at most "),
        (("burst", "-n", "99999999"), "-n 99999999: the fleet of checkout has room for "),
        (("burst", "-n", "5", "--connect-timeout", "nan"), "--connect-timeout nan: seconds, up to "),
    ],
)
def test_what_makes_no_sense(tiny: Lab, words: tuple[str, ...], sentence: str) -> None:
    """An unknown name or a senseless number ends with status 2 and a sentence that says what there is."""
    ended = run_lab(*words, LAB_NAME=tiny.name)
    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence)
    assert ended.stderr.count("\n") == 1


def test_an_unknown_node(lab: Run) -> None:
    """Who names a node that is not there is told all that are."""
    known = "svc, fn-checkout, resolver, eni-private-a, eni-private-b, vpc, natgw, inet, srv-cache"
    ended = lab("exec", "nowhere", "true")
    assert (ended.status, ended.stdout) == (2, "")
    assert re.fullmatch(rf"no node 'nowhere' in lab [^;]+; known: {known}\n", ended.stderr)


@pytest.mark.parametrize("number", ["abc", "1.5"])
def test_what_is_no_number(lab: Run, number: str) -> None:
    """A word for a number ends with status 2, the usage and the option."""
    ended = lab("burst", "-n", number)
    assert (ended.status, ended.stdout) == (2, "")
    assert "Usage: lab burst" in ended.stderr
    assert "Invalid value for '-n'" in ended.stderr
    assert is_plain(ended)


# ── What the machine lacks ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("program", "package"), [("nft", "nftables"), ("ip", "iproute2")])
def test_a_missing_program(lab_name: str, tmp_path: Path, program: str, package: str) -> None:
    """Without a program that it needs `up` ends with status 3, names the package and the command, and makes nothing."""
    require_machine()
    (other,) = {"nft", "ip"} - {program}
    (tmp_path / other).symlink_to(preflight.find(other) or "")
    ended = run_lab("up", TINY, "--name", lab_name, PATH=str(tmp_path))
    assert ended == (3, "", f"not installed: {package}; run: sudo apt-get install -y {package}\n")
    assert left_of(lab_name) == []


# ── exec, shell ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dashes", [("--",), ()])
def test_exec_is_transparent(lab: Run, tiny: Lab, dashes: tuple[str, ...]) -> None:
    """Exit status, standard input and output, and arguments with dashes are the command's own."""
    assert lab("exec", "vpc", *dashes, "sh", "-c", "echo lost >&2; exit 7") == (7, "", "lost\n")
    assert lab("exec", "vpc", *dashes, "cat", text="a word\n") == (0, "a word\n", "")
    words = ("printf", "%s\\n", "--lab", "-n", "--", "--help", "")
    assert lab("exec", "vpc", *dashes, *words).stdout == "--lab\n-n\n--\n--help\n\n"
    assert lab("exec", "eni-private-a", *dashes, "ip", "netns", "identify").stdout == f"lab-{tiny.name}-eni-private-a\n"


def test_exec_of_nothing(lab: Run) -> None:
    """Without a command there is nothing to do: status 2 and a hint."""
    for words in (("vpc",), ("vpc", "--")):
        ended = lab("exec", *words)
        assert (ended.status, ended.stdout) == (2, "")
        assert ended.stderr
        assert is_plain(ended)


def test_a_node_by_any_of_its_names(lab: Run) -> None:
    """A node is known by its own name, by the topology's and by its namespace's."""
    found = {lab("exec", name, "ip", "-4", "-o", "address").stdout for name in ("checkout", "fn-checkout")}
    assert len(found) == 1


def test_shell_is_the_users_own(lab: Run, tiny: Lab) -> None:
    """`lab shell` becomes $SHELL in the node, with its exit status."""
    assert lab("shell", "natgw", SHELL="/bin/true") == (0, "", "")
    assert lab("shell", "natgw", SHELL="/bin/false").status == 1
    ended = lab("shell", "natgw", SHELL="/bin/sh", text="ip netns identify\nexit 5\n")
    assert (ended.status, ended.stdout) == (5, f"lab-{tiny.name}-natgw\n")


# ── Real programs ───────────────────────────────────────────────────────────────────────────────────────────

HOSTNAME = "cache.example.com"
URL = f"http://{HOSTNAME}:443/"


def test_dig(lab: Run) -> None:
    """In the fleet dig has the server's address, no IPv6 address, and NXDOMAIN for other names."""
    require_machine("dig")
    assert lab("exec", "checkout", "dig", "+short", HOSTNAME) == (0, "203.0.113.10\n", "")
    assert lab("exec", "checkout", "dig", "+short", HOSTNAME, "AAAA") == (0, "", "")
    assert "status: NOERROR" in lab("exec", "checkout", "dig", HOSTNAME, "AAAA").stdout
    assert "status: NXDOMAIN" in lab("exec", "checkout", "dig", "nothing.example.com").stdout


def test_getent(lab: Run) -> None:
    """The C library resolves names through the lab's resolver, and knows those of the topology only."""
    assert lab("exec", "checkout", "getent", "hosts", HOSTNAME).stdout.split() == ["203.0.113.10", HOSTNAME]
    assert lab("exec", "checkout", "getent", "hosts", "nothing.example.com").status == 2


def test_curl(lab: Run) -> None:
    """In the fleet curl gets the server's page, which names an Elastic IP as the client's address."""
    require_machine("curl")
    ended = lab("exec", "checkout", "curl", "--silent", "--max-time", "5", URL)
    assert ended.status == 0
    server, hostname, client = ended.stdout.splitlines()
    assert (server, hostname) == ("server: cache", f"hostname: {HOSTNAME}")
    assert client.startswith("client: 198.51.100.")


def test_the_hosts_name_service_is_untouched(lab: Run, tiny: Lab) -> None:
    """A command in the fleet has resolv.conf and nsswitch.conf of its own; the host's are as they were."""
    files = [Path("/etc/resolv.conf"), Path("/etc/nsswitch.conf")]

    def hosts() -> list[tuple[str, int]]:
        return [(path.read_text(), path.stat().st_ino) for path in files if path.exists()]

    before = hosts()
    resolver = tiny.node("resolver").addresses[0]
    assert lab("exec", "checkout", "cat", "/etc/resolv.conf").stdout == f"nameserver {resolver}\n"
    assert "hosts: files dns\n" in lab("exec", "checkout", "cat", "/etc/nsswitch.conf").stdout
    assert hosts() == before


def test_a_full_eni_answers_questions_and_drops_connections(small: Small) -> None:
    """The article's failure: while a Hyperplane ENI is full, dig still has its answer and curl times out."""
    require_machine("dig", "curl")
    full = small(eni=5, nat=20, timeouts="port_hold: 0s, idle_timeout: 300s")
    burst = run_lab("burst", "--lab", full.name, "-n", 5, "--leave-open", "--json", "-")
    assert burst.json["tcp"]["established"] == slots(full, "eni-private") == 5
    in_fleet = ("exec", "--lab", full.name, "checkout", "--")
    assert run_lab(*in_fleet, "dig", "+short", HOSTNAME).stdout == "203.0.113.10\n"
    operation_timed_out = 28  # curl(1)
    assert run_lab(*in_fleet, "curl", "--silent", "--max-time", "1", URL).status == operation_timed_out
    status = run_lab("status", "--lab", full.name, "--json").json
    (eni,) = (each for each in status["limits"] if each["node"] == "eni-private")
    assert (eni["connections"], eni["refused_connections"]) == (5, 1)
    assert (NETNS / full.node("eni-private").namespace).exists()

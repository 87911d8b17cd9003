"""The lab of a user without root: exact as root's, nobody else's affair, and gone without a trace."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request

import pexpect
import pytest

from lab.kernel.invoker import SANDBOX
from tests.support.command import LAB, run_lab
from tests.support.labs import eventually
from tests.support.machine import ETC_NETNS, RUN_LAB, require_machine
from tests.support.users import ROOT, Somebody, somebody
from traffic.privileges import LAB_UID

TINY = ROOT / "topologies" / "tiny.yaml"
FULL = ROOT / "topologies" / "seven_subnets_eight_eips.yaml"
EACH_USER = pytest.mark.parametrize("fixture", ["user", "with_numbers"])


@pytest.fixture(scope="module")
def user() -> Iterator[Somebody]:
    """Somebody with a lab: tiny, which has 40 connections to ENIs and 30 to the NAT gateway."""
    yield from _with_a_lab(None)


@pytest.fixture(scope="module")
def with_numbers() -> Iterator[Somebody]:
    """Somebody to whom the administrator has given subordinate numbers, with a lab."""
    if not shutil.which("newuidmap"):
        pytest.skip("no newuidmap on this machine: apt install uidmap")
    # Other workers have such a user at the same time, with other numbers.
    yield from _with_a_lab(f"{100_000_000 + os.getpid() % 10_000 * 65_536}:65536")


def _with_a_lab(ranges: str | None) -> Iterator[Somebody]:
    require_machine("setpriv", "unshare")
    if os.geteuid() != 0 or SANDBOX.exists():
        pytest.skip("only the machine's root can become another user")
    with somebody(ranges) as user:
        made = user.lab("up", TINY)
        if made.status == 3:
            pytest.skip(made.stderr)
        assert (made.status, made.stderr) == (0, ""), made
        yield user


@EACH_USER
def test_exact(fixture: str, request: pytest.FixtureRequest) -> None:
    """The NAT gateway's 30 ports, as for root; the run's record is the user's."""
    user: Somebody = request.getfixturevalue(fixture)
    ended = user.lab("burst", "-n", "33", "--connect-timeout", "0.5", "--json", "-")
    assert ended.status == 0, ended.stderr
    assert ended.json["tcp"]["established"] == 30
    assert ended.json["bottleneck"] == "nat_gateway"
    (record,) = (user.home / ".local/share/lab/runs").iterdir()
    assert record.stat().st_uid == user.uid
    assert "sudo" not in (record / "run.json").read_text(encoding="utf-8")


def test_programs_reach_the_servers(user: Somebody) -> None:
    """Names resolve, TLS is trusted, and the exit status is the program's."""
    fetched = user.lab("exec", "checkout", "--", "curl", "-sS", "-m", "10", "https://cache.example.com/")
    assert (fetched.status, fetched.stderr) == (0, "")
    assert user.lab("exec", "checkout", "--", "sh", "-c", "exit 7").status == 7


def test_commands_that_are_proposed_work(user: Somebody) -> None:
    """`lab why` shows how the kernel is asked: by the words that this user may type."""
    shown = user.lab("why", "--json")
    assert shown.status == 0, shown.stderr
    commands = [each["command"] for each in shown.json["evidence"]]
    assert commands
    for command in commands:
        assert command.startswith(("lab sandbox -- ip netns exec lab-tiny-", "lab capture --lab tiny --dropped "))
        words = command.replace("lab ", f"{LAB} ", 1).replace("--dropped", "--seconds 1 --dropped")
        assert user.run("sh", "-c", words).status == 0, words


@EACH_USER
def test_processes_of_the_lab_have_no_rights(fixture: str, request: pytest.FixtureRequest) -> None:
    """They keep what root's keep and no more; where the user has other numbers, they run as one of these."""
    user: Somebody = request.getfixturevalue(fixture)
    services = [pid for pid, words in user.processes().items() if " -m traffic " in words]
    assert len(services) == 2  # resolver, server
    for pid in services:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\s*1$", status, re.MULTILINE)
        expected = user.uid if user.ranges is None else int(user.ranges.split(":")[0]) + LAB_UID - 1
        assert re.search(rf"^Uid:\s*{expected}\b", status, re.MULTILINE)


def test_metrics_are_reached_from_the_users_network(user: Somebody) -> None:
    """Prometheus, which is not in the sandbox, can scrape them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with user.started("metrics", "--prometheus", str(port)) as exporter:
        assert eventually(lambda: b"lab_nat_gateway_active_connections" in _scraped(port))
        exporter.terminate()
        assert exporter.wait(10) == 130


def _scraped(port: int) -> bytes:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            content: bytes = answer.read()
    except OSError:  # nobody listens yet
        return b""
    return content


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 130), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signals_reach_the_command(user: Somebody, number: int, status: int) -> None:
    """It ends as it does for root, and takes back what it did."""
    with user.started("burst", "-n", "20", "--hold", "30") as burst:
        assert eventually(lambda: any(" traffic burst " in words for words in user.processes().values()))
        burst.send_signal(number)
        assert burst.wait(20) == status
    assert eventually(lambda: not any(" burst " in words for words in user.processes().values()))


def test_killed_command(user: Somebody) -> None:
    """SIGKILL of the process that waits ends the one inside as well."""
    with user.started("burst", "-n", "20", "--hold", "30") as burst:
        assert eventually(lambda: any(" traffic burst " in words for words in user.processes().values()))
        burst.kill()
    assert eventually(lambda: not any("lab burst" in words for words in user.processes().values()))


def test_terminal(user: Somebody) -> None:
    """A shell inside has the terminal and its Ctrl-C; the script that started it has it again afterwards."""
    shell = user.on_a_terminal(f"{LAB} sandbox -- bash --norc -i; echo status $?; read word; echo read $word")
    shell.sendline("sleep 60; echo slept: $?")
    shell.expect("sleep 60")
    assert eventually(lambda: "sleep 60" in user.processes().values())
    shell.sendintr()
    shell.sendline("exit 3")
    shell.expect("status 3")
    shell.sendline("again")
    shell.expect("read again")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 0


def test_nobody_sees_the_others_labs(user: Somebody) -> None:
    """Root's machine has nothing of the user's lab, and the user is told that root may have some."""
    assert not (RUN_LAB / "tiny").exists()
    assert not list(ETC_NETNS.glob("lab-tiny-*"))
    assert '"tiny"' not in run_lab("list", "--json").stdout
    name = f"roots-{os.getpid()}"
    try:
        assert run_lab("up", TINY, "--name", name).status == 0
        listed = user.lab("list")
        assert name not in listed.stdout
        assert "root's: sudo lab list" in listed.stderr
    finally:
        run_lab("down", "--lab", name)


def test_no_way_to_more_rights(user: Somebody) -> None:
    """Root inside is the user outside: files of root stay root's, and what is written to /etc is not the machine's."""
    script = "cat /etc/shadow; echo >/usr/somebody; echo >/etc/somebody && ls /etc/somebody"
    ended = user.lab("sandbox", "--", "sh", "-c", script)
    assert ended.stdout.split() == ["/etc/somebody"]
    assert ended.stderr.count("denied") == 2
    assert not Path("/etc/somebody").exists()


def test_what_does_not_fit_is_said_before_anything_is_made(user: Somebody) -> None:
    """More connections than the machine tracks: the number that fits, the scale that fits, the administrator's way."""
    if int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text(encoding="ascii")) >= 900_000:
        pytest.skip("another lab has raised nf_conntrack_max")
    refused = user.lab("up", FULL)
    assert refused.status == 3
    assert re.search(r"what fits: lab up --scale [2-4];", refused.stderr)
    assert "sudo sysctl -w net.netfilter.nf_conntrack_max=910000" in refused.stderr
    assert [each["lab"] for each in user.lab("list", "--json").json] == ["tiny"]


def test_rules_beyond_a_users_socket_buffer(user: Somebody) -> None:
    """They are the same as root's when a lab is made; a change of a lab that is up is refused, and takes nothing."""
    name, large = f"large-{os.getpid()}", user.home / "large.yaml"
    text = TINY.read_text(encoding="utf-8").replace("elastic_ips: 2", "elastic_ips: 8")
    large.write_text(text, encoding="utf-8")
    rules = ("ip", "netns", "exec", f"lab-{name}-natgw", "nft", "list", "ruleset")
    try:
        assert run_lab("up", large, "--name", name).status == 0
        of_root = subprocess.run(rules, capture_output=True, text=True, check=True).stdout
    finally:
        run_lab("down", "--lab", name)
    try:
        assert user.lab("up", large, "--name", name).status == 0
        before = user.lab("sandbox", "--", *rules).stdout
        assert before == of_root
        large.write_text(text.replace("elastic_ips: 8", "elastic_ips: 7"), encoding="utf-8")
        refused = user.lab("up", large, "--name", name)
        assert refused.status == 4
        assert "sudo sysctl -w net.core.wmem_default=4194304" in refused.stderr
        assert user.lab("sandbox", "--", *rules).stdout == before
    finally:
        user.lab("down", "--lab", name)


def test_pytest_needs_no_root(user: Somebody) -> None:
    """The fixture has its lab in the sandbox, the test outside; its files, network and user are the test's own."""
    test = user.home / "test_own.py"
    test.write_text(
        f"""
import os
import pexpect
import pytest
from lab.errors import UsageError
def test_own(lab_up):
    assert os.getuid() == {user.uid}
    lab = lab_up({str(TINY)!r})
    said = []
    result = lab.burst(33, connect_timeout_s=0.5, progress=said.append)
    assert (result.bottleneck, result.tcp.established, lab.changed) == ("nat_gateway", 30, True)
    assert said and lab.node("natgw").name == "natgw"
    with lab.watch() as watched:
        watched.look()
    assert list(lab.samples())
    asked = []
    lab.burst(3, progress=lambda _: asked.append(lab.status().complete))
    assert asked and all(asked)
    with pytest.raises(ZeroDivisionError):
        lab.burst(3, progress=lambda _: 1 / 0)
    with pytest.raises(UsageError, match="no node 'nowhere'"):
        lab.node("nowhere")
    assert lab.burst(33, connect_timeout_s=0.5, fresh=True).tcp.established == 30
""",
        encoding="utf-8",
    )
    ended = user.run(
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            user.home,
            "--lab-require",
            test,
        )
    )
    assert ended.status == 0, ended.stdout
    assert [each["lab"] for each in user.lab("list", "--json").json] == ["tiny"]


def test_after_a_crash(user: Somebody) -> None:
    """The kernel ends everything with the process that holds the sandbox; the next `lab up` makes another."""
    (holder,) = (pid for pid, words in user.processes().items() if "lab.sandbox.init" in words)
    os.kill(holder, signal.SIGKILL)
    assert eventually(lambda: not user.processes())
    assert user.lab("list")[:2] == (0, "no lab is up\n")
    assert user.lab("up", TINY).status == 0
    assert not eventually(lambda: not user.processes(), within_s=3)


def test_log_out(user: Somebody) -> None:
    """When the runtime directory goes, as at log-out, everything goes."""
    shutil.rmtree(user.runtime / "lambda-vpc-lab")
    assert eventually(lambda: not user.processes())
    assert user.lab("up", TINY).status == 0


def test_down_all_is_the_end(user: Somebody) -> None:
    """Nothing of it is left: no process, no record, no file but those of runs."""
    ended = user.lab("down", "--all")
    assert (ended.status, ended.stdout) == (0, "lab tiny is gone\n")
    assert eventually(lambda: not user.processes())
    assert [path.name for path in (user.runtime / "lambda-vpc-lab").iterdir()] == ["lock"]
    assert user.lab("up", TINY).status == 0

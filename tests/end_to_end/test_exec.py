"""`lab exec` is out of the way of the command that it starts: signals, pipes, programs that are not there."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.errors import PreflightError
from lab.kernel import preflight
from lab.kernel.processes import processes_in
from lab.lab import Lab
from tests.support.command import LAB, environment, run_lab, start_lab
from tests.support.labs import eventually
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from lab.plan.objects import NodePlan

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all of these tests: they leave nothing in it."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-exec") as made:
        yield made


@pytest.fixture
def node(lab: Lab) -> NodePlan:
    """A node in which nothing else lives."""
    return lab.node("vpc")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_signals(lab: Lab, node: NodePlan, number: signal.Signals) -> None:
    """A signal to `lab exec` is one to the command: there is no process between the two."""
    running = start_lab("exec", "--lab", lab.name, node.name, "--", "sleep", 60)
    try:
        assert eventually(lambda: [each.command for each in processes_in([node.namespace])] == ["sleep"])
        running.send_signal(number)
        assert running.wait(timeout=30) == -number
    finally:
        running.kill()
        running.communicate()


def test_the_lab_itself(lab: Lab, node: NodePlan) -> None:
    """From within a node everything is as from outside; where the host's own namespace cannot be told, it says so."""
    for words in (("status",), ("burst", "-n", 3, "--no-record")):
        ended = run_lab("exec", "--lab", lab.name, node.name, "--", LAB, *words, "--lab", lab.name)
        if os.access("/proc/1/ns/net", os.R_OK):
            assert (ended.status, ended.stderr) == (0, "")
        else:  # a container
            assert (ended.status, "start it outside of the lab's nodes" in ended.stderr) == (4, True)


def test_a_pipe_that_nobody_reads(lab: Lab, node: NodePlan) -> None:
    """Under `| head` a command ends by SIGPIPE as it would in a shell, and complains of nothing."""
    command = f'"{LAB}" exec --lab {lab.name} {node.name} -- yes | head -n 1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(("bash", "-c", command), capture_output=True, text=True, check=False, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGPIPE, "y\n", "")


def test_a_missing_program(lab: Lab, node: NodePlan, tmp_path: Path) -> None:
    """A program that this machine lacks ends with status 3 and the command that installs it."""
    ended = run_lab("exec", "--lab", lab.name, node.name, "--", "curl", PATH=str(tmp_path))
    assert ended == (3, "", "no program 'curl' on this machine; run: sudo apt-get install -y curl\n")
    ended = run_lab("exec", "--lab", lab.name, node.name, "--", "crul")
    assert ended == (3, "", "no program 'crul' on this machine; install it, or give its path\n")


def test_a_missing_shell(lab: Lab, node: NodePlan) -> None:
    """A `$SHELL` that is not there is such a program, too."""
    ended = run_lab("shell", "--lab", lab.name, node.name, SHELL="/nowhere/sh")
    assert (ended.status, ended.stdout) == (3, "")
    assert ended.stderr.startswith("no program '/nowhere/sh' on this machine")


def test_programs_of_the_system(lab: Lab, node: NodePlan) -> None:
    """A command finds nft and its like also where `PATH` has no directory of system programs."""
    require_machine("nft")
    ended = run_lab("exec", "--lab", lab.name, node.name, "--", "nft", "--version", PATH="/usr/bin:/bin")
    assert (ended.status, ended.stderr) == (0, "")


def test_names_in_a_node_without_a_name_server(lab: Lab) -> None:
    """Where no name server can be reached a question fails at once: nobody waits for the host's."""
    asking = "import socket; socket.gethostbyaddr('203.0.113.10')"
    ended = run_lab("exec", "--lab", lab.name, "srv-cache", "--", "dig", "+tries=1", "cache.example.com")
    assert "connection refused" in ended.stdout
    ended = run_lab("exec", "--lab", lab.name, "srv-cache", "--", sys.executable, "-c", asking)
    assert "gaierror" in ended.stderr or "herror" in ended.stderr


@pytest.mark.parametrize("program", ["nginx", "redis-server"])
def test_packages_that_start_a_service(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Who is told to install a server is told that Debian starts it, and how to end that."""
    monkeypatch.setattr(preflight, "find", lambda _: None)
    with pytest.raises(PreflightError, match=f"starts one .* systemctl disable --now {program}"):
        preflight.require_program(program)

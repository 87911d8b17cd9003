"""Descriptors of execution environments: the same numbers by each engine, by arithmetic, and by a real program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from lab.burst.load import Load
from lab.diagnosis.verdict import judge
from lab.lab import Lab
from tests.support.command import LAB, bare, environment, start_lab
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp
    from traffic.spec import Engine

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all tests that leave nothing in it."""
    require_machine()
    with Lab.up(TOPOLOGIES / "two_subnets.yaml", name=f"test-{os.getpid()}-descriptors") as made:
        yield made


@pytest.mark.parametrize("engine", ["packet", "socket", "scapy"])
def test_each_engine(lab: Lab, engine: Engine) -> None:
    """Two environments behind each of two ENIs, of 20 connections and 5: no more than 8 of each have a descriptor."""
    result = lab.burst(50, engine=engine, connections_per_environment=20, descriptors=11)
    assert (result.dns.asked, result.dns.answered, result.dns.failed, result.dns.emfile) == (50, 26, 0, 24)
    assert (result.tcp.attempted, result.tcp.established, result.tcp.timed_out) == (26, 26, 0)
    assert (result.predicted.established, result.predicted.emfile, result.drop_threshold) == (26, 24, None)
    assert result.descriptors is not None
    assert (result.descriptors.connections_seen, result.disagreements) == (26, ())
    assert judge(result).cause == "too_many_open_files"


def test_several_processes(lab: Lab) -> None:
    """The socket engine's processes, here of 100 connections, share the account of an environment that they share."""
    burst = ("burst", "--lab", lab.name, "-n", "250", "--engine", "socket", "--no-record", "--json", "-")
    environments = ("--connections-per-environment", "60", "--descriptors", "43")
    document = json.loads(
        subprocess.check_output(("prlimit", "--nofile=200:200", LAB, *burst, *environments), env=environment())
    )
    assert (document["tcp"]["established"], document["dns"]["emfile"]) == (170, 80)  # 40, 40 and 5 behind each ENI
    assert (document["predicted"]["established"], document["disagreements"]) == (170, [])


def test_as_many_as_a_real_program(lab: Lab) -> None:
    """A program under `ulimit -n` fails at the look-up, at the connection that a burst names; the ENIs saw no other.

    While it runs, `lab why` names it, by what the kernel says of its descriptors.
    """
    assert lab.burst(1).emfile == 0
    before = _came_to_the_enis(lab)
    command = f"ulimit -n 40; exec {sys.executable} -uc '{_LEAKS}'"
    program = start_lab("exec", "--lab", lab.name, "checkout", "--", "bash", "-c", command)
    assert program.stdout is not None
    at_start, made, complaint = (program.stdout.readline().rstrip() for _ in range(3))
    assert complaint == "getaddrinfo: [Errno 24] Too many open files"
    assert int(made) == _came_to_the_enis(lab) - before == 40 - int(at_start)
    now = lab.why()
    assert (now.cause, now.headline.split(" (")[1]) == ("too_many_open_files", f"{program.pid})")
    (shown,) = (bare(each.command) for each in now.evidence if each.what.startswith("descriptors"))
    assert int(subprocess.check_output(("sh", "-c", shown))) == 40
    program.terminate()
    program.communicate(timeout=30)
    assert lab.why().cause == "no_limit"
    result = lab.burst(
        100,  # one environment behind each of two ENIs
        engine="socket",
        connections_per_environment=50,
        descriptors=40,
        descriptors_at_start=int(at_start),
    )
    assert result.predicted.established == result.tcp.established == 2 * int(made)
    assert result.dns.emfile == 100 - 2 * int(made)
    now, verdict = lab.why(), judge(result)
    assert (now.cause, now.headline) == (
        verdict.cause,
        verdict.headline.replace(" failed", " of the last burst failed"),
    )
    (shown,) = (each.command for each in now.evidence if each.what.endswith("EMFILE"))
    assert f'"emfile": {result.dns.emfile}' in subprocess.check_output(("sh", "-c", shown), text=True)


_LEAKS = """
import os, socket, time
print(len(os.listdir("/proc/self/fd")) - 1)
held = []
try:
    while True:
        held.append(socket.create_connection(("cache.example.com", 443)))
except OSError:
    print(len(held))
try:
    socket.getaddrinfo("cache.example.com", 443)
except OSError as error:
    print("getaddrinfo:", error)
time.sleep(600)
"""


def _came_to_the_enis(lab: Lab) -> int:
    return sum(sample.attempted for node, sample in lab.sample().nodes.items() if node.startswith("eni"))


def test_beside_a_limit_of_the_network(lab_up: LabUp) -> None:
    """What an ENI drops had a descriptor, and waits; what had none sends nothing. Both are told, with their numbers."""
    lab = lab_up(TOPOLOGIES / "one_subnet_two_eips.yaml", scale=1000)
    load = Load(100, connections_per_environment=50, descriptors=43, connect_timeout_s=3.0)
    result = lab.carry(load)
    assert (result.tcp.established, result.tcp.timed_out, result.dns.emfile) == (65, 15, 20)
    assert (result.predicted.established, result.predicted.drop_threshold, result.predicted.emfile) == (65, 65, 20)
    assert (result.drop_threshold, result.bottleneck, result.disagreements) == (65, "hyperplane_eni", ())
    verdict = judge(result)
    assert verdict.cause == "too_many_open_files"
    assert "Limits refused 15 connections as well: eni-private-a." in verdict.explanation
    verdict = judge(lab.carry(replace(load, connections=93, fresh=True)))
    assert verdict.cause == "limit"
    assert any("13 invocations failed with EMFILE" in sentence for sentence in verdict.explanation)


def test_the_next_burst_begins_within_an_environment(lab_up: LabUp) -> None:
    """Where connections are held, the next begin where ports are free, which may be in the middle of an environment."""
    lab = lab_up(TOPOLOGIES / "one_subnet_two_eips.yaml")
    for established in (13, 17):  # 30 and 3 connections of an environment; then 7 and 26
        result = lab.burst(33, connections_per_environment=30, descriptors=13, leave_open=True)
        assert (result.tcp.established, result.dns.emfile) == (established, 33 - established)
        assert (result.predicted.established, result.predicted.emfile) == (established, 33 - established)
        assert result.disagreements == ()

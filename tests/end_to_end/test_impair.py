"""Faults on the way of real traffic: who falls silent, who is heard again, and what the `lab` command says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
import json
import os
from pathlib import Path
import re
import subprocess
from typing import Any

import pytest

from lab.burst.run import Progress
from lab.diagnosis.verdict import judge
from lab.errors import KernelError, PreflightError
from lab.impair.ledger import dropped_so_far
from lab.kernel.netns import Namespaces
from lab.lab import Lab
from tests.support.command import Ended, run_lab
from tests.support.labs import inside
from tests.support.machine import RUN_LAB, require_machine

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
PAGE = "curl -sS --max-time {} http://cache.example.com:443/"
QUESTION = "dig +tries=1 +time={} +short cache.example.com"

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def tiny() -> Iterator[Lab]:
    """The topology `tiny`, up for all of these tests."""
    require_machine("curl", "dig")
    with Lab.up(TINY, name=f"test-{os.getpid()}-impair") as lab:
        yield lab


@pytest.fixture
def lab(tiny: Lab) -> Iterator[Lab]:
    """That lab; what a test has set is cleared after it."""
    yield tiny
    tiny.clear_impairments()


@pytest.fixture
def command(lab: Lab) -> Run:
    """Run `lab impair` on that lab."""

    def run(*arguments: object, **options: Any) -> Ended:
        return run_lab("impair", "--lab", lab.name, *arguments, **options)

    return run


def answered(lab: Lab, program: str, within_s: int = 10) -> bool:
    """Whether a program in the fleet has an answer in time."""
    try:
        inside(lab, "checkout", program.format(within_s))
    except subprocess.CalledProcessError:
        return False
    return True


# ── Silence ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_silent_server(lab: Lab) -> None:
    """A silent server answers neither the engine's rings nor real programs, while DNS works; then it answers both."""
    lab.impair("cache", silence=True)
    result = lab.burst(4, connect_timeout_s=2)
    assert (result.dns.answered, result.tcp.established, result.tcp.timed_out) == (4, 0, 4)
    syns = 4 + result.tcp.syn_retransmissions
    assert judge(result).headline == (
        f"4 connections timed out, for lab impair's faults dropped {syns} packets: srv-cache inet, silence"
    )
    assert result.disagreements == ()
    assert not answered(lab, PAGE, within_s=1)
    (silent,) = lab.impairments()
    assert silent.dropped_packets >= result.tcp.timed_out + result.tcp.syn_retransmissions
    lab.clear_impairments()
    assert lab.burst(4, connect_timeout_s=2).tcp.established == 4
    assert answered(lab, PAGE)


@pytest.mark.parametrize("node", ["resolver", "svc"])
def test_a_silent_way_to_the_resolver(lab: Lab, node: str) -> None:
    """Where the resolver is silent, or the bridge on the way to it, DNS fails for all; then it works again."""
    lab.impair(node, silence=True)
    result = lab.burst(4, connect_timeout_s=1.2)
    assert (result.dns.failed, result.tcp.attempted) == (4, 0)
    assert not answered(lab, QUESTION, within_s=1)
    assert sum(each.dropped_packets for each in lab.impairments()) >= 4
    lab.clear_impairments()
    assert lab.burst(4, connect_timeout_s=1.2).tcp.established == 4
    assert answered(lab, QUESTION)


def test_silence_during_a_burst(lab: Lab) -> None:
    """What a fault drops that is set and cleared meanwhile is the fault's: the two accounts do not differ for it."""
    set_once: list[str] = []

    def progress(now: Progress) -> None:
        if now.established and not set_once:
            set_once.append("cache")
            lab.impair("cache", silence=True)
        elif now.timed_out:
            lab.clear_impairments()

    result = lab.burst(20, rate_per_s=5, connect_timeout_s=2.5, progress=progress)
    assert result.disagreements == ()
    (silence,) = result.impairments
    assert silence.dropped_packets >= result.tcp.timed_out > 0
    assert f"dropped {silence.dropped_packets} packets: srv-cache inet, silence" in judge(result).headline


def test_what_failed_half_way_was_a_fault_until_then(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that the kernel refuses half-way leaves nothing set, and what was set before has dropped what it has."""
    lab.impair("cache", silence=True)
    lab.burst(2, connect_timeout_s=0.9)
    (silence,) = lab.impairments()
    with monkeypatch.context() as refused:
        refused.setattr("lab.impair.apply._SILENCE", "table netdev {table} {{ {interface} {counter} }}\n")
        with pytest.raises(KernelError, match="syntax error"):
            lab.impair("cache", rate="1mbit", silence=True)
    assert lab.impairments() == ()
    with Namespaces() as namespaces:
        dropped = dropped_so_far(namespaces, lab.plan, RUN_LAB / lab.name)
    assert dropped[replace(silence, dropped_packets=0)] >= silence.dropped_packets >= 2


def test_one_silent_interface(lab: Lab) -> None:
    """One interface of a node can be silent: what arrives at the others still does."""
    (made,) = lab.impair("svc", interface="eni-private-a", silence=True)
    assert (made.node, made.interface) == ("svc", "eni-private-a")
    result = lab.burst(4, connect_timeout_s=1.2)
    assert (result.dns.answered, result.tcp.established, result.tcp.timed_out) == (4, 2, 2)


# ── Rate, loss and latency ──────────────────────────────────────────────────────────────────────────────────


def test_a_rate(lab: Lab) -> None:
    """Traffic passes a node with a rate, through a token bucket on each of its interfaces that counts it."""
    made = lab.impair("natgw", rate="10mbit")
    assert [each.interface for each in made] == ["vpc", "inet"]
    assert lab.burst(4, connect_timeout_s=2).tcp.established == 4
    for qdisc in json.loads(inside(lab, "natgw", "tc -statistics -json qdisc show root")):
        if qdisc["dev"] != "lo":
            assert (qdisc["kind"], qdisc["options"]["rate"]) == ("tbf", 1_250_000)
            assert qdisc["packets"] >= 4


def test_loss_and_latency(lab: Lab) -> None:
    """A late link still connects; one that loses everything times out; netem counts what it has dropped."""
    try:
        lab.impair("cache", latency_s=0.05, jitter_s=0.01)
    except PreflightError as lacking:
        pytest.skip(str(lacking))
    assert lab.burst(4, connect_timeout_s=2).tcp.established == 4
    lab.impair("cache", loss_percent=100)
    assert lab.burst(4, connect_timeout_s=2).tcp.timed_out == 4
    (found,) = lab.impairments()
    assert found.dropped_packets >= 4


# ── lab impair ──────────────────────────────────────────────────────────────────────────────────────────────


def test_set_list_and_clear(command: Run) -> None:
    """Each step says what it did; the list has what is set, with the packets that it has dropped."""
    assert command("cache", "--silence") == (0, "srv-cache inet: silence set\n", "")
    assert command("natgw", "--interface", "inet", "--rate", "0.5mbit").stdout == "natgw inet: rate 500kbit set\n"
    listing = command()
    assert re.match(r"node +interface +set +dropped\n", listing.stdout)
    assert re.search(r"^natgw +inet +rate 500kbit +0$", listing.stdout, re.MULTILINE)
    assert re.search(r"^srv-cache +inet +silence +\d+$", listing.stdout, re.MULTILINE)
    assert command("cache", "--clear").stdout == "srv-cache inet: silence cleared\n"
    assert command("--clear").stdout == "natgw inet: rate 500kbit cleared\n"
    assert command() == (0, "nothing is set\n", "")


def test_documents(command: Run) -> None:
    """With `--json` each step prints what it set, cleared or found, as one document."""
    made = {
        "node": "srv-cache",
        "interface": "inet",
        "rate_bit_per_s": 10_000_000,
        "loss_percent": None,
        "latency_s": None,
        "jitter_s": None,
        "silence": False,
        "dropped_packets": 0,
    }
    assert command("cache", "--rate", "10mbit", "--json").json == [made]
    assert command("--json").json == [made]
    assert command("--clear", "--json").json == [made]
    assert command("--json").json == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("nowhere", "--silence"), r"no node 'nowhere' in lab .*; known: svc, .*srv-cache"),
        (("natgw", "--interface", "eth0", "--silence"), r"no interface 'eth0' in node natgw; known: vpc, inet"),
        (("natgw", "--interface", "lo", "--clear"), r"no interface 'lo' in node natgw; known: vpc, inet"),
    ],
)
def test_unknown_names(command: Run, arguments: tuple[str, ...], text: str) -> None:
    """An unknown node or interface ends with status 2 and the known ones."""
    ended = command(*arguments)
    assert (ended.status, ended.stdout) == (2, "")
    assert re.fullmatch(text + "\n", ended.stderr)


def test_a_kernel_without_netem(command: Run) -> None:
    """Where the kernel has no netem the command ends with status 3 and what helps, and nothing is set."""
    ended = command("cache", "--latency", "100ms")
    if ended.status == 0:
        pytest.skip("this kernel has netem (sch_netem)")
    assert (ended.status, ended.stdout) == (3, "")
    assert "CONFIG_NET_SCH_NETEM" in ended.stderr
    assert "sudo modprobe sch_netem" in ended.stderr
    assert command("--json").json == []

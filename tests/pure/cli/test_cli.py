"""The command line without a lab: what it prints, and with which status it ends."""

from __future__ import annotations

import json
from pathlib import Path
import signal
import subprocess
import sys

import pytest

from lab.nodes.build import build
from lab.plan import describe
from lab.plan.objects import plan_from_json
from lab.topology import load, scaled, schema_text
from tests.support.cli import Run
from tests.support.topologies import SHIPPED

TINY = str(next(path for path in SHIPPED if path.stem == "tiny"))
TWO_SUBNETS = str(next(path for path in SHIPPED if path.stem == "two_subnets"))


# ── Help ────────────────────────────────────────────────────────────────────────────────────────────────────

COMMANDS = (
    *("up", "down", "list", "status", "burst", "metrics", "watch", "why", "report", "impair", "capture", "graph"),
    *("exec", "shell", "validate", "predict", "schema", "plan-capacity", "runs", "compare"),
)


def test_help(run: Run) -> None:
    """`lab --help` lists every command."""
    status, out, _ = run("--help")
    assert status == 0
    assert all(f" {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(run: Run, command: str) -> None:
    """Each command's help shows it in use."""
    status, out, _ = run(command, "--help")
    assert status == 0
    assert f"lab {command}" in out.split("Usage:")[1].partition("\n")[2]


@pytest.mark.parametrize("arguments", [("nonsense",), ("predict",), ("predict", TINY), ("predict", TINY, "-n", "few")])
def test_wrong_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """Unknown commands, missing arguments and words for numbers end with status 2 and a hint, no traceback."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert "Usage: lab" in err
    assert "Traceback" not in err


# ── validate ────────────────────────────────────────────────────────────────────────────────────────────────


def test_validate(run: Run) -> None:
    """Valid files are named as valid."""
    status, out, err = run("validate", TINY, TWO_SUBNETS)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"{TINY}: valid", f"{TWO_SUBNETS}: valid"]


def test_validate_tells_what_has_no_effect(run: Run, tmp_path: Path) -> None:
    """A file with parts that nothing uses is valid; each is a line on standard error."""
    path = tmp_path / "idle.yaml"
    text = Path(TINY).read_text(encoding="utf-8")
    path.write_text(text.replace("  subnets:\n", "  subnets:\n    - {name: spare, cidr: 10.0.9.0/24}\n"))
    status, out, err = run("validate", str(path))
    assert (status, out) == (0, f"{path}: valid\n")
    assert "vpc.subnets[0].name: the subnet 'spare' has no effect" in err


def test_validate_lists_all_faults(run: Run, tmp_path: Path) -> None:
    """Faults of all files are listed, a line each, and the valid files are still named."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(Path(TINY).read_text(encoding="utf-8").replace("elastic_ips: 2", "elastic_ips: 9"))
    status, out, err = run("validate", str(one), TINY, str(two))
    assert (status, out) == (2, f"{TINY}: valid\n")
    first, second = err.splitlines()
    assert first.startswith(f"{one}:")
    assert "vpc.nat_gateways[0].elastic_ips" in first
    assert second.startswith(f"{two}:1:1: file: cannot be read")


# ── predict ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_predict_json(run: Run) -> None:
    """`--json` is one document on standard output and nothing else."""
    status, out, err = run("predict", TINY, "-n", "40", "--json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    eni, _, nat = document.pop("limits")
    assert document == {
        "schema": 1,
        "offered": 40,
        "established": 30,
        "drop_threshold": 30,
        "bottleneck": "nat_gateway",
        "emfile": 0,
        "dead_ends": [],
        "unknown": None,
    }
    assert eni["node"] == "eni-private-a"
    assert nat == {
        "node": "natgw",
        "kind": "nat_gateway",
        "address": None,
        "limit": 30,
        "peak": 30,
        "dropped_connections": 10,
    }


def test_predict_descriptors(run: Run) -> None:
    """Environments that make more connections than they have descriptors lack some, and no limit binds."""
    environments = ("--connections-per-environment", "1500", "--descriptors", "1024", "--descriptors-at-start", "17")
    status, out, _ = run("predict", TWO_SUBNETS, "-n", "3000", *environments)
    assert (status, "of 3,000 connections, 2,014 will be established" in out) == (0, True)
    assert "for 986 their execution environment has no descriptor left (EMFILE)" in out


def test_predict(run: Run) -> None:
    """For a person the answer is numbers with commas and a sentence."""
    status, out, _ = run("predict", TWO_SUBNETS, "-n", "140000")
    assert status == 0
    assert "130,000 will be established" in out
    assert "the first connection is dropped with 130,000 held, by a Hyperplane ENI" in out
    assert "no limit binds" in run("predict", TWO_SUBNETS, "-n", "120000").stdout


def test_predict_scaled(run: Run) -> None:
    """`--scale` divides the limits first."""
    out = run("predict", TWO_SUBNETS, "-n", "1400", "--scale", "100", "--json").stdout
    assert json.loads(out)["established"] == 1_300


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-n", "0"), "-n 0: a burst has at least one connection\n"),
        (("-n", "1", "--function", "payment"), "no function 'payment'; known: checkout\n"),
        (("-n", "1", "--server", "database"), "no server 'database'; known: cache\n"),
        (("-n", "1", "--scale", "0"), "--scale 0: limits can be divided by 1 or more\n"),
    ],
)
def test_predict_refuses(run: Run, arguments: tuple[str, ...], text: str) -> None:
    """An argument that makes no sense ends with status 2 and a sentence that says what does."""
    assert run("predict", TINY, *arguments) == (2, "", text)


# ── up --dry-run, schema ────────────────────────────────────────────────────────────────────────────────────


def test_dry_run(run: Run) -> None:
    """A dry run needs no root and prints the plan, to the letter."""
    assert run("up", TINY, "--dry-run") == (0, describe(build(load(TINY))), "")


def test_dry_run_with_options(run: Run) -> None:
    """A dry run is of the lab that these options would bring up."""
    wanted = build(scaled(load(TWO_SUBNETS), 100), "small")
    assert run("up", TWO_SUBNETS, "--dry-run", "--scale", "100", "--name", "small").stdout == describe(wanted)


def test_dry_run_json(run: Run) -> None:
    """With `--json` a dry run is the plan as one document."""
    status, out, _ = run("up", TINY, "--dry-run", "--json")
    assert status == 0
    assert plan_from_json(out) == build(load(TINY))


def test_dry_run_of_a_faulty_file(run: Run, tmp_path: Path) -> None:
    """A faulty file has no plan."""
    faulty = tmp_path / "faulty.yaml"
    faulty.write_text("version: 2\n")
    status, out, err = run("up", str(faulty), "--dry-run")
    assert (status, out) == (2, "")
    assert err.startswith(f"{faulty}:1:")


def test_schema(run: Run) -> None:
    """`lab schema` prints the file that editors use."""
    committed = Path(TINY).with_name("schema.json").read_text(encoding="utf-8")
    assert run("schema") == (0, committed, "")
    assert committed == schema_text()


# ── Without root ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "arguments",
    [
        ("up", TINY),
        ("up", "topologies/with blank.yaml"),
    ],
)
def test_not_root(run: Run, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a sandbox nothing is made: status 3 and the very command that works, quoted for the shell."""
    blank = tmp_path / "topologies" / "with blank.yaml"
    blank.parent.mkdir()
    blank.write_text(Path(TINY).read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out) == (3, "")
    quoted = [f"'{each}'" if " " in each else each for each in arguments]
    assert err.rstrip("\n").endswith(f"sudo lab {' '.join(quoted)}")


@pytest.mark.parametrize(
    "arguments",
    [
        ("down",),
        ("status",),
        ("burst", "-n", "40", "--expect", "established=30"),
        ("impair", "cache", "--silence"),
        ("impair",),
        ("exec", "checkout", "--", "sh", "-c", "ip a | head"),
        ("shell", "checkout"),
    ],
)
def test_no_lab_without_root_or_a_sandbox(run: Run, arguments: tuple[str, ...]) -> None:
    """Root's labs are not this user's: none is up, and the first `lab up` changes that."""
    assert run(*arguments) == (2, "", "no lab is up; bring one up: lab up TOPOLOGY.yaml\n")
    assert run("down", "--all") == (0, "no lab is up\n", "")


def test_faults_before_rights(run: Run, tmp_path: Path) -> None:
    """A faulty file is refused as such, before the missing right is."""
    assert run("up", str(tmp_path / "nowhere.yaml")).status == 2


# ── burst ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("expectation", ["established", "establishd=5", "=5", "timed_out=0", "cause=weather"])
def test_bad_expectation(run: Run, expectation: str) -> None:
    """An expectation of something else is refused before the burst, with all that can be expected."""
    status, out, err = run("burst", "-n", "5", "--expect", expectation)
    assert (status, out) == (2, "")
    assert f"--expect {expectation}: " in err
    known = ("no_limit", "silence") if "cause" in expectation else ("drop_threshold=", "bottleneck=", "cause=")
    assert all(word in err for word in known)


def test_json_file_in_no_directory(run: Run, tmp_path: Path) -> None:
    """A result that could not be written is refused before the burst."""
    status, _, err = run("burst", "-n", "5", "--json", str(tmp_path / "nowhere" / "result.json"))
    assert status == 2
    assert "cannot be written: No such file or directory" in err


@pytest.mark.parametrize(("option", "value"), [("--engine", "steam"), ("--syn-schedule", "never")])
def test_bad_words(run: Run, option: str, value: str) -> None:
    """An engine or schedule that does not exist is refused with status 2 and its name."""
    status, _, err = run("burst", "-n", "5", option, value)
    assert status == 2
    assert value in err


# ── impair ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("cache", "--rate", "fast"), "--rate fast: write it like 10mbit, 500kbit or 1gbit"),
        (("cache", "--rate", "0mbit"), "--rate 0bit: from 1kbit to 34gbit"),
        (("cache", "--loss", "120"), "--loss 120: a percentage from 0 to 100"),
        (("cache", "--loss", "-1"), "--loss -1: a percentage from 0 to 100, written like 0.5 or 0.5%"),
        (("cache", "--latency", "-5ms"), "--latency -5ms: write it like 100ms, 1.5s or 250us"),
        (("cache", "--jitter", "5ms"), "--jitter varies a latency; give --latency as well"),
        (
            ("cache", "--clear", "--rate", "1mbit"),
            "--clear and rate 1mbit: one after the other",
        ),
        (("cache", "--clear", "--silence"), "--clear and silence: one after the other"),
        (("cache",), "nothing to do with cache; give --rate, --loss, --latency, --silence or --clear"),
        (("--rate", "1mbit"), "rate 1mbit: on which node? lab status lists them"),
        (
            ("--clear", "--interface", "inet"),
            "--interface inet: on which node? lab status lists them",
        ),
    ],
)
def test_impair_refuses(run: Run, arguments: tuple[str, ...], text: str) -> None:
    """Faults that make no sense end with status 2 and a sentence that says what does, before a lab is looked for."""
    assert run("impair", *arguments) == (2, "", f"{text}\n")


# ── Interrupts ──────────────────────────────────────────────────────────────────────────────────────────────


def test_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is interrupted ends with status 130 and no traceback."""

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.topology.text_of", interrupted)
    status, _, err = run("validate", TINY)
    assert status == 130
    assert "Traceback" not in err


_WHILE_LOADING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Finder())
from lab.cli import main
main()
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 130)])
def test_interrupt_while_modules_load(number: int, status: int) -> None:
    """So it is before the command line is there."""
    command = (sys.executable, "-c", _WHILE_LOADING, "validate", str(int(number)))
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (status, b"", b"")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread")], ids=lambda each: type(each).__name__
)
def test_what_the_system_has_no_more_of(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Memory and threads that are used up are a sentence, and status 4."""

    def refused(_: object) -> None:
        raise error

    monkeypatch.setattr("lab.topology.text_of", refused)
    status, _, err = run("validate", TINY)
    assert (status, err.count("\n")) == (4, 1)
    assert err.startswith("the system refused: ")

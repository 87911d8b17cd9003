"""Bursts on the command line leave records: readable, whole, the invoking user's, and never in the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import pwd
import shutil
import time

import pytest

from lab import runs
from lab.lab import Lab
from tests.support.command import Ended, run_lab
from tests.support.machine import require_machine, require_no_sandbox

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
NOBODY = 65_534
QUICK = ("--connect-timeout", 0.9)
ELSEWHERE = "; --record DIR is another place, --no-record does without"

Burst = Callable[..., Ended]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """The topology `tiny`: its NAT gateway takes 30 connections, its ENIs 40."""
    require_machine()
    with Lab.up(TINY, name=f"test-{os.getpid()}-records") as lab:
        yield lab


@pytest.fixture
def burst(lab: Lab, tmp_path: Path) -> Burst:
    """A burst whose records go to `tmp_path`; what the test before has left is forgotten."""
    lab.reset()

    def run(*arguments: object, through: tuple[str, ...] = (), **variables: str) -> Ended:
        variables = {"XDG_DATA_HOME": str(tmp_path), **variables}
        return run_lab("burst", "--lab", lab.name, *QUICK, *arguments, through=through, **variables)

    return run


def test_records(burst: Burst, tmp_path: Path) -> None:
    """Each burst leaves a record with all that was seen, the document as it was printed, and samples that tell it."""
    asked_s = time.time()
    shown = burst("-n", 33)
    (path,) = (tmp_path / "lab" / "runs").iterdir()
    assert shown.stdout.splitlines()[-1] == f"recorded: {path.name} (lab report {path.name} -o report.html)"
    run = runs.load(path)
    assert (run.result.tcp.established, run.result.bottleneck, run.load.connections) == (30, "nat_gateway", 33)
    assert asked_s <= run.began_s <= path.stat().st_mtime
    first, *_, last = run.samples
    assert last.nodes["natgw"].established - first.nodes["natgw"].established == 30
    assert last.nodes["natgw"].refused_connections - first.nodes["natgw"].refused_connections == 3
    assert {each.node for each in run.nodes} == set(last.nodes)

    # A document alone on standard output, and a record of each half.
    halves = burst("-n", 2, "--fresh", "--side-by-side", "--json", "-", "--record", tmp_path / "mine")
    newest, older = (each.path for each in runs.all_runs(tmp_path / "mine"))
    documents = [json.loads((each / "result.json").read_text()) for each in (newest, older)]
    assert [half for half in halves.json["side_by_side"] if half.pop("verdict")] == documents
    assert [runs.load(each).load.reuse for each in (newest, older)] == [False, True]
    told = [f"recorded: {path} (lab report {path} -o report.html)" for path in (older, newest)]
    assert halves.stderr.splitlines()[-2:] == told


def test_belongs_to_who_asked(burst: Burst, tmp_path: Path) -> None:
    """Under sudo it is the user's in the user's own place, and where only root may write there is none."""
    require_no_sandbox()
    # pytest's own directories are root's alone.
    home = Path("/tmp") / f"{tmp_path.name}-{os.getpid()}"  # noqa: S108
    home.mkdir(mode=0o700)
    try:
        os.chown(home, NOBODY, NOBODY)
        sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "XDG_DATA_HOME": str(home)}
        shown = burst("-n", 1, **sudo)
        (path,) = (home / "lab" / "runs").iterdir()
        assert f"recorded: {path.name} " in shown.stdout
        group = pwd.getpwuid(NOBODY).pw_gid
        assert {(each.stat().st_uid, each.stat().st_gid) for each in home.rglob("*")} == {(NOBODY, group)}
        assert runs.load(path).result.tcp.established == 1
        refused = burst("-n", 1, "--json", "-", "--record", tmp_path, **sudo)
        assert (refused.status, refused.json["tcp"]["established"]) == (0, 1)
        assert refused.stderr == f"not recorded: {tmp_path}: Permission denied{ELSEWHERE}\n"
    finally:
        shutil.rmtree(home)


def test_full_disk(burst: Burst, tmp_path: Path) -> None:
    """Without room there is no record and nothing is left of one, and the burst ends as it would have."""
    disk = tmp_path / "full"
    disk.mkdir()
    small = 'mount -t tmpfs -o size=8k none "$0" && "$@"; status=$?; ls -A "$0"; exit $status'
    through = ("unshare", "--mount", "sh", "-c", small, str(disk))
    ended = burst("-n", 32, "--expect", "established=31", "--record", disk, through=through)
    assert ended.status == 1
    assert ended.stderr.splitlines() == [
        f"not recorded: {disk}: No space left on device{ELSEWHERE}",
        "expected established=31, saw established=30",
    ]
    assert ".20" not in ended.stdout

"""Bursts on the command line leave records: readable, whole, the invoking user's, and never in the way."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path

import pytest

from lab import runs
from lab.run import Lab
from tests.support.command import Ended, run_lab

NOBODY = 65_534
QUICK = ("--connect-timeout", 0.5)

Burst = Callable[..., Ended]


@pytest.fixture
def burst(small: Callable[..., Lab], tmp_path: Path) -> Burst:
    """A burst in a lab of one ENI and one NAT gateway of 5 connections; its records go to `tmp_path`."""
    lab = small(nat=5)

    def run(*arguments: object, through: tuple[str, ...] = (), **variables: str) -> Ended:
        variables = {"XDG_DATA_HOME": str(tmp_path), **variables}
        return run_lab("burst", "--lab", lab.name, *QUICK, *arguments, through=through, **variables)

    return run


def test_records(burst: Burst, tmp_path: Path) -> None:
    """Each burst leaves a record with all that was seen, the document as it was printed, and samples that tell it."""
    shown = burst("-n", 8)
    (path,) = (tmp_path / "lab" / "runs").iterdir()
    assert shown.stdout.splitlines()[-1] == f"recorded: {path.name} (lab report {path.name} -o report.html)"
    run = runs.load(path)
    assert (run.result.tcp.established, run.result.bottleneck, run.load.connections) == (5, "nat_gateway", 8)
    assert run.began_s == pytest.approx(path.stat().st_mtime, abs=30)
    first, *_, last = run.samples
    assert last.nodes["natgw"].established - first.nodes["natgw"].established == 5
    assert last.nodes["natgw"].refused_connections - first.nodes["natgw"].refused_connections == 3
    assert {each.node for each in run.nodes} == set(last.nodes)

    # Alone on standard output, and the same in the record.
    document = burst("-n", 2, "--json", "-", "--record", tmp_path / "mine")
    (path,) = (tmp_path / "mine").iterdir()
    assert document.json == json.loads((path / "result.json").read_text())
    assert document.stdout == (path / "result.json").read_text()
    assert document.stderr == f"recorded: {path} (lab report {path} -o report.html)\n"

    assert "recorded" not in burst("-n", 1, "--no-record").stdout
    assert burst("-n", 2, "--side-by-side").stdout.count("recorded: ") == 2
    listed = run_lab("runs", "--json", XDG_DATA_HOME=str(tmp_path)).json
    assert [each["offered"] for each in listed] == [2, 2, 8]
    assert [runs.load(each["path"]).load.reuse for each in listed] == [False, True, False]


def test_belongs_to_who_asked(burst: Burst, tmp_path: Path) -> None:
    """Under sudo it is the user's in the user's own place, and where only root may write there is none."""
    # pytest's own directories are root's alone.
    home = Path("/tmp") / f"{tmp_path.name}-{os.getpid()}"  # noqa: S108
    home.mkdir(mode=0o700)
    try:
        os.chown(home, NOBODY, NOBODY)
        sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "XDG_DATA_HOME": str(home)}
        shown = burst("-n", 1, **sudo)
        (path,) = (home / "lab" / "runs").iterdir()
        assert f"recorded: {path.name} " in shown.stdout
        owners = {(each.stat().st_uid, each.stat().st_gid) for each in home.rglob("*")}
        assert owners == {(NOBODY, path.stat().st_gid)}
        assert path.stat().st_gid != 0
        assert runs.load(path).result.tcp.established == 1

        refused = burst("-n", 7, "--json", "-", "--record", tmp_path, **sudo)
        assert refused.status == 0
        assert refused.json["tcp"]["established"] == 5
        (notice,) = refused.stderr.splitlines()
        assert notice.startswith(f"not recorded: {tmp_path}: Permission denied; ")
    finally:
        for each in sorted(home.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        home.rmdir()


def test_full_disk(burst: Burst, tmp_path: Path) -> None:
    """Without room there is no record, and the burst ends as it would have; the same where there is no directory."""
    there = tmp_path / "full"
    there.mkdir()
    small_disk = 'mount -t tmpfs -o size=8k none "$0" && "$@"; status=$?; ls -A "$0"; exit $status'
    expecting = ("-n", 7, "--expect", "established=6", "--record", there)
    ended = burst(*expecting, through=("unshare", "--mount", "sh", "-c", small_disk, str(there)))
    assert ended.status == 1
    room = "; --record DIR is another place, --no-record does without"
    unmet = "expected established=6, saw established=5"
    assert ended.stderr.splitlines() == [f"not recorded: {there}: No space left on device{room}", unmet]
    assert "recorded" not in ended.stdout
    assert not ended.stdout.splitlines()[-1].startswith(".")

    there.rmdir()
    there.write_text("")
    assert burst(*expecting).stderr.splitlines() == [f"not recorded: {there}: File exists{room}", unmet]

"""The record of a real lab, damaged: commands say which file and what is wrong with it, and `down` leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
import os
from pathlib import Path
import shutil
import subprocess

import pytest

from lab.cli import main
from lab.errors import UsageError
from lab.kernel.processes import processes_in
from lab.kernel.state import State
from lab.lab import Lab
from lab.pytest_plugin import LabUp
from tests.support.cli import Ended, Run
from tests.support.command import run_lab
from tests.support.labs import eventually
from tests.support.machine import NETNS, RUN_LAB, left_of, require_other_users

Damage = Callable[[Path], object]
SmallFile = Callable[..., Path]


def replaced(path: Path, make: Damage) -> None:
    """Something else in a file's place."""
    path.unlink()
    make(path)


DAMAGES: dict[str, Damage] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "of another type": lambda path: path.write_text('[1, {"a": null}]\n'),
    "deep": lambda path: path.write_text("[" * 100_000),
    "huge": lambda path: os.truncate(path, 1 << 40),
    "missing": Path.unlink,
    "a directory": lambda path: replaced(path, Path.mkdir),
    "a pipe": lambda path: replaced(path, os.mkfifo),
    "somebody else's": lambda path: os.chown(path, 65534, 65534),
    "anybody's": lambda path: path.chmod(0o666),
}
STOPPING = {"plan.json", "identity", "phase"}
"""What every command needs; `list` and `down` go on without it."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process, where starting a program ends it; whatever else it raises fails the test."""

    def execute(*_: object) -> None:
        raise SystemExit(0)

    def run(*words: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["lab", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as leaving:
            status = leaving.code
        else:
            status = 0
        return Ended(status if isinstance(status, int) else 0, *capsys.readouterr())

    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.execv", execute)
    return run


def test_every_file_damaged_in_every_way(
    lab_up: LabUp, small_file: SmallFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    """No command ends with a traceback: one that needs the file names it, the others work, and `list` says which.

    Commands take turns, so that each meets every file.
    """
    require_other_users()
    path = small_file()
    lab = lab_up(path)
    lab.burst(5)
    lab.impair("cache", silence=True)
    lab.clear_impairments()
    original, state = RUN_LAB / lab.name, State(tmp_path / "labs")
    copy = state.root / lab.name
    monkeypatch.setattr("lab.lab.State", lambda: state)
    turns = cycle(
        (
            ("status", "--lab", lab.name),
            ("why", "--lab", lab.name),
            ("exec", "--lab", lab.name, "cache", "true"),
            ("up", str(path), "--name", lab.name),
            ("list",),
        )
    )
    shutil.copytree(original, copy)
    read = (file for file in copy.rglob("*") if file.is_file() and file.suffix not in (".log", ".pem", ".key"))
    files = [file.relative_to(copy) for file in read]
    assert {str(file) for file in files} >= STOPPING | {"namespaces.jsonl", "faults.jsonl", "bursts/begun"}
    for file in files:
        for name, damage in DAMAGES.items():
            damage(copy / file)
            words = next(turns)
            ended = run(*words)
            where = f"{file}, {name}: lab {words[0]}: {ended}"
            assert ended.status in (0, 4), where
            assert (str(file) in STOPPING) <= (str(copy / file) in "".join((ended.stdout + ended.stderr).split())), (
                where
            )
            assert ended.status == 0 or str(copy / file) in ended.stderr, where
            shutil.rmtree(copy)
            shutil.copytree(original, copy)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: [DAMAGES["binary"](file) for file in record.iterdir() if file.is_file()],
        lambda record: record.chmod(0o777),
        shutil.rmtree,
    ],
    ids=["everything", "anybody may write", "no record"],
)
def test_down_goes_by_the_name_where_the_record_does_not_help(
    small_file: SmallFile, lab_name: str, damage: Damage
) -> None:
    """Namespaces, processes and files all go, those of a lab whose name begins with this one's do not."""
    path = small_file()
    Lab.up(path, name=lab_name)
    other = Lab.up(path, name=f"{lab_name}-b")
    before = left_of(other.name)
    damage(RUN_LAB / lab_name)
    ended = run_lab("down", "--lab", lab_name)
    assert (ended.status, ended.stdout) == (0, f"lab {lab_name} is gone\n"), ended.stderr
    mine = [each for each in left_of(lab_name) if not Path(each).name.startswith(f"lab-{other.name}-")]
    assert mine == []
    assert left_of(other.name) == before
    assert other.burst(5).tcp.established == 5
    other.down()
    assert left_of(lab_name) == []
    with pytest.raises(UsageError, match=f"no lab '{lab_name}'"):
        Lab.find(lab_name, to_take_down=True)


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "no record"])
def test_processes_in_namespaces_whose_names_are_gone(small_file: SmallFile, lab_name: str, *, recorded: bool) -> None:
    """`down` ends the lab's own after `ip netns del` and, where they are on record, those of others there."""
    lab = Lab.up(small_file(), name=lab_name)
    node, resolver = lab.node("checkout").namespace, f"lab-{lab_name}-resolver"
    with subprocess.Popen(("ip", "netns", "exec", node, "sleep", "60")) as sleeper:
        assert eventually(lambda: any(each.command == "sleep" for each in processes_in([node])))
        ours = [each.pid for each in processes_in(lab.plan.namespaces) if each.ours]
        for name in (node, resolver):
            subprocess.run(["ip", "netns", "del", name], check=True)
        assert not (NETNS / resolver).exists()
        if not recorded:
            shutil.rmtree(RUN_LAB / lab_name)
        ended = Lab.find(lab_name, to_take_down=True).down()
        assert [(each.pid, each.namespace) for each in ended] == ([(sleeper.pid, node)] if recorded else [])
        assert left_of(lab_name) == []
        assert not any(Path(f"/proc/{pid}").exists() for pid in ours)
        with suppress(ProcessLookupError):
            sleeper.kill()

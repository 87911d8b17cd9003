"""The record of a real lab, damaged: commands say which file and what is wrong with it, and `down` leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

from lab.cli import main
from lab.errors import UsageError
from lab.kernel.processes import processes_in
from lab.kernel.state import State
from lab.lab import Lab
from lab.pytest_plugin import LabUp
from tests.support.command import run_lab
from tests.support.labs import eventually
from tests.support.machine import NETNS, RUN_LAB, left_of

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
"""What every command but `list` and `down` needs."""


def said_by(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and what a command says on standard error, run in this process; whatever it raises fails the test."""
    sys.argv = ["lab", *words]
    capsys.readouterr()
    try:
        main()
    except SystemExit as leaving:
        status = leaving.code
    else:
        status = 0
    return (status if isinstance(status, int) else 0), capsys.readouterr().err


def test_every_file_damaged_in_every_way(
    lab_up: LabUp,
    small_file: SmallFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No command ends with a traceback; a file that it needs is named, and the lab beside is listed as it is."""
    path = small_file()
    lab = lab_up(path)
    lab.burst(5)
    lab.impair("cache", silence=True)
    lab.clear_impairments()
    files = [file.relative_to(RUN_LAB / lab.name) for file in (RUN_LAB / lab.name).rglob("*") if file.is_file()]
    assert {str(file) for file in files} >= STOPPING | {"namespaces.jsonl", "faults.jsonl", "bursts/begun"}
    state = State(tmp_path / "labs")
    shutil.copytree(RUN_LAB / lab.name, state.root / lab.name)
    shutil.copytree(RUN_LAB / lab.name, state.root / "whole")
    (state.root / "whole" / "plan.json").write_text(
        (RUN_LAB / lab.name / "plan.json").read_text().replace(lab.name, "whole")
    )
    verbs = (("status",), ("why",), ("exec", "cache", "true"), ("up", str(path), "--name", lab.name), ("metrics",))

    def execute(*_: object) -> None:
        raise SystemExit(0)

    monkeypatch.setattr("lab.lab.State", lambda: state)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr("os.execv", execute)
    monkeypatch.setattr("sys.argv", sys.argv)
    for file in files:
        for name, damage in DAMAGES.items():
            shutil.rmtree(state.root / lab.name)
            shutil.copytree(RUN_LAB / lab.name, state.root / lab.name)
            damage(state.root / lab.name / file)
            for verb, *words in verbs:
                named = () if verb == "up" else ("--lab", lab.name)
                status, said = said_by((verb, *named, *words), capsys)
                where = f"{file}, {name}: lab {verb}: {status}: {said}"
                assert status in (0, 4), where
                assert status == 0 or str(state.root / lab.name / file) in said, where
                assert status == 4 or str(file) not in STOPPING, where
            status, said = said_by(("list",), capsys)
            assert status == 0, (file, name, said)
            assert (str(state.root / lab.name / file) in said) == (str(file) in STOPPING), (file, name, said)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: DAMAGES["cut"](record / "plan.json"),
        lambda record: [DAMAGES["binary"](file) for file in record.iterdir() if file.is_file()],
        lambda record: record.chmod(0o777),
        shutil.rmtree,
    ],
    ids=["the plan", "everything", "anybody may write", "no record"],
)
def test_down_goes_by_the_name_where_the_record_does_not_help(
    small_file: SmallFile, lab_name: str, damage: Damage
) -> None:
    """Namespaces, processes and files all go, those of a lab whose name begins with this one's do not."""
    path = small_file()
    lab, other = Lab.up(path, name=lab_name), Lab.up(path, name=f"{lab_name}-b")
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
    assert len(lab.plan.namespaces) > 0
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

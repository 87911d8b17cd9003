"""What the lab remembers of itself, in a directory of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
import fcntl
from functools import partial
from itertools import count
import json
import os
from pathlib import Path
import re
import stat
import time
from typing import Any

import pytest

from lab.errors import KernelError, UsageError
from lab.kernel.bursts import Bursts
from lab.kernel.record_files import write_at_once
from lab.kernel.remains import owned, remains
from lab.kernel.state import KnownNamespace, Record, State
from lab.lab import Lab
from lab.nodes.build import build
from lab.plan.objects import ConntrackMax, File, Namespace
from lab.topology import load, scaled
from tests.support.interrupting import interrupts_of
from tests.support.topologies import SHIPPED, each_shipped, shipped


@pytest.fixture
def state(tmp_path: Path) -> State:
    """A machine without labs."""
    return State(tmp_path / "lab")


def remembered(state: State, lab: str) -> Record:
    """A lab that is being built."""
    tiny = shipped("tiny")
    record = state.new_record(lab)
    record.write(build(tiny, lab), tiny, "version: 1\n")
    return record


@each_shipped
def test_round_trip(state: State, path: Path) -> None:
    """Plan and topology come back as they were applied, limits as scaled."""
    topology = scaled(load(path), 100)
    plan = build(topology)
    state.new_record(plan.lab).write(plan, topology, path.read_text(encoding="utf-8"))
    record = state.record(plan.lab)
    assert record is not None
    assert (record.lab, record.plan(), record.topology()) == (plan.lab, plan, topology)


def test_the_file_as_written(state: State) -> None:
    """The topology file is kept to the letter, comments and all."""
    tiny, text = shipped("tiny"), next(path for path in SHIPPED if path.stem == "tiny").read_text(encoding="utf-8")
    record = state.new_record("tiny")
    record.write(build(tiny), tiny, text)
    assert (record.path / "topology.yaml").read_text(encoding="utf-8") == text


def test_phases(state: State) -> None:
    """A lab is being built until somebody says that it is up, and again when it is written again."""
    record = remembered(state, "t")
    assert record.phase() == "building"
    record.set_phase("up")
    assert record.phase() == "up"
    assert remembered(state, "t").phase() == "building"


def test_a_lab_that_goes_while_labs_are_listed(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes one down between the listing and the reading: the others are there, and it is told."""
    stays, gone = remembered(state, "stays"), state.new_record("gone")
    monkeypatch.setattr("lab.lab.State", lambda: state)
    monkeypatch.setattr(State, "records", lambda _: [gone, stays])
    monkeypatch.setattr("lab.kernel.preflight.require_root", lambda: None)
    assert [each.name for each in Lab.all()] == ["stays"]
    with pytest.raises(UsageError, match="lab gone has just been taken down"):
        Lab.find("gone")
    assert not Lab(gone, state, plan=stays.plan()).complete


def test_records(state: State) -> None:
    """All labs are listed by name; what is still being written is none."""
    assert state.records() == []
    for lab in ("b", "a"):
        remembered(state, lab)
    state.conntrack_max_record.write_text("{}")
    (state.root / ".c.new" / "log").mkdir(parents=True)
    assert [record.lab for record in state.records()] == ["a", "b"]
    assert state.record("c") is None


def test_forget(state: State) -> None:
    """A lab that is forgotten leaves nothing, and the others alone."""
    remembered(state, "b")
    remembered(state, "a").forget()
    assert [path.name for path in state.root.iterdir()] == ["b"]
    assert state.record("a") is None


def test_an_interrupt_while_a_lock_is_waited_for(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the lock goes with who made it, also before the lock is had."""
    lock, asked = fcntl.flock, count()

    def interrupted(file: Any, what: int) -> None:
        if not next(asked):
            raise KeyboardInterrupt
        lock(file, what)

    monkeypatch.setattr("fcntl.flock", interrupted)
    with pytest.raises(KeyboardInterrupt), state.changing("a"):
        pass
    assert list(state.root.iterdir()) == []


def test_what_a_killed_process_left_of_records_is_forgotten(state: State) -> None:
    """Half a record that nobody writes any more, and the lock of who wrote it, go; those of a change under way stay."""
    remembered(state, "a")
    for left in (".a.gone", ".b.new", ".c.new"):
        (state.root / left / "log").mkdir(parents=True)
    (state.root / ".b.lock").touch()
    with state.changing("c"):
        state.forget_unfinished()
        assert sorted(path.name for path in state.root.iterdir()) == [".c.lock", ".c.new", "a"]


def test_down_of_a_named_lab_waits_for_who_removes_its_record(state: State) -> None:
    """Nothing of it is there when `lab down NAME` says so, also where another command is still at it."""
    (state.root / ".a.gone").mkdir(parents=True)
    with ThreadPoolExecutor(1) as down:
        with state.changing("a"):
            inode = (state.root / ".a.lock").stat().st_ino
            waits = re.compile(rf"-> FLOCK .*:{inode} ")  # proc_locks(5)
            asked = down.submit(state.forget_unfinished, "a")
            while not (asked.done() or waits.search(Path("/proc/locks").read_text(encoding="ascii"))):
                time.sleep(0.01)
        asked.result()
        assert list(state.root.iterdir()) == []


def test_identity(state: State) -> None:
    """A lab that is made again under the same name is another lab, and one that is gone is none."""
    first = remembered(state, "t").identity()
    record = remembered(state, "t")
    assert record.identity() not in ("", first)
    record.forget()
    assert not record.identity()


def test_what_remains_of_another_versions_record(state: State) -> None:
    """Objects that this version does not know are nothing to `down`: namespaces go with all in them."""
    record = remembered(state, "t")
    document = json.loads((record.path / "plan.json").read_text())
    document["objects"].append({"kind": "wormhole", "namespace": "lab-t-svc"})
    document["fleets"] = "something else"
    plan = record.plan()
    (record.path / "plan.json").write_text(json.dumps(document))
    assert record.fault() is not None
    kept = [each for each in plan.objects if isinstance(each, Namespace | File | ConntrackMax)]
    assert list(remains(state, record).objects) == kept
    assert remains(state, record).namespaces == plan.namespaces


def test_a_record_without_a_field_is_another_versions(state: State) -> None:
    """A field that an earlier version did not write has no default: what was made then is not what this one reads."""
    record = remembered(state, "t")
    document = json.loads((record.path / "plan.json").read_text())
    del document["limiters"][0]["mark"]
    (record.path / "plan.json").write_text(json.dumps(document))
    assert record.fault() is not None


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(state: State, umask: int) -> None:
    """All may read what a lab remembers, and nobody but root may write to it, whatever root's umask is."""
    before = os.umask(umask)
    try:
        with state.changing("t"):
            record = remembered(state, "t")
        record.note_namespace(KnownNamespace("lab-t-svc", 4, 5, 6))
        with record.alone(), Bursts(record.path / "bursts").beginning():
            modes = {
                stat.S_IMODE(each.stat().st_mode) for each in (state.root, *state.root.rglob("*")) if each.is_dir()
            }
            assert modes == {0o755}
            files = [each for each in record.path.rglob("*") if each.is_file()]
            assert not any(each.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH) for each in files)
            assert all(
                (record.path / name).stat().st_mode & stat.S_IROTH for name in ("plan.json", "phase", "identity")
            )
    finally:
        os.umask(before)


@pytest.mark.parametrize("line", ['["lab-t-dns", 1e999, 5, 6]', '["lab-t-dns", 4]', "[" * 5_000, "lab-t-dns"])
def test_a_namespace_that_cannot_be_read_is_left_out(state: State, line: str) -> None:
    """`lab down` goes on with the namespaces that it can read of, whatever number or text stands among them."""
    with state.changing("t"):
        record = remembered(state, "t")
    known = KnownNamespace("lab-t-svc", 4, 5, 6)
    record.note_namespace(known)
    with (record.path / "namespaces.jsonl").open("a") as notes:
        notes.write(f"{line}\n")

    assert list(record.known_namespaces()) == [known]


FORGED = (
    {"kind": "namespace", "name": "lab-other-vpc"},
    {"kind": "namespace", "name": "lab-t-b-vpc"},
    {"kind": "namespace", "name": "lab-t-/../../victim"},
    {"kind": "namespace", "name": "../../etc/passwd"},
    {"kind": "file", "path": "/etc/passwd", "text": ""},
    {"kind": "file", "path": "/etc/netns/lab-t-svc/../../passwd", "text": ""},
    {"kind": "file", "path": "/etc/netns/lab-t-svc/..", "text": ""},
    {"kind": "file", "path": "/etc/netns/lab-t-b-vpc/resolv.conf", "text": ""},
)


def test_a_plan_is_not_believed_beyond_its_own_lab(state: State) -> None:
    """`down` of a forged plan takes what is this lab's: neither another's namespaces nor files elsewhere."""
    record = remembered(state, "t")
    remembered(state, "t-b")
    honest = remains(state, record)
    document = json.loads((record.path / "plan.json").read_text())
    document["objects"] += FORGED
    (record.path / "plan.json").write_text(json.dumps(document))
    assert remains(state, record) == honest
    document["lab"] = "t-b\n\u2028"
    (record.path / "plan.json").write_text(json.dumps(document))
    assert remains(state, record).namespaces == ()
    fault = record.fault()
    assert fault is not None
    assert r"is the plan of lab t-b\n\u2028; take it down" in str(fault)


def test_a_namespace_that_two_labs_may_have(state: State) -> None:
    """It is of the lab whose plan has it, or else of the longer name; without any plan it is of whoever asks."""
    plan = remembered(state, "a").plan()
    longer = remembered(state, "a-srv")
    assert "lab-a-srv-cache" in plan.namespaces
    assert list(owned(state, "a", plan.namespaces)) == list(plan.namespaces)
    (longer.path / "plan.json").write_text("")
    assert list(owned(state, "a", plan.namespaces)) == list(plan.namespaces)
    assert list(owned(state, "a-srv", plan.namespaces)) == []
    (state.root / "a" / "plan.json").write_text("")
    assert list(owned(state, "a-srv", ["lab-a-srv-cache", "lab-a-vpc"])) == ["lab-a-srv-cache"]
    assert list(owned(state, "a", ["lab-a-srv-cache", "lab-a-vpc"])) == ["lab-a-vpc"]


def contents(record: Record) -> dict[str, bytes]:
    """Each file of a record, with what is in it."""
    return {path.name: path.read_bytes() for path in record.path.iterdir() if path.is_file()}


TINY = shipped("tiny")
CHANGE = build(TINY, "t"), build(scaled(TINY, 2), "t"), scaled(TINY, 2), "version: 2\n", 2
"""What is there meanwhile, and what is wanted."""


def up(state: State) -> Record:
    """A lab that is up."""
    record = remembered(state, "t")
    record.set_phase("up")
    return record


@pytest.mark.parametrize("which", range(9))
def test_a_change_that_there_is_no_room_for(state: State, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """Whichever write finds no room, the record is as it was, and the lab is up."""
    record = up(state)
    before, written, link = contents(record), count(), os.link

    def full(do: Callable[..., None], *arguments: Any) -> None:
        if next(written) == which:
            raise OSError(28, "No space left on device")
        do(*arguments)

    monkeypatch.setattr("lab.kernel.state.write_at_once", partial(full, write_at_once))
    monkeypatch.setattr("os.link", partial(full, link))
    with pytest.raises(KernelError, match=r"record of lab t cannot be written: .* No space left on device"):
        record.begin_change(*CHANGE)
    assert contents(record) == before


@pytest.mark.parametrize("name", ["phase", "plan.json"])
def test_a_change_that_cannot_begin(state: State, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whichever file cannot be put in its place, taking the change back leaves the record as it was, and no other."""
    record = up(state)
    before, replace = contents(record), Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path.name == f"{name}.meanwhile":
            raise OSError(12, "Cannot allocate memory")
        return replace(path, target)

    with monkeypatch.context() as refusing:
        refusing.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            record.begin_change(*CHANGE)
    record.revert()
    assert contents(record) == before


def test_a_change_that_has_begun_needs_no_room(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded when it is taken back, and when it is done, was written before it began."""
    record = up(state)
    before = contents(record)
    for end in (record.revert, record.settle):
        record.begin_change(*CHANGE)
        assert (record.phase(), record.plan()) == ("building", CHANGE[0])
        with monkeypatch.context() as full:
            full.setattr("lab.kernel.state.write_at_once", None)
            end()
        assert contents(record).keys() == before.keys()
        assert record.phase() == "up"
        assert (contents(record) == before) == (end == record.revert)
    assert (record.plan(), record.scale(), record.topology_text()) == (CHANGE[1], 2, "version: 2\n")


def test_alone(state: State) -> None:
    """One burst at a time: a second one learns that it is not alone, and a later one is."""
    record, same = remembered(state, "t"), state.record("t")
    assert same is not None
    with record.alone() as first:
        with same.alone() as second:
            assert (first, second) == (True, False)
        with same.alone() as still:
            assert not still
    with same.alone() as later:
        assert later


def test_alone_is_per_lab(state: State) -> None:
    """Bursts in two labs do not wait for each other."""
    with remembered(state, "a").alone() as a, remembered(state, "b").alone() as b:
        assert (a, b) == (True, True)


def test_locked(state: State) -> None:
    """The lock makes the directory on the first use of a machine, and can be taken again."""
    for _ in range(2):
        with state.locked():
            assert state.root.is_dir()
    assert state.records() == []


def test_changes_of_other_labs_go_on(state: State) -> None:
    """Whoever changes one lab keeps nobody from changing another, and leaves no file behind."""
    with state.changing("a"), state.changing("b"), state.locked():
        pass
    assert [path.name for path in state.root.iterdir()] == [".lock"]


def test_changes_of_one_lab_wait(state: State) -> None:
    """Many that change one lab do so one at a time, whoever removes the file that the others wait for."""
    inside: list[int] = []
    most: list[int] = []

    def change(number: int) -> None:
        for _ in range(50):
            with state.changing("t"):
                inside.append(number)
                time.sleep(0)  # another thread's turn, if it can take it
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(change, range(4)))
    assert most == [1] * 200


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a file that is closed with its frame
def test_an_interrupt_at_any_instruction_leaves_no_lock(state: State) -> None:
    """Undoing needs the lock of all labs, while the traceback of what is undone is still there."""

    def use() -> None:
        with state.locked():
            pass

    use()
    tried = 0
    for _ in interrupts_of(use):
        with (state.root / ".lock").open("a", encoding="utf-8") as free:
            fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tried += 1
    assert tried > 20

"""What the lab remembers of itself, in a directory of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import json
from pathlib import Path
import time

import pytest

from lab.errors import KernelError, UsageError
from lab.kernel.state import Record, State
from lab.lab import Lab
from lab.nodes.build import build
from lab.plan.objects import ConntrackMax, File, Namespace
from lab.topology import load, scaled
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
    assert not gone.readable()


def test_records(state: State) -> None:
    """All labs are listed by name; what has no plan is none."""
    assert state.records() == []
    for lab in ("b", "a"):
        remembered(state, lab)
    state.conntrack_max_record.write_text("{}")
    (state.root / "c" / "log").mkdir(parents=True)
    assert [record.lab for record in state.records()] == ["a", "b"]
    assert state.record("c") is None


def test_forget(state: State) -> None:
    """A lab that is forgotten leaves nothing, and the others alone."""
    remembered(state, "b")
    remembered(state, "a").forget()
    assert [path.name for path in state.root.iterdir()] == ["b"]
    assert state.record("a") is None


def test_identity(state: State) -> None:
    """A lab that is made again under the same name is another lab, and one that is gone is none."""
    first = remembered(state, "t").identity()
    record = remembered(state, "t")
    assert record.identity() not in ("", first)
    record.forget()
    assert not record.identity()


def test_a_damaged_record_says_what_to_do(state: State) -> None:
    """A plan that cannot be read is a sentence with the place and the way out."""
    record = remembered(state, "t")
    (record.path / "plan.json").write_text("{")
    with pytest.raises(KernelError, match=r"record of lab t is damaged.*ip netns del"):
        record.plan()


def test_what_remains_of_another_versions_record(state: State) -> None:
    """Objects that this version does not know are nothing to `down`: namespaces go with all in them."""
    record = remembered(state, "t")
    document = json.loads((record.path / "plan.json").read_text())
    document["objects"].append({"kind": "wormhole", "namespace": "lab-t-svc"})
    document["fleets"] = "something else"
    plan = record.plan()
    (record.path / "plan.json").write_text(json.dumps(document))
    assert not record.readable()
    kept = [each for each in plan.objects if isinstance(each, Namespace | File | ConntrackMax)]
    assert list(record.remains().objects) == kept
    assert record.remains().namespaces == plan.namespaces


def test_a_record_without_a_field_is_another_versions(state: State) -> None:
    """A field that an earlier version did not write has no default: what was made then is not what this one reads."""
    record = remembered(state, "t")
    document = json.loads((record.path / "plan.json").read_text())
    del document["limiters"][0]["mark"]
    (record.path / "plan.json").write_text(json.dumps(document))
    assert not record.readable()


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

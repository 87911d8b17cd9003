"""What `up` wants, from a file that is read once, and what it would do, where that needs no kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.converge.change import Wanted
from lab.converge.up import foresee
from lab.errors import PreflightError
from lab.kernel.state import State
from lab.nodes.build import build
from lab.topology import load, scaled
from tests.support.topologies import SHIPPED

TINY = next(path for path in SHIPPED if path.stem == "tiny")


def test_a_topology_file_is_read_once(tmp_path: Path) -> None:
    """What is recorded is what was loaded: a pipe has nothing left for whoever opens it again."""
    text = TINY.read_text(encoding="utf-8")
    reader, writer = os.pipe()
    os.write(writer, text.encode())
    os.close(writer)
    wanted = Wanted.read(f"/dev/fd/{reader}", None, 1, State(tmp_path))
    assert (wanted.text, wanted.topology.name, wanted.plan.lab) == (text, "tiny", "tiny")
    assert Path(f"/dev/fd/{reader}").read_bytes() == b""
    os.close(reader)


def test_a_lab_that_is_not_up_is_planned_in_full(tmp_path: Path) -> None:
    """Its name and limits are those that were asked for; no root and no kernel are needed, and nothing is made."""
    state = State(tmp_path / "lab")
    planned = foresee(state, Wanted.read(TINY, "other", 5, state))
    assert planned == build(scaled(load(TINY), 5), "other")
    assert not (tmp_path / "lab").exists()


def test_a_lab_that_is_up_needs_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds decides what a change would break, and only root may look; half a lab is made anew in full."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    state = State(tmp_path)
    wanted = Wanted.read(TINY, None, None, state)
    record = state.new_record("tiny")
    record.write(wanted.plan, wanted.topology, wanted.text)
    assert foresee(state, wanted) == wanted.plan
    record.set_phase("up")
    with pytest.raises(PreflightError, match="run: sudo"):
        foresee(state, wanted)


def test_a_lab_that_is_up_keeps_its_scale(tmp_path: Path) -> None:
    """Its limits stay divided unless told otherwise; half a lab is made anew, with the file's limits."""
    state = State(tmp_path)
    wanted = Wanted.read(TINY, None, 5, state)
    record = state.new_record("tiny")
    record.write(wanted.plan, wanted.topology, wanted.text, wanted.scale)
    assert Wanted.read(TINY, None, None, state).scale == 1
    record.set_phase("up")
    assert Wanted.read(TINY, None, None, state) == wanted
    assert Wanted.read(TINY, None, 1, state).topology == load(TINY)

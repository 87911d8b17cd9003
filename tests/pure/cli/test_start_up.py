"""What a command loads before it does anything: a command that lists labs does not wait for numpy."""

from __future__ import annotations

from pathlib import Path
import subprocess

import pytest

from lab.kernel.state import State
from lab.nodes.build import build
from tests.support.loaded import IMPORT_TIMES, beyond
from tests.support.topologies import shipped

_AS_ROOT_WITH_LABS_IN = """
import os, pathlib, sys
from lab.cli import main
from lab.kernel.state import State

root, *arguments = sys.argv[1:]
State.__init__.__defaults__ = (pathlib.Path(root),)
os.geteuid = lambda: 0
os.execv = lambda *_: sys.exit(0)
sys.argv = ["lab", *arguments]
main()
"""
"""A command as root runs it, on a machine whose labs are recorded in a directory, and whose programs do nothing."""


def loaded_by(root: Path, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and its standard error with all that it loads."""
    command = (*IMPORT_TIMES, "-c", _AS_ROOT_WITH_LABS_IN, str(root), *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where a lab is recorded: its nodes are listed, and nothing of it is there."""
    state, tiny = State(tmp_path), shipped("tiny")
    state.new_record("tiny").write(build(tiny), tiny, "version: 1\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("list",), 0),
        (("exec", "cache", "--", "sh"), 0),
        (("status",), 0),
        (("reset",), 2),
        (("down", "--lab", "another"), 2),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_a_command_loads_what_it_needs(root: Path, arguments: tuple[str, ...], status: int) -> None:
    """Neither numpy nor netlink, neither the topology's models nor what bursts are made of."""
    ended, said = loaded_by(root, *arguments)
    assert (ended, beyond(arguments[0], said)) == (status, [])


def test_help_loads_the_command_line() -> None:
    """What explains commands knows none of what they do."""
    command = (*IMPORT_TIMES, "-c", "from lab.cli import main; main()", "--help")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert beyond("--help", done.stderr) == []


@pytest.mark.parametrize("module", ["numpy", "scapy.layers.inet", "pyroute2", "lab.topology.model", "lab.burst.load"])
def test_a_module_too_many_is_seen(root: Path, module: str) -> None:
    """Each of those that took half a second of every command would be named."""
    _, said = loaded_by(root, "list")
    assert beyond("list", f"{said}import time:       1 |          1 | {module}\n") == [module]

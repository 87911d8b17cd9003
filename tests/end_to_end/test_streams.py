"""A burst in a poor environment: nobody reads what it prints, or the locale is not UTF-8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.command import run_lab

if TYPE_CHECKING:
    from pathlib import Path

    from lab.pytest_plugin import LabUp

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


def test_recorded_whatever_the_streams(lab_up: LabUp, topologies: Path, tmp_path: Path) -> None:
    """With closed output and without UTF-8 bursts are recorded, and such a terminal compares and draws them."""
    lab = lab_up(topologies / "tiny.yaml")
    variables = ASCII | {"XDG_DATA_HOME": str(tmp_path)}
    burst = ("burst", "--lab", lab.name, "-n", "10")
    closed = run_lab(*burst, **variables, through=("sh", "-c", 'exec "$0" "$@" >&-'))
    assert (closed.status, closed.stderr) == (0, "")
    assert run_lab(*burst, through=(), **variables).status == 0
    for command in (("compare", "last~1", "last"), ("graph", "--lab", lab.name), ("why", "last")):
        done = run_lab(*command, through=(), **variables)
        assert (done.status, done.stderr) == (0, "")

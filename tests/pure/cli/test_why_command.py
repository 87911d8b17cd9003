"""`lab why` as it is typed: mistakes and help, before a lab is looked for."""

from __future__ import annotations

import pytest

from tests.support.cli import Run


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 2, "no lab is up; bring one up: lab up"),
        (("--connection", "100.65.0.0"), 2, "such as 100.65.0.0:536; the port is missing"),
        (("--connection", "100.65.0.0:1", "--function", "checkout"), 2, "leave --function out"),
        (("last", "--to", "cache"), 2, "a run and --to: a run has its own lab, function and server"),
        (("last", "--lab", "tiny", "--connection", "100.65.0.0:1"), 2, "a run and --lab, --connection:"),
        (("/nowhere/at/all",), 2, "/nowhere/at/all"),
    ],
)
def test_mistakes(run: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    """Each is a sentence and a status, before a lab is looked for."""
    ended = run("why", *arguments)
    assert (ended.status, ended.stdout) == (status, "")
    assert said in ended.stderr


def test_help(run: Run) -> None:
    """The help has examples to copy."""
    assert "lab why --connection 100.65.0.0:536" in run("why", "--help").stdout

"""Commands whose standard streams are closed, left by their reader, or without the characters of drawings."""

from __future__ import annotations

from pathlib import Path
import subprocess

import pytest

from lab.cli.commands import COMMANDS as VERBS
from tests.support.command import LAB, environment

TOPOLOGY = str(Path(__file__).parents[3] / "topologies" / "tiny.yaml")
COMMANDS = [
    ("graph", TOPOLOGY),
    ("predict", TOPOLOGY, "-n", "100"),
    ("plan-capacity", "--peak", "130000"),
    ("burst", "--help"),
]
LATIN_1 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}


def shell(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """A command as a shell starts it."""
    words = ("sh", "-c", script, LAB, *arguments)
    return subprocess.run(words, capture_output=True, check=False, timeout=60, env=environment(**variables))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_latin_1(command: tuple[str, ...]) -> None:
    """What a terminal's encoding does not have is shown by other characters."""
    done = shell('exec "$0" "$@"', *command, **LATIN_1)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode("latin-1")


def test_a_drawing_keeps_its_columns() -> None:
    """Lines are drawn in ASCII, each character in the place of one."""
    drawn, substituted = (
        shell('exec "$0" graph "$1"', TOPOLOGY, **variables).stdout.decode("utf-8").splitlines()
        for variables in ({"PYTHONUTF8": "1"}, LATIN_1 | {"PYTHONIOENCODING": "ascii"})
    )
    assert [len(line) for line in drawn] == [len(line) for line in substituted]
    assert "?" not in "".join(substituted)


def test_what_programs_read_is_utf_8() -> None:
    """An SVG says that it is UTF-8, and is, in any locale."""
    script = 'exec "$0" graph "$1" --format svg'
    assert shell(script, TOPOLOGY, **LATIN_1).stdout == shell(script, TOPOLOGY, PYTHONUTF8="1").stdout


@pytest.mark.parametrize("command", [*COMMANDS[:-1], *((verb, "--help") for verb in VERBS)], ids=lambda each: each[0])
def test_closed_output(command: tuple[str, ...]) -> None:
    """Where standard output is closed the command does its work, and has nothing to complain about."""
    done = shell('exec "$0" "$@" >&-', *command)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_error() -> None:
    """A mistake has its exit status, too, where there is nowhere to say it."""
    done = shell('exec "$0" "$@" 2>&- >&-', "predict", "nothing.yaml", "-n", "1")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.parametrize("command", [*COMMANDS[:-1], *((verb, "--help") for verb in VERBS)], ids=lambda each: each[0])
def test_output_that_is_lost(command: tuple[str, ...]) -> None:
    """A full disk is an exit status of its own; `head` takes what it wants, and the command has its own status."""
    full = shell('exec "$0" "$@" >/dev/full', *command)
    said = b"standard output cannot be written: No space left on device; what the command has done stays done\n"
    assert (full.returncode, full.stderr) == (5, said)
    left = shell('{ "$0" "$@"; echo $? >&2; } | true', *command)
    assert left.stderr == b"0\n"

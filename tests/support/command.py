"""The `lab` command in tests: the console script beside the interpreter, run as people run it."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any, NamedTuple

__all__ = ["LAB", "Ended", "bare", "environment", "run_lab", "start_lab"]

LAB = str(Path(sys.executable).with_name("lab"))

_PERSONAL = ("LAB_NAME", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS")
_WITHIN_S = 60


class Ended(NamedTuple):
    """A command that has ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.stdout)


def environment(**more: str) -> dict[str, str]:
    """The environment without what somebody may have set for themselves."""
    return {name: value for name, value in os.environ.items() if name not in _PERSONAL} | more


def bare(command: str) -> str:
    """A command that the lab proposes, as whoever has the rights already types it: root, or a shell in a sandbox."""
    return command.replace("sudo ", "").replace("lab sandbox -- ", "")


def run_lab(*arguments: object, through: tuple[str, ...] = (), text: str = "", **variables: str) -> Ended:
    """Run a command to its end; `through` is a program that starts it."""
    done = subprocess.run(
        (*through, LAB, *map(str, arguments)),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=_WITHIN_S,
        env=environment(**variables),
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def start_lab(*arguments: object) -> subprocess.Popen[str]:
    """Start a command in a process group of its own, as a shell does: Ctrl-C reaches all of it."""
    return subprocess.Popen(
        (LAB, *map(str, arguments)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )

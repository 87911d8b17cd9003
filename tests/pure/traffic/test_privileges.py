"""What a process can no longer do when it has given up root, tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from traffic.privileges import LAB_UID

PROLOGUE = """
import os, socket
from traffic.privileges import Capability, give_up
def tries(what, *values):
    try:
        what(*values)
    except OSError as refused:
        return type(refused).__name__
    return "done"
def bind(port):
    with socket.socket() as made:
        made.bind(("127.0.0.1", port))
"""


def _says(program: str) -> str:
    done = subprocess.run((sys.executable, "-c", PROLOGUE + program), capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("give_up(); print(os.getresuid(), os.getgroups())", f"{(LAB_UID,) * 3} []"),
        ("give_up(); print(tries(os.setuid, 0), tries(os.open, '/etc/shadow', 0))", "PermissionError PermissionError"),
        ("give_up(); print(tries(socket.socket, socket.AF_PACKET, socket.SOCK_RAW))", "PermissionError"),
        ("give_up(); print(tries(bind, 1))", "PermissionError"),
        ("give_up(Capability.NET_BIND_SERVICE); print(tries(bind, 1), tries(os.setuid, 0))", "done PermissionError"),
        ("give_up(user=0); print(os.getuid(), tries(os.chown, '/proc/self/fd/1', 1, 1))", "0 PermissionError"),
        ("give_up(); give_up(); print('twice')", "twice"),
    ],
)
def test_what_is_left(program: str, said: str) -> None:
    """Root's user number and all capabilities that are not kept are gone, and do not come back."""
    assert _says(program) == said

"""A burst that holds connections, and a capture, are killed; then one `lab down` has to leave nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import signal
import subprocess
from tempfile import TemporaryDirectory

from lab.lab import Lab
from tests.support.command import run_lab, start_lab
from tests.support.host import differences, network_of_host, of_lab
from tests.support.labs import eventually
from tests.support.machine import left_of

__all__ = ["CASES", "killed_at_work"]

TWO_SUBNETS = Path(__file__).parents[2] / "topologies" / "two_subnets.yaml"
ENI_LIMITS = 130_000
CASES = 3
_WITHIN_S = 120.0


def killed_at_work(scale: int) -> Iterator[str]:
    """What is not as promised: a burst that holds all that the ENIs let through, and a capture of it."""
    name, held = f"killed-{os.getpid()}", ENI_LIMITS // scale
    burst = ("burst", "--lab", name, "-n", held, "--connect-timeout", 20, "--hold", 60)
    with TemporaryDirectory() as directory:
        path = Path(directory, "killed.pcapng")
        capture = ("capture", "--lab", name, "-w", path)
        for kill in (os.kill, os.killpg):
            yield from _killed(name, scale, burst, lambda: _held(name) >= held, kill)
        yield from _killed(name, scale, capture, path.exists, os.kill)


def _held(name: str) -> int:
    return sum(each.in_use for each in Lab.find(name).readings() if each.limiter.kind == "hyperplane_eni")


def _killed(
    name: str, scale: int, command: tuple[object, ...], moment: Callable[[], bool], kill: Callable[[int, int], None]
) -> Iterator[str]:
    host = network_of_host()
    Lab.up(TWO_SUBNETS, name=name, scale=scale)
    with start_lab(*command) as process:
        came = eventually(moment, _WITHIN_S)
        kill(process.pid, signal.SIGKILL)
        said = _said(process)
    down = run_lab("down", "--lab", name)
    if not came:
        yield f"{command[0]} never held what it was to be killed with: {said}"
    if down.status:
        yield f"{command[0]} killed: `lab down` ended with {down.status} and said {down.stderr!r}"
    if left := [*of_lab(name), *left_of(name)]:
        yield f"{command[0]} killed, left: {', '.join(left)}"
    yield from (f"{command[0]} killed, of the host, {line}" for line in differences(host, network_of_host()))


def _said(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=_WITHIN_S)[1]
    except subprocess.TimeoutExpired:
        return "its output stays open"

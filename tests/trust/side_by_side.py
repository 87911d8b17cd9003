"""Labs beside one another: each as if it were alone, and one change of a lab at a time, whoever asks for it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
import os
from pathlib import Path
import signal
import subprocess
import sys
from tempfile import TemporaryDirectory

from lab.kernel.state import State
from tests.support.command import LAB, Ended, environment
from tests.support.machine import left_of
from tests.trust.promise import Effort, Outcome, Promise

__all__ = ["PROMISE"]

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "two_subnets.yaml"
CHANGE = ("elastic_ips: 3", "elastic_ips: 1")
LABS = {Effort.SHORT: 2, Effort.FULL: 10}
ROUNDS = {Effort.SHORT: 1, Effort.FULL: 3}
SCALE, OFFERED = 1000, 200
EXPECTED = (("before the change", 130), ("after it", 55))
"""Two ENIs of 65 connections; then one Elastic IP of 55."""
WITHIN_S = 300
"""For a command, one of many on a machine that may do other things as well."""
_HOLDER = """
import sys, time
from lab.kernel.state import State
with State().changing(sys.argv[1]):
    print(flush=True)
    time.sleep(600)
"""


@dataclass(slots=True)
class _Labs:
    """What was done with labs, and what was not as promised."""

    tried: int = 0
    failures: list[str] = field(default_factory=list)

    def run(self, *words: object, status: tuple[int, ...] = (0,)) -> Ended:
        """A command, which ends with one of these statuses, and without a traceback."""
        ended = _ended(*words)
        said = f"lab {' '.join(map(str, words))}: status {ended.status}: {ended.stderr.strip()[-300:]}"
        why = ended.stderr.strip() or ended.status == 0
        self.require(bool(why) and ended.status in status and "Traceback" not in ended.stderr, said)
        return ended

    def require(self, promised: bool, said: str) -> None:  # noqa: FBT001 -- as `assert` has it
        """Count one thing, and note it if it is not as promised."""
        self.tried += 1
        if not promised:
            self.failures.append(said)


def _ended(*words: object) -> Ended:
    try:
        done = subprocess.run(
            (LAB, *map(str, words)), capture_output=True, text=True, check=False, timeout=WITHIN_S, env=environment()
        )
    except subprocess.TimeoutExpired:
        return Ended(-1, "", f"not done within {WITHIN_S} s")
    return Ended(done.returncode, done.stdout, done.stderr)


def _check(effort: Effort) -> Outcome:
    labs = _Labs()
    names = [f"beside-{os.getpid()}-{number}" for number in range(LABS[effort])]
    with TemporaryDirectory() as directory:
        changed = Path(directory, "changed.yaml")
        changed.write_text(TOPOLOGY.read_text(encoding="utf-8").replace(*CHANGE), encoding="utf-8")
        try:
            with ThreadPoolExecutor(len(names)) as pool:
                list(pool.map(lambda name: _rounds(labs, name, changed, ROUNDS[effort]), names))
            _one_at_a_time(labs, names[0], changed)
        finally:
            for name in names:
                if left_of(name):
                    _ended("down", "--lab", name)
    return Outcome(labs.tried, "commands and results", tuple(labs.failures), f"{len(names)} labs at a time")


def _rounds(labs: _Labs, name: str, changed: Path, rounds: int) -> None:
    for _ in range(rounds):
        for (when, established), path in zip(EXPECTED, (TOPOLOGY, changed), strict=True):
            labs.run("up", path, "--name", name, "--scale", SCALE, "--disruptive")
            ended = labs.run("burst", "--lab", name, "-n", OFFERED, "--connect-timeout", 2, "--json", "-")
            if ended.status == 0:
                found = ended.json["tcp"]["established"], ended.json["predicted"]["established"]
                labs.require(found == (established, established), f"{name}, {when}: {found}, not {established}")
                labs.require(not ended.json["disagreements"], f"{name}, {when}: {ended.json['disagreements']}")
        labs.run("down", "--lab", name)
        labs.require(not left_of(name), f"{name}: left: {left_of(name)}")


def _one_at_a_time(labs: _Labs, name: str, changed: Path) -> None:
    """Two at once in one lab: one waits or says why not; a lock of a killed process is free."""
    change = ("up", changed, "--name", name, "--scale", SCALE)
    up = ("up", TOPOLOGY, "--name", name, "--scale", SCALE)
    burst = ("burst", "--lab", name, "-n", OFFERED, "--connect-timeout", 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda words: labs.run(*words), (up, up)))
        list(pool.map(lambda words: labs.run(*words, status=(0, 2, 4)), (burst, burst)))
        list(pool.map(lambda words: labs.run(*words, status=(0, 1, 2, 4)), (burst, change)))
        list(pool.map(lambda words: labs.run(*words, status=(0, 2, 4)), (burst, ("down", "--lab", name))))
    labs.run("down", "--lab", name, status=(0, 2))
    with subprocess.Popen((sys.executable, "-c", _HOLDER, name), stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        labs.require(State().is_changing(name), "the lock is not held")
        holder.send_signal(signal.SIGKILL)
    labs.run(*up)
    labs.run("down", "--lab", name)
    labs.require(not left_of(name), f"{name}: left: {left_of(name)}")


PROMISE = Promise(
    name="side-by-side",
    text="Labs do not disturb one another, whatever is done with the others meanwhile; of two commands that would "
    "change one lab at once, one waits or says why it does not; the lock of a process that was killed is free.",
    method="Labs of one topology under different names, each brought up, fired at, changed, fired at and taken down by "
    "real commands while the others are: each burst has exactly the connections that its limits allow and that were "
    "predicted, and nothing is left. Then two `up`, two bursts, a burst and a change, a burst and a `down` of one lab "
    "at the same moment, and an `up` after the holder of the lab's lock was killed.",
    check=_check,
)

"""`python -m tests.trust.breaking`: a lab that is brought up, changed and taken down with faults, case by case.

It reads a Job from standard input and writes a line for each case. Processes of the lab whose parent has ended become
its children (PR_SET_CHILD_SUBREAPER), so it knows all of them, wherever they are.
"""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
import gc
from importlib import import_module
import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import NamedTuple

import lab.nodes
from tests.support.host import children, differences, network_of_host, of_lab
from tests.trust.steps import Fault, Kind, Ran, run

__all__ = ["COMMANDS", "Case", "Job", "Tried"]

COMMANDS = ("up", "change", "down")
_STATUSES = {0, 1, 2, 3, 4, 129, 130}
"""What a command may end with that was not killed (`lab.errors`)."""
_NODES = Path(lab.nodes.__file__).parent
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_END_WITHIN_S = 20.0
_LOADED = (
    "asyncio",
    "lab.capacity.predict",
    "lab.cli.commands",
    "lab.cli.labs",
    "lab.converge.summary",
    "lab.converge.up",
    "lab.diagnosis.thresholds",
    "lab.kernel.remains",
    "lab.lab",
    "lab.nodes.build",
    "lab.nodes.diagnosis",
    "lab.topology",
    "pydantic.dataclasses",
    "pyroute2",
    "trustme",
)
"""What the commands load, so that each child has it already; each node kind's plan is loaded as well."""


class Case(NamedTuple):
    """A command, what happens to it, and at which of its steps."""

    command: str
    kind: str
    step: int


class Job(NamedTuple):
    """The cases of one process."""

    lab: str
    topology: str
    changed: str
    scale: int
    cases: list[Case]
    """None: all steps of the three commands are listed, and nothing is tried."""


class Tried(NamedTuple):
    """What became of a case."""

    case: Case
    step: str
    """What the fault happened at; nothing if the command never came to that step."""
    failures: list[str]


class _Subject:
    """One lab, up or not, as the next case wants it."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._down = ("down", "--lab", job.lab)
        self._is_up = False

    def steps(self) -> dict[str, list[str]]:
        """All steps of each command."""
        return {command: list(self._ran(command).steps) for command in COMMANDS}

    def tried(self, case: Case) -> Tried:
        """Let it happen, and compare what is there before and after."""
        if self._is_up != (case.command != "up"):
            self._ran("down" if self._is_up else "up")
        network, before = network_of_host(), self._of_lab()
        kind = Kind(case.kind)
        ran = self._ran(case.command, Fault(kind, case.step))
        failures = list(_unexpected(ran, kind))
        ended = kind.kills or ran.status == 0 or case.command == "down"
        if ended or "lab down" in ran.said or self._came_too_late(ran, kind):
            failures += self._cleared()
        else:
            failures += [f"not undone: {line}" for line in differences(before, self._of_lab())]
            self._is_up = case.command != "up"
        failures += [f"of the host, {line}" for line in differences(network, network_of_host())]
        if failures:
            failures.append(f"it ended with {ran.status} and said {ran.said[-500:]!r}")
        return Tried(case, " ".join(ran.steps), failures)

    def _came_too_late(self, ran: Ran, kind: Kind) -> bool:
        """Whether all was done but for the lock's file, or a signal came when all was done: the lab is complete."""
        late = kind.is_signal or any(step.startswith("os.remove") and ".lock" in step for step in ran.steps)
        phase = Path("/run/lab", self._job.lab, "phase")
        return late and "is as it was" not in ran.said and phase.exists() and phase.read_text(encoding="utf-8") == "up"

    def _cleared(self) -> Iterator[str]:
        """Take the lab down, if there is anything of it; what is left then."""
        self._is_up = False
        if self._of_lab():
            down = run(*self._down)
            if down.status not in (0, 2):
                yield f"`lab down` ended with {down.status} and said {down.said[-500:]!r}"
        if left := self._of_lab():
            yield f"left: {', '.join(left)}"
            self._remove_by_force()

    def _remove_by_force(self) -> None:
        """So that the next case begins as this one did."""
        for number in children():
            os.kill(number, signal.SIGKILL)
        run(*self._down)
        for path in Path("/run/lab").glob(f".{self._job.lab}.*"):
            os.system(f"rm -rf {path}")  # noqa: S605

    def _ran(self, command: str, fault: Fault | None = None) -> Ran:
        if command == "down":
            ran = run(*self._down, fault=fault)
        else:
            topology = self._job.changed if command == "change" else self._job.topology
            more = ("--name", self._job.lab, "--scale", str(self._job.scale), "--disruptive")
            ran = run("up", topology, *more, fault=fault)
        if fault is None and ran.status:
            raise RuntimeError(f"lab {command} ended with {ran.status}: {ran.said}")
        self._is_up = command != "down"
        return ran

    def _of_lab(self) -> dict[str, str]:
        """What there is of the lab, once those of its processes that are ending have ended."""
        deadline = time.monotonic() + _END_WITHIN_S
        while True:
            _reap()
            found = of_lab(self._job.lab)
            commands = sorted(children().values())
            if not commands or found or time.monotonic() > deadline:
                return found | {f"process {number}": words for number, words in enumerate(commands)}
            time.sleep(0.01)


def _unexpected(ran: Ran, kind: Kind) -> Iterator[str]:
    if "Traceback" in ran.said:
        yield "a traceback"
    if ran.status not in _STATUSES and not (kind.kills and ran.status == -signal.SIGKILL):
        yield f"exit status {ran.status}"


def _reap() -> None:
    """Ended children are nobody else's to wait for."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


def main() -> None:
    """Try all cases of the job, or list the steps that there are."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for module in (*_LOADED, *(f"lab.nodes.{path.parent.name}.plan" for path in _NODES.glob("*/plan.py"))):
        import_module(module)
    gc.freeze()  # or each child would copy what its collector visits
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    *settings, cases = json.load(sys.stdin)
    lab_name, topology, changed, scale = settings
    job = Job(lab_name, topology, changed, scale, [Case(*case) for case in cases])
    subject = _Subject(job)
    if not job.cases:
        _say(subject.steps())
    try:
        for case in job.cases:
            _say(subject.tried(case))
    finally:
        run("down", "--lab", job.lab)


if __name__ == "__main__":
    main()

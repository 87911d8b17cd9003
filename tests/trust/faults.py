"""A command that fails or is killed, at any of its steps, leaves the host as it was, or one `lab down` does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
import json
import os
from pathlib import Path
from random import randrange
import subprocess
import sys
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.support.host import differences, settings_of_host
from tests.trust.breaking import COMMANDS, Case, Job, Tried
from tests.trust.killed import CASES as KILLED_AT_WORK
from tests.trust.killed import killed_at_work
from tests.trust.promise import Effort, Outcome, Promise
from tests.trust.steps import KINDS, Kind

__all__ = ["PROMISE"]

ROOT = Path(__file__).parents[2]
SCALE = 1000
_CONNTRACK_MAX = Path("/proc/sys/net/netfilter/nf_conntrack_max")
SIDE_BY_SIDE = 3


class _Subject(NamedTuple):
    """A topology, what a live change makes of it, and every how many steps something happens."""

    name: str
    changes: dict[str, str]
    every: int
    """For an OSError and SIGKILL of the process."""
    every_of_others: int


_SUBJECTS = (
    _Subject(
        "two_subnets", {"elastic_ips: 3": "elastic_ips: 2", "private-b": "private-c", "10.0.2.": "10.0.3."}, 1, 10
    ),
    _Subject("privatelink", {"elastic_ips: 1": "elastic_ips: 2", "name: checkout": "name: basket"}, 6, 30),
    _Subject("transit_gateway", {"elastic_ips: 2": "elastic_ips: 1", "name: refunds": "name: returns"}, 6, 30),
)
_WHAT = "steps and what happened at them"
_MOST_COMMON = (Kind.OS_ERROR, Kind.KILLED)
_SHORT = (
    *(Case("up", kind.value, 10 + 60 * number) for number, kind in enumerate(KINDS)),
    Case("change", Kind.KERNEL_ERROR.value, 40),
    Case("change", Kind.INTERRUPTED.value, 70),
    Case("change", Kind.KILLED.value, 55),
    Case("down", Kind.GROUP_KILLED.value, 50),
)


def _check(effort: Effort) -> Outcome:
    settings, tracked = settings_of_host(), _CONNTRACK_MAX.read_text(encoding="ascii")
    with TemporaryDirectory(prefix="trust-") as directory, ThreadPoolExecutor(SIDE_BY_SIDE) as at_once:
        changed = {subject.name: _changed(subject, Path(directory)) for subject in _SUBJECTS}

        def job(number: int, subject: _Subject, cases: Iterable[Case] = ()) -> Job:
            topology, name = ROOT / "topologies" / f"{subject.name}.yaml", f"faults-{os.getpid()}-{number}"
            return Job(name, str(topology), str(changed[subject.name]), SCALE, list(cases))

        if effort is Effort.SHORT:
            pieces = [(_SUBJECTS[1], list(_SHORT[start::2])) for start in (0, 1)]
        else:
            offset = randrange(30)  # of every sixth or thirtieth step: another run comes to other ones
            listed = at_once.map(_steps_of, [job(number, each) for number, each in enumerate(_SUBJECTS)])
            pieces = [
                (subject, cases)
                for subject, steps in zip(_SUBJECTS, listed, strict=True)
                for cases in _groups(subject, steps, None if effort is Effort.EVERY else offset)
            ]
        jobs = [job(number, *piece) for number, piece in enumerate(pieces)]
        outcomes = [tried for each in at_once.map(_tried, jobs) for tried in each]
    reached = [tried for _, tried in outcomes if tried.step]
    failures = [_told(topology, tried) for topology, tried in outcomes if tried.failures]
    if len(reached) < 0.95 * sum(len(each.cases) for each in jobs):
        failures.append(f"only {len(reached):,} of {len(outcomes):,} steps were come to")
    failures += [f"a setting of the host: {line}" for line in differences(settings, settings_of_host())]
    if effort is Effort.SHORT:
        return Outcome(len(reached), _WHAT, tuple(failures), _counted(reached))
    failures += killed_at_work(scale=1)
    if (now := _CONNTRACK_MAX.read_text(encoding="ascii")) != tracked:  # which all labs share: no other is up here
        failures.append(f"{_CONNTRACK_MAX}: {tracked.strip()} before, {now.strip()} after")
    where = "; each kind at every step of all three topologies" if effort is Effort.EVERY else ""
    return Outcome(
        len(reached) + KILLED_AT_WORK, _WHAT, tuple(failures), f"{_counted(reached)}, at work {KILLED_AT_WORK}{where}"
    )


def _changed(subject: _Subject, directory: Path) -> Path:
    text = (ROOT / "topologies" / f"{subject.name}.yaml").read_text(encoding="utf-8")
    for old, new in subject.changes.items():
        text = text.replace(old, new)
    path = directory / f"{subject.name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _groups(subject: _Subject, steps: dict[str, list[str]], offset: int | None) -> Iterator[list[Case]]:
    """Cases of one command and one kind together: a change that is taken back leaves its lab for the next case.

    Without an offset there is one for each step.
    """
    for command, kind in product(COMMANDS, KINDS):
        sampled = subject.every if kind in _MOST_COMMON else subject.every_of_others
        first, every = (1, 1) if offset is None else (1 + (KINDS.index(kind) + offset) % sampled, sampled)
        if cases := [Case(command, kind.value, step) for step in range(first, len(steps[command]) + 1, every)]:
            yield cases


def _steps_of(job: Job) -> dict[str, list[str]]:
    (line,) = _run(job)
    steps: dict[str, list[str]] = json.loads(line)
    return steps


def _tried(job: Job) -> list[tuple[str, Tried]]:
    lines = [json.loads(line) for line in _run(job)]
    return [(Path(job.topology).stem, Tried(Case(*case), step, failures)) for case, step, failures in lines]


def _run(job: Job) -> list[str]:
    done = subprocess.run(
        (sys.executable, "-m", "tests.trust.breaking"),
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    return done.stdout.splitlines()


def _told(topology: str, tried: Tried) -> str:
    case = tried.case
    return f"{topology}, {case.command}, {case.kind} at step {case.step} ({tried.step}): {'; '.join(tried.failures)}"


def _counted(reached: list[Tried]) -> str:
    return ", ".join(f"{command} {sum(tried.case.command == command for tried in reached):,}" for command in COMMANDS)


PROMISE = Promise(
    name="faults",
    text="Whatever fails in `up`, in a live change or in `down`, and whenever it is killed: it undoes what it did, or "
    "one `lab down` leaves the host as it was.",
    method="Each single step of the three commands (netlink request, mount, namespace, file, process, signal) gets an "
    "OSError or SIGKILL, for two_subnets at every step, for privatelink and transit_gateway at every sixth; every "
    "tenth or thirtieth gets another error, SIGKILL of the process group, SIGTERM, SIGINT or SIGHUP. A burst that "
    "holds 130,000 connections and a capture are killed as well. Before and after each: links, addresses, routes of "
    "all tables, rules and nftables of the host, namespaces, mounts, files, cgroups and processes of the lab; before "
    "and after all steps: every sysctl.",
    check=_check,
)

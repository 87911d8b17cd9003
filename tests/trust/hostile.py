"""Whatever others write, the lab reads it or refuses it in words: no traceback, no input that takes for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
import json
import os
from pathlib import Path
import secrets
import subprocess
import sys
from tempfile import TemporaryDirectory

from tests.trust.fuzzing import Tried, has_atheris
from tests.trust.promise import Effort, Outcome, Promise
from tests.trust.targets import TARGETS

__all__ = ["PROMISE"]

ROOT = Path(__file__).parents[2]
INPUTS = {Effort.SHORT: 60, Effort.FULL: 100_000}
"""For each reader."""
SHARES = 5
"""Processes for each reader's inputs, as many as there are processors at a time; with atheris one is guided by it."""
WITHIN_S = {Effort.SHORT: 120, Effort.FULL: 1_200}
"""For a process, which may be one of many on a machine that does other things as well."""
SEED = 14
"""Of the short form, which tries the same inputs each time."""


def _check(effort: Effort) -> Outcome:
    keep = Path("trust-hostile").absolute() if effort is Effort.FULL else None
    seed = secrets.randbelow(1 << 31) if effort is Effort.FULL else SEED
    with TemporaryDirectory() as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(exist_ok=True)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = [part for parts in pool.map(_tried, _commands(effort, seed, directory)) for part in parts]
    slowest = max((part for part in parts if isinstance(part, Tried)), key=lambda part: part.slowest_s)
    failures = [part for part in parts if isinstance(part, str)]
    failures += [failure for part in parts if isinstance(part, Tried) for failure in part.failures]
    total = sum(part.inputs for part in parts if isinstance(part, Tried))
    guided = "a fifth of them chosen by atheris" if effort is Effort.FULL and has_atheris() else "made at random"
    what = f"{len(TARGETS)} readers, {INPUTS[effort]:,} inputs each, {guided} (seed {seed})"
    slow = (
        f"the slowest took {slowest.slowest_s:.2f} s of processor time: {slowest.target}, {Path(slowest.slowest).name}"
    )
    return Outcome(total, "inputs", tuple(dict.fromkeys(failures)), f"{what}; {slow}")


def _commands(effort: Effort, seed: int, keep: Path) -> list[tuple[tuple[str, ...], int]]:
    """Each process, and for how long it may run: in short two, each for several readers, since to start takes time."""
    names = [target.name for target in TARGETS]
    within_s = WITHIN_S[effort]
    if effort is Effort.SHORT:
        shares = [",".join(names[start::2]) for start in range(2)]
        return [((*_fuzzing(share, INPUTS[effort], seed, keep),), within_s) for share in shares]
    seeds = count(seed)
    commands = []
    for name in names:
        for share in range(SHARES):
            guided = ("--guided",) if has_atheris() and share == 0 else ()
            commands.append(((*_fuzzing(name, INPUTS[effort] // SHARES, next(seeds), keep), *guided), within_s))
    return commands


def _fuzzing(targets: str, inputs: int, seed: int, keep: Path) -> tuple[str, ...]:
    words = (targets, "--inputs", str(inputs), "--seed", str(seed), "--keep", str(keep))
    return (sys.executable, "-m", "tests.trust.fuzzing", *words)


def _tried(command: tuple[tuple[str, ...], int]) -> list[Tried | str]:
    """What each reader of a process did; a process that dies, or does not end, is a failure of itself."""
    words, within_s = command
    again = f"again: {' '.join(words[1:])}"
    try:
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=within_s)
    except subprocess.TimeoutExpired:
        return [f"{words[3]}: not done within {within_s} s; {again}"]
    found: list[Tried | str] = [Tried(**json.loads(line)) for line in ended.stdout.splitlines() if line[:1] == "{"]
    if ended.returncode or len(found) != words[3].count(",") + 1:
        found.append(f"{words[3]}: status {ended.returncode}: {ended.stderr.strip()[-400:]}; {again}")
    return found


PROMISE = Promise(
    name="hostile",
    text="Whatever a topology, a record, a packet or a request has in it, the lab reads it or refuses it in words, and "
    "soon; no name in it reaches a shell, a path elsewhere, nft's grammar or a terminal's escape codes.",
    method="Topologies, run records, the lab's own record with its side files, questions over UDP and TCP, frames to "
    "the server and to the generator, connections to the web server (plain and TLS) and to the endpoint of Prometheus: "
    "what is right is changed at random, or by coverage with atheris where it is installed. Each reader may raise only "
    "the error that it declares, in one line without control characters, within a minute and 2 GiB; the plan of a "
    "topology that is accepted names nothing but the lab's own, and of a forged record `down` takes nothing else.",
    check=_check,
)

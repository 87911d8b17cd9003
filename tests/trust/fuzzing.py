"""Tries inputs on readers, in a process of its own: `python -m tests.trust.fuzzing TARGET FILE` reads one again.

The inputs are made at random from a seed, or by atheris (libFuzzer), which keeps those that reach new code.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
import json
import os
from pathlib import Path
from random import Random
import resource
import signal
import sys
from tempfile import TemporaryDirectory
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

from tests.trust.mutation import bytes_changed

if TYPE_CHECKING:
    from tests.trust.targets import Target

__all__ = ["Tried", "has_atheris"]

_LONGEST_S = 60.0
"""For one input: a thousand times what the slowest takes, on a machine that does other things as well."""
_MOST_BYTES = 2 << 30
"""Of memory, for the process: what an input makes grow beyond it is a MemoryError."""
_MOST_FAILURES = 20
_LONGEST_INPUT = 16_384


class _HangError(BaseException):
    """An input takes too long."""


@dataclass(slots=True)
class Tried:
    """What came of one reader's inputs."""

    target: str
    inputs: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    """Of processor time."""
    slowest: str = ""
    """The file with the input that took it."""


def has_atheris() -> bool:
    """Whether inputs can be guided by coverage."""
    try:
        import atheris  # noqa: F401, PLC0415  # an extra: pip install -e '.[fuzz]'
    except ImportError:
        return False
    return True


class _Trying:
    """One reader, and what it did so far."""

    def __init__(self, target: str, read: Callable[[bytes], None], keep: Path) -> None:
        self._read, self._keep = read, keep
        self.tried = Tried(target)
        self._seen: set[str] = set()

    def one(self, data: bytes) -> None:
        """Read one input."""
        before = time.process_time()
        try:
            with _limited():
                self._read(data)
        except (Exception, _HangError) as failure:  # noqa: BLE001 -- which one is the finding
            self._note(data, failure)
        seconds = time.process_time() - before
        self.tried.inputs += 1
        if seconds > self.tried.slowest_s:
            self.tried.slowest_s, self.tried.slowest = seconds, str(self._kept(data, "slowest"))

    def _note(self, data: bytes, failure: BaseException) -> None:
        """Each place once: an input that reaches it."""
        frames = traceback.extract_tb(failure.__traceback__)
        place = f"{type(failure).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
        if place in self._seen or len(self._seen) == _MOST_FAILURES:
            return
        self._seen.add(place)
        kept = self._kept(data, sha256(data).hexdigest()[:12])
        said = str(failure)[:300]
        self.tried.failures.append(
            f"{self.tried.target}: {place}: {said!r}; again: python -m tests.trust.fuzzing {self.tried.target} {kept}"
        )

    def _kept(self, data: bytes, name: str) -> Path:
        path = self._keep / f"{self.tried.target}-{name}"
        path.write_bytes(data)
        return path


@contextmanager
def _limited() -> Iterator[None]:
    def hang(*_: object) -> NoReturn:
        raise _HangError(f"not read within {_LONGEST_S:g} s")

    signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Try, and print what came of it as a line of JSON for each reader."""
    parser = ArgumentParser(prog="python -m tests.trust.fuzzing")
    parser.add_argument("targets", help="names with commas between them")
    parser.add_argument("file", nargs="?", help="one input, to be read again")
    parser.add_argument("--inputs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path(), help="where inputs that fail are kept")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, _MOST_BYTES))
    if options.guided:
        _guided(options.targets, options.inputs, options.seed, options.keep)
    for name in options.targets.split(","):
        target = _target(name)
        with target.reader() as read:
            if options.file:
                read(Path(options.file).read_bytes())
                continue
            random, seeds = Random(f"{name} {options.seed}"), target.seeds()
            for data in seeds:
                read(data)
            trying = _Trying(name, read, options.keep)
            for _ in range(options.inputs):
                trying.one(_made(target, random, seeds))
            print(json.dumps(asdict(trying.tried)), flush=True)


def _target(name: str) -> Target:
    from tests.trust.targets import TARGETS  # noqa: PLC0415 -- atheris has to see modules being imported

    return next(target for target in TARGETS if target.name == name)


def _made(target: Target, random: Random, seeds: Sequence[bytes]) -> bytes:
    """An input that is not much longer than those that are right."""
    data = random.choice(seeds)
    changed = target.mutation(random, data)
    return changed if len(changed) <= 2 * len(data) + _LONGEST_INPUT else bytes_changed(random, data)


def _guided(name: str, inputs: int, seed: int, keep: Path) -> NoReturn:
    """Let atheris choose the inputs of one target; it ends the process itself."""
    import atheris  # noqa: PLC0415

    with atheris.instrument_imports(include=["lab", "traffic", "ruamel", "dns"]):
        target = _target(name)
    with target.reader() as read, TemporaryDirectory() as corpus:
        for number, data in enumerate(target.seeds()):
            Path(corpus, str(number)).write_bytes(data)
        trying = _Trying(name, read, keep)

        def one(data: bytes) -> None:
            trying.one(data)
            if trying.tried.inputs == inputs:
                print(json.dumps(asdict(trying.tried)), flush=True)
                os._exit(0)

        def changed(data: bytes, most: int, seed: int) -> bytes:
            random = Random(seed)
            if random.random() < 0.3:
                return bytes(atheris.Mutate(data, most))
            return target.mutation(random, data)[:most]

        # Its own limits of time and memory are this module's; what it says is not asked for.
        words = (f"-seed={seed}", f"-max_len={_LONGEST_INPUT}", "-timeout=0", "-rss_limit_mb=0", "-verbosity=0")
        atheris.Setup([sys.argv[0], *words, corpus], one, custom_mutator=changed)
        atheris.Fuzz()
    raise AssertionError("atheris ends the process")


if __name__ == "__main__":
    main()

"""Somebody without root, with a home and a runtime directory, who can read what the tests need and little else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
from tempfile import mkdtemp
from typing import NamedTuple

import pexpect

from tests.support.command import LAB, Ended, environment

__all__ = ["ROOT", "Somebody", "somebody"]

ROOT = Path(__file__).parents[2]
_WITHIN_S = 60
_numbers = count()
_AS_SOMEBODY = """
stage=$1 user=$2 ranges=$3
shift 3
while [ "$1" != -- ]; do
    mkdir -p "$stage/$#"
    mount --bind "$2" "$stage/$#"
    [ -e "$1/.somebody" ] || { mount -t tmpfs -o mode=755 none "$1"; : >"$1/.somebody"; }
    mkdir -p "$2"
    mount --move "$stage/$#" "$2"
    shift 2
done
shift
if [ "$ranges" != none ]; then
    printf 'somebody:%s\\n' "$ranges" >"$stage/ranges"
    mount --bind "$stage/ranges" /etc/subuid
    mount --bind "$stage/ranges" /etc/subgid
    { cat /etc/passwd; printf 'somebody:x:%s:%s::%s:/bin/sh\\n' "$user" "$user" "$HOME"; } >"$stage/passwd"
    mount --bind "$stage/passwd" /etc/passwd
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups -- "$@"
"""
"""In a mount namespace: directories that only root may enter are empty but for what the tests need below them."""


class Somebody(NamedTuple):
    """A user of this machine."""

    uid: int
    home: Path
    runtime: Path
    ranges: str | None
    """FIRST:COUNT of subordinate numbers, if there are any (subuid(5))."""

    def lab(self, *arguments: object, **variables: str) -> Ended:
        """A `lab` command, to its end."""
        return self.run(LAB, *arguments, **variables)

    def run(self, *words: object, **variables: str) -> Ended:
        """Any program, to its end."""
        done = subprocess.run(
            self._command(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_WITHIN_S,
            cwd=self.home,
            env=self._environment() | variables,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def on_a_terminal(self, script: str) -> pexpect.spawn[str]:
        """A shell's script with a terminal of its own, at which the test types."""
        program, *arguments = self._command(("sh", "-c", script))
        return pexpect.spawn(
            program, arguments, cwd=str(self.home), env=self._environment(), encoding="utf-8", timeout=_WITHIN_S
        )

    @contextmanager
    def started(self, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A `lab` command that goes on, and is killed at the latest when the block ends."""
        with subprocess.Popen(
            self._command((LAB, *arguments)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.home,
            env=self._environment(),
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def processes(self) -> dict[int, str]:
        """Process → command line of each that is this user's, by whichever of the user's numbers."""
        first, size = map(int, (self.ranges or "0:0").split(":"))
        numbers = {self.uid, *range(first, first + size)} - {0}
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if path.stat().st_uid in numbers:
                    found[int(path.name)] = (path / "cmdline").read_text(encoding="utf-8").replace("\0", " ").strip()
            except OSError:  # it has ended
                continue
        return {pid: words for pid, words in found.items() if words}

    def _command(self, words: tuple[object, ...]) -> tuple[str, ...]:
        needed = [word for pair in _behind_closed_doors() for word in pair]
        script = ("unshare", "--mount", "--", "sh", "-ec", _AS_SOMEBODY, "sh")
        return (
            *(*script, str(self.home / ".stage"), str(self.uid), self.ranges or "none", *needed, "--"),
            *map(str, words),
        )

    def _environment(self) -> dict[str, str]:
        own = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.runtime)}
        given = environment(PYTHONDONTWRITEBYTECODE="1", **own)
        return {name: value for name, value in given.items() if name != "XDG_DATA_HOME"}


def _behind_closed_doors() -> Iterator[tuple[str, str]]:
    """Directory that others may not enter → what the tests need below it: Python, its packages, the checkout."""
    wanted = {Path(path).resolve() for path in (sys.prefix, sys.base_prefix, ROOT)}
    for path in sorted(wanted):
        if any(other in path.parents for other in wanted):
            continue
        closed = next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)
        if closed:
            yield str(closed), str(path)


@contextmanager
def somebody(ranges: str | None = None) -> Iterator[Somebody]:
    """A user of a number that nobody has; all their processes end with the block."""
    uid = 1_000_000 + os.getpid() * 10 % 1_000_000 + next(_numbers)
    place = Path(mkdtemp(prefix="somebody-"))
    place.chmod(0o755)
    user = Somebody(uid, place / "home", place / "runtime", ranges)
    for directory, mode in ((user.home, 0o755), (user.runtime, 0o700)):
        directory.mkdir()
        directory.chmod(mode)
        os.chown(directory, uid, uid)
    try:
        yield user
    finally:
        for pid in user.processes():
            with suppress(ProcessLookupError):  # the first of them was the one that all others end with
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(place, ignore_errors=True)

"""A traffic generator in a fleet's namespace: commands to it, events from it; it never outlives its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
import signal
import subprocess
from typing import TypeVar

from lab.errors import KernelError
from lab.kernel.netns import NamespaceThread
from lab.kernel.processes import command, environment, last_log_line
from lab.kernel.record_files import opener

__all__ = ["Generator", "generator"]

_GIVES_UP_AFTER_S = 60.0
_LONGEST_ARGUMENT = 100_000
"""Bytes; the kernel takes 131,071 (MAX_ARG_STRLEN in linux/binfmts.h)."""

T = TypeVar("T")


class Generator:
    """The running generator, as JSON lines in both directions."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a generator has pipes for its commands and its events")
        self._process = process
        self._commands, self._events = process.stdin, process.stdout
        self._log = log

    def events(self, event_of: Callable[[str], T]) -> Iterator[T]:
        """Its events as they arrive, each made of a JSON line, until it ends; KernelError if it fails."""
        yield from map(event_of, self._events)
        if self._process.wait() != 0:
            raise KernelError(self._how_it_ended())

    def require_alive(self) -> None:
        """KernelError if it has ended without a command to do so."""
        if self._process.poll() is not None:
            raise KernelError(self._how_it_ended())

    def _how_it_ended(self) -> str:
        status = self._process.returncode
        if status < 0:
            name = signal.Signals(-status).name
            return f"the traffic generator was ended by {name}; what it did not close may hold its slots until idle"
        words = last_log_line(self._log) or f"exit status {status}, no message in {self._log}"
        return f"the traffic generator failed: {words}"

    def tell(self, command: str) -> None:
        """Send it a command: `close`, `leave` or `abort`."""
        with suppress(BrokenPipeError):  # it has ended already, and `events` raises its error
            self._commands.write(f"{command}\n")
            self._commands.flush()

    def stop(self) -> None:
        """Have it close what is open, and wait until it has."""
        self.tell("abort")
        self._events.close()  # not read any more: a full pipe must not keep the process from ending
        try:
            self._process.wait(_GIVES_UP_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._commands, self._events):
            with suppress(BrokenPipeError):  # a command that could not be sent any more
                pipe.close()


@contextmanager
def generator(
    inside: NamespaceThread,
    verb: str,
    spec_json: str,
    log: Path,
    descriptors: tuple[int, ...] = (),
) -> Iterator[Generator]:
    """A generator at work; when the block ends, however it ends, it has closed what it was not told to leave.

    It inherits the `descriptors`, under the same numbers. A spec that is no argument for its length, it reads first.
    """
    by_input = len(spec_json) > _LONGEST_ARGUMENT
    words = command(verb, "-" if by_input else spec_json, inside.name)
    with open(log, "w", encoding="utf-8", opener=opener) as stderr:
        process = inside.run(_popen, words, stderr.fileno(), descriptors)
    running = Generator(process, log)
    try:
        if by_input:
            running.tell(spec_json)
        yield running
    finally:
        running.stop()


def _popen(arguments: list[str], stderr: int, descriptors: tuple[int, ...]) -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C reaches the lab, and the lab tells the generator to close.
    return subprocess.Popen(
        arguments,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=descriptors,
        cwd="/",
        encoding="utf-8",
        start_new_session=True,
        env=environment(),
    )

"""A traffic generator in a fleet's namespace: started, listened to, told what to do; it never outlives its caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import json
from pathlib import Path
import signal
import subprocess
from typing import Any

from lab.errors import KernelError
from lab.kernel.netns import NamespaceThread
from lab.kernel.processes import command, environment, last_words
from traffic.sighting import Sighting

__all__ = ["Generator", "generator"]

_GIVES_UP_AFTER_S = 60.0

Event = dict[str, Any]


def _ignore(_: Sighting) -> None:
    """Packets that nobody asked to see."""


class Generator:
    """The running generator, as JSON lines in both directions."""

    def __init__(self, process: subprocess.Popen[str], log: Path, saw: Callable[[Sighting], None] = _ignore) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a generator is spoken to through pipes")
        self._process = process
        self._ears, self._mouth = process.stdin, process.stdout
        self._log, self._saw = log, saw

    def events(self) -> Iterator[Event]:
        """What it says, as it says it, until it ends; the packets that it has seen go where they are wanted."""
        for line in self._mouth:
            event: Event = json.loads(line)
            if event["event"] == "packet":
                self._saw(Sighting.from_json(event))
            else:
                yield event
        if self._process.wait() != 0:
            raise KernelError(self._how_it_ended())

    def require_alive(self) -> None:
        """KernelError if it has ended before it was told to."""
        if self._process.poll() is not None:
            raise KernelError(self._how_it_ended())

    def _how_it_ended(self) -> str:
        status = self._process.returncode
        if status < 0:
            name = signal.Signals(-status).name
            return f"the traffic generator was ended by {name}; what it did not close may hold its slots until idle"
        words = last_words(self._log) or f"exit status {status}, no message in {self._log}"
        return f"the traffic generator failed: {words}"

    def tell(self, command: str) -> None:
        """Tell it what to do: `close`, `leave` or `abort`."""
        with suppress(BrokenPipeError):  # it has ended already; `events` says how
            self._ears.write(f"{command}\n")
            self._ears.flush()

    def stop(self) -> None:
        """Have it close what is open, and wait until it has."""
        self.tell("abort")
        self._mouth.close()  # nobody reads it any more: a full pipe must not keep it from ending
        try:
            self._process.wait(_GIVES_UP_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._ears, self._mouth):
            with suppress(BrokenPipeError):  # what could not be said any more
                pipe.close()


@contextmanager
def generator(
    inside: NamespaceThread,
    spec_json: str,
    log: Path,
    descriptors: tuple[int, ...] = (),
    saw: Callable[[Sighting], None] = _ignore,
) -> Iterator[Generator]:
    """A generator at work; when the block ends, however it ends, it has closed what it was not told to leave.

    It inherits the `descriptors`, under the same numbers; `saw` is called with each packet that it tells of.
    """
    with log.open("w") as stderr:
        process = inside.run(_popen, spec_json, stderr.fileno(), descriptors)
    running = Generator(process, log, saw)
    try:
        yield running
    finally:
        running.stop()


def _popen(spec_json: str, stderr: int, descriptors: tuple[int, ...]) -> subprocess.Popen[str]:
    # A session of its own: Ctrl-C reaches the lab, and the lab tells the generator to close.
    return subprocess.Popen(
        command("burst", spec_json),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=descriptors,
        text=True,
        start_new_session=True,
        env=environment(),
    )

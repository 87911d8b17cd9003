"""The worker processes that share a burst, and the coordinator that reports for all of them.

    parent ── commands ──→ coordinator ── commands ──→ worker, worker …
           ←── events ───              ←─── counts ───

A worker reads commands from a pipe, as every engine reads them from standard input, and aborts when the pipe is
closed. So no worker outlives the coordinator but those that were told to leave their connections open.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any

from traffic.clients.commands import Command
from traffic.clients.counts import Counts, Marks
from traffic.clients.reports import EventReporter
from traffic.clients.threshold import Threshold
from traffic.events import emit
from traffic.result import RingCount

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from traffic.clients.commands import Commands

__all__ = ["Coordinator", "Parent", "PipeReporter", "Worker", "start_worker"]

_TICK_MS = 50
_PROGRESS_S = 0.1
_ENDS_WITHIN_S = 30.0
_ENDINGS = ("closed", "left", "aborted")


@dataclass(slots=True)
class Worker:
    """A worker as the coordinator sees it."""

    pid: int
    commands: int
    """The pipe for its commands."""
    events: Connection[Any, Any]
    """The pipe of its events, pairs of a name and values."""
    counts: Counts = field(default_factory=Counts)
    threshold: Threshold | None = None
    """None until each of its invocations has its outcome."""
    ending: str | None = None
    """The event with which it has ended."""
    ended: dict[str, float] = field(default_factory=dict)
    """That event's values."""

    def send(self, command: Command) -> None:
        """Write a command to the worker's pipe."""
        with suppress(BrokenPipeError):  # it has ended, and `receive` raises its error
            os.write(self.commands, f"{command.value}\n".encode())

    def receive(self) -> None:
        """Take in its events; OSError if it has failed, or ended before its work."""
        try:
            while not self.ending and self.events.poll():
                event, values = self.events.recv()
                if event == "error":
                    raise OSError(values["message"])
                self.counts = values.pop("counts", self.counts)
                self.threshold = values.pop("threshold", self.threshold)
                if event in _ENDINGS:
                    self.ending, self.ended = event, values
        except (EOFError, ConnectionError):
            raise OSError(f"worker process {self.pid} {_how_it_ended(self.pid)}") from None

    def wait(self, deadline_s: float) -> None:
        """Return when it has ended; kill it if that takes too long."""
        with suppress(EOFError, OSError):
            while self.events.poll(max(deadline_s - time.monotonic(), 0)):
                self.events.recv()
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _how_it_ended(pid: int) -> str:
    with suppress(ChildProcessError):
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    return "ended"


@dataclass(frozen=True, slots=True)
class Parent:
    """The coordinator as a worker sees it."""

    commands: int
    """The pipe of commands."""
    _events: Connection[Any, Any]

    def emit(self, event: str, **values: object) -> None:
        """Send an event; if the coordinator has ended, the pipe of commands ends this process."""
        with suppress(OSError):
            self._events.send((event, values))

    def stay(self) -> None:
        """Keep every socket open until this process is ended from outside; its events are not read any more."""
        self._events.close()
        os.close(self.commands)
        _redirect_to_null(2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()


def start_worker(workers: list[Worker]) -> Parent | None:
    """Fork one more worker and append it to the list; None in this process, the coordinator in the new one.

    Not multiprocessing.Process, which waits at exit for its children: these may have to stay with their connections.
    """
    commands, command_pipe = os.pipe()
    event_pipe, events = Pipe(duplex=False)
    pid = os.fork()
    if pid:
        os.close(commands)
        events.close()
        workers.append(Worker(pid, command_pipe, event_pipe))
        return None
    os.close(command_pipe)
    event_pipe.close()
    for worker in workers:  # or their pipes would not be closed when the coordinator ends
        os.close(worker.commands)
        worker.events.close()
    _redirect_to_null(0, 1)
    return Parent(commands, events)


def _redirect_to_null(*descriptors: int) -> None:
    """Close the pipes behind these, so that a reader of them does not wait for this process."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


class PipeReporter:
    """A worker's `Reporter`: sends the coordinator counts that can be added up."""

    def __init__(self, parent: Parent) -> None:
        self._emit = parent.emit
        self._next_s = 0.0

    def progress(self, counts: Counts, now_s: float) -> None:
        """The counts every 0.1 s, without the marks, which are long."""
        if now_s >= self._next_s:
            self._next_s = now_s + _PROGRESS_S
            self._emit("progress", counts=replace(counts, marks=Marks()))

    def result(self, counts: Counts, threshold: Threshold, _ring: RingCount, _now_s: float) -> None:
        """Send all counts, marks included."""
        self._emit("connected", counts=counts, threshold=threshold)


class Coordinator:
    """Passes commands on, adds up what workers report, and reports to the parent process.

    A sample of the series is as old as a worker's last report at most, a tenth of a second and a tick.
    """

    def __init__(self, workers: list[Worker], offered: int, commands: Commands, epoch_s: float) -> None:
        self._workers, self._commands, self._epoch_s = workers, commands, epoch_s
        self._reporter = EventReporter(offered)
        self._passed_on: Command | None = None
        self._poll = select.poll()
        self._poll.register(commands.descriptor, select.POLLIN)
        self._by_descriptor = {worker.events.fileno(): worker for worker in workers}
        for descriptor in self._by_descriptor:
            self._poll.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Return when all have ended, or are to stay; OSError if one fails, and then all others have been ended."""
        try:
            self._work()
        except BaseException:
            self._end()
            raise
        if self._passed_on is not Command.LEAVE:
            self._end()

    def _work(self) -> None:
        while not self._are_connected() and not self._have_ended():
            self._receive()
            self._reporter.progress(self._counts(), self._now_s())
        if self._are_connected():
            threshold = Threshold()
            for worker in self._workers:
                threshold.merge(worker.threshold or Threshold())
            self._reporter.result(self._counts(), threshold, RingCount(0, 0), self._now_s())
        while not self._have_ended():
            self._receive()
        self._report_ending()

    def _receive(self) -> None:
        """Wait a moment for events and commands."""
        for descriptor, _ in self._poll.poll(_TICK_MS):
            if descriptor in self._by_descriptor:
                worker = self._by_descriptor[descriptor]
                worker.receive()
                if worker.ending:
                    self._poll.unregister(descriptor)
                    del self._by_descriptor[descriptor]
        command = self._commands.read()
        if command is not None and command is not self._passed_on:
            self._passed_on = command
            for worker in self._workers:
                worker.send(command)

    def _are_connected(self) -> bool:
        return all(worker.threshold for worker in self._workers)

    def _have_ended(self) -> bool:
        return all(worker.ending for worker in self._workers)

    def _counts(self) -> Counts:
        merged = Counts()
        for worker in self._workers:
            merged.merge(worker.counts)
        return merged

    def _report_ending(self) -> None:
        """One event for all; a burst of which a part was aborted was aborted."""
        ending = max((worker.ending or "" for worker in self._workers), key=_ENDINGS.index)
        ended = [worker.ended for worker in self._workers if worker.ending == ending]
        values = {
            name: (max if name == "t_s" else sum)(worker_values[name] for worker_values in ended) for name in ended[0]
        }
        emit(ending, **values)

    def _end(self) -> None:
        """Have the workers abort if they have not ended, and wait for them."""
        for worker in self._workers:
            with suppress(OSError):  # closed already
                os.close(worker.commands)
        deadline_s = time.monotonic() + _ENDS_WITHIN_S
        for worker in self._workers:
            worker.wait(deadline_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._epoch_s

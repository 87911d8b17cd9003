"""The processes that share a burst, and the one that speaks for them all.

    parent ── orders ──→ coordinator ── orders ──→ worker, worker …
           ←─ events ──             ←── counts ──

A worker hears orders as lines on a pipe, as every engine does, and ends when the pipe does; so nothing outlives the
coordinator but what was told to.
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

from traffic.clients.account import Account
from traffic.clients.counts import Counts, Marks
from traffic.clients.orders import Order
from traffic.clients.threshold import Threshold
from traffic.events import emit
from traffic.result import RingCount

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from traffic.clients.orders import Orders

__all__ = ["Coordinator", "Post", "Tidings", "Worker", "hire"]

_TICK_MS = 50
_OBSERVED_EVERY_S = 0.1
_ENDS_WITHIN_S = 30.0
_ENDINGS = ("closed", "left", "aborted")


@dataclass(slots=True)
class Worker:
    """A worker as the coordinator knows it."""

    pid: int
    orders: int
    """Where it is told what to do."""
    words: Connection[Any, Any]
    """What it says: events, as pairs of a name and values."""
    counts: Counts = field(default_factory=Counts)
    threshold: Threshold | None = None
    """None until each of its invocations has its outcome."""
    ending: str | None = None
    ended: dict[str, float] = field(default_factory=dict)

    def tell(self, order: Order) -> None:
        """Pass an order on."""
        with suppress(BrokenPipeError):  # it has ended; whoever listens to it finds out how
            os.write(self.orders, f"{order.value}\n".encode())

    def hear(self) -> None:
        """Take in what it says; OSError if it has failed, or ended before its work."""
        try:
            while not self.ending and self.words.poll():
                self._heard(*self.words.recv())
        except (EOFError, ConnectionError):
            raise OSError(f"worker process {self.pid} {_how_it_ended(self.pid)}") from None

    def _heard(self, event: str, values: dict[str, Any]) -> None:
        if event == "error":
            raise OSError(values["message"])
        self.counts = values.pop("counts", self.counts)
        self.threshold = values.pop("threshold", self.threshold)
        if event in _ENDINGS:
            self.ending, self.ended = event, values

    def dismiss(self) -> None:
        """Have it close what is open, and end."""
        with suppress(OSError):  # dismissed already
            os.close(self.orders)

    def wait(self, deadline_s: float) -> None:
        """Return when it has ended; kill it if that takes too long."""
        with suppress(EOFError, OSError):
            while self.words.poll(max(deadline_s - time.monotonic(), 0)):
                self.words.recv()
            os.kill(self.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _how_it_ended(pid: int) -> str:
    with suppress(ChildProcessError):
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    return "ended"


@dataclass(frozen=True, slots=True)
class Post:
    """Where a worker stands: what it hears orders from and speaks to."""

    orders: int
    _words: Connection[Any, Any]

    def say(self, event: str, **values: object) -> None:
        """Say one thing; a coordinator that has gone away ends this process by its orders."""
        with suppress(OSError):
            self._words.send((event, values))

    def stay(self) -> None:
        """Keep everything open until somebody ends this process; nobody waits for what it says."""
        self._words.close()
        os.close(self.orders)
        _let_go(2)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            signal.pause()


def hire(crew: list[Worker]) -> Post | None:
    """One more process in the crew; in that process itself its post, here None."""
    orders, tell = os.pipe()
    heard, words = Pipe(duplex=False)
    pid = os.fork()
    if pid:
        os.close(orders)
        words.close()
        crew.append(Worker(pid, tell, heard))
        return None
    os.close(tell)
    heard.close()
    for each in crew:  # or their pipes would not end with the coordinator
        os.close(each.orders)
        each.words.close()
    _let_go(0, 1)
    return Post(orders, words)


def _let_go(*descriptors: int) -> None:
    """Whoever reads the other end must not wait for this process."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for each in descriptors:
        os.dup2(nowhere, each)
    os.close(nowhere)


class Tidings:
    """A worker's account, told to the coordinator in its own terms: counts that can be added up."""

    def __init__(self, post: Post) -> None:
        self._say = post.say
        self._next_s = 0.0

    def observe(self, counts: Counts, now_s: float) -> None:
        """Tell now and then."""
        if now_s >= self._next_s:
            self._next_s = now_s + _OBSERVED_EVERY_S
            self._say("progress", counts=replace(counts, marks=Marks()))  # all but what is long

    def report(self, counts: Counts, threshold: Threshold, _ring: RingCount, _now_s: float) -> None:
        """Tell all."""
        self._say("connected", counts=counts, threshold=threshold)


class Coordinator:
    """Passes orders on, adds up what workers say, and tells the parent process.

    A sample of the series is as old as a worker's last word at most, a tenth of a second and a tick.
    """

    def __init__(
        self, crew: list[Worker], offered: int, orders: Orders, epoch_s: float, say: Callable[..., None] = emit
    ) -> None:
        self._crew, self._orders, self._epoch_s, self._say = crew, orders, epoch_s, say
        self._account = Account(offered, say)
        self._passed_on: Order | None = None
        self._poll = select.poll()
        self._poll.register(orders.descriptor, select.POLLIN)
        for each in crew:
            self._poll.register(each.words.fileno(), select.POLLIN)
        self._by_descriptor = {each.words.fileno(): each for each in crew}

    def run(self) -> None:
        """Until all have ended, or are to stay; OSError if one fails, and then all others have been ended."""
        try:
            self._work()
        except BaseException:
            self._end()
            raise
        if self._passed_on is not Order.LEAVE:
            self._end()

    def _work(self) -> None:
        while not self._have_outcomes() and not self._have_ended():
            self._attend()
            self._account.observe(self._counts(), self._now_s())
        if self._have_outcomes():
            self._account.report(self._counts(), self._threshold(), RingCount(0, 0), self._now_s())
        while not self._have_ended():
            self._attend()
        self._say_how_it_ended()

    def _attend(self) -> None:
        """Wait a moment for words and orders."""
        for descriptor, _ in self._poll.poll(_TICK_MS):
            if descriptor in self._by_descriptor:
                self._hear(self._by_descriptor[descriptor])
        order = self._orders.look()
        if order is not None and order is not self._passed_on:
            self._passed_on = order
            for each in self._crew:
                each.tell(order)

    def _hear(self, worker: Worker) -> None:
        worker.hear()
        if worker.ending:
            self._poll.unregister(worker.words.fileno())
            del self._by_descriptor[worker.words.fileno()]

    def _have_outcomes(self) -> bool:
        return all(each.threshold for each in self._crew)

    def _have_ended(self) -> bool:
        return all(each.ending for each in self._crew)

    def _counts(self) -> Counts:
        merged = Counts()
        for each in self._crew:
            merged.merge(each.counts)
        return merged

    def _threshold(self) -> Threshold:
        merged = Threshold()
        for each in self._crew:
            merged.merge(each.threshold or Threshold())
        return merged

    def _say_how_it_ended(self) -> None:
        """One event for all; a burst of which a part was aborted was."""
        ending = max((each.ending or "" for each in self._crew), key=_ENDINGS.index)
        ended = [each.ended for each in self._crew if each.ending == ending]
        values = {name: sum(each[name] for each in ended) for name in ended[0] if name != "t_s"}
        lasted = {"t_s": max(each["t_s"] for each in ended)} if "t_s" in ended[0] else {}
        self._say(ending, **values, **lasted)

    def _end(self) -> None:
        for each in self._crew:
            each.dismiss()
        deadline_s = time.monotonic() + _ENDS_WITHIN_S
        for each in self._crew:
            each.wait(deadline_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._epoch_s

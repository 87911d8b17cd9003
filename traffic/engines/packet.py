"""The packet engine: one thread moves frames between a ring and the clients, keeps time and takes orders.

Orders are lines on standard input: `close`, `leave` or `abort`; its end, and SIGTERM, mean `abort`.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
import math
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING

from traffic.dns import encode_query
from traffic.engines import tally
from traffic.engines.client import Client
from traffic.engines.client_state import State
from traffic.engines.wire import Wire
from traffic.events import emit
from traffic.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from traffic.frames import Batch
    from traffic.result import Sample
    from traffic.spec import BurstSpec

__all__ = ["Burst", "Order", "Orders", "run"]

_TICK_S = 0.05
_PROGRESS_S = 0.2
_SAMPLE_S = 0.5
_RX_SLOTS = 8192
"""More than both windows together: answers never find the ring full."""


def run(spec: BurstSpec) -> None:
    """Fire one burst and stay until it is over."""
    client = Client(spec, Wire(spec, encode_query(spec.hostname)))
    orders = Orders(sys.stdin.fileno())
    signal.signal(signal.SIGTERM, lambda *_: orders.give(Order.ABORT))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    with Ring(spec.interface, rx_slots=_RX_SLOTS) as ring:
        Burst(ring, client, orders, time.monotonic).run()


class Order(Enum):
    """What the parent may want."""

    CLOSE = "close"
    LEAVE = "leave"
    ABORT = "abort"


class Orders:
    """The lines of standard input, as they come."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.current: Order | None = None
        self._received = b""
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def give(self, order: Order) -> None:
        """An order from elsewhere; ABORT is final."""
        if self.current is not Order.ABORT:
            self.current = order

    def look(self) -> Order | None:
        """Read what is there; the order that stands now."""
        if self.current is not Order.ABORT and self._poll.poll(0):
            self._read()
        return self.current

    def _read(self) -> None:
        data = os.read(self.descriptor, 4096)
        if not data:
            self.give(Order.ABORT)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            with suppress(ValueError):  # not an order of ours
                self.give(Order(line.decode(errors="replace").strip()))


class Burst:
    """One burst, from the first question to the last goodbye."""

    def __init__(self, ring: Ring, client: Client, orders: Orders, clock: Callable[[], float]) -> None:
        self._ring, self._client, self._orders, self._clock = ring, client, orders, clock
        self._epoch_s = clock()
        self._next_tick_s = self._next_progress_s = self._next_sample_s = 0.0
        self._series: list[Sample] = []
        self._wake = select.poll()
        self._wake.register(ring.fileno(), select.POLLIN)
        self._wake.register(orders.descriptor, select.POLLIN)

    def run(self) -> None:
        """Connect, hold, and end as ordered."""
        self._work(self._is_connected)
        if self._client.connections.unfinished() == 0:
            self._report()
        self._work(lambda _: self._orders.current is not None)
        self._end(self._orders.current)

    def _end(self, order: Order | None) -> None:
        match order:
            case Order.CLOSE:
                self._close()
            case Order.LEAVE:
                self._leave()
            case _:
                self._abort()

    def _is_connected(self, now_s: float) -> bool:
        self._observe(now_s)
        hurry = self._orders.current in (Order.ABORT, Order.LEAVE)
        return hurry or self._client.connections.unfinished() == 0

    def _close(self) -> None:
        begun_s = self._now_s()
        self._client.begin_closing()
        self._work(lambda _: self._orders.current is Order.ABORT or not self._client.is_closing())
        if self._orders.current is Order.ABORT:
            self._abort()
            return
        counts = self._client.connections.counts()
        closed, abandoned = int(counts[State.CLOSED]), int(counts[State.ABANDONED])
        emit("closed", closed=closed, abandoned=abandoned, t_s=round(self._now_s() - begun_s, 3))

    def _leave(self) -> None:
        emit("left", established=int(self._client.connections.counts()[State.ESTABLISHED]))

    def _abort(self) -> None:
        resets = 0
        for batch in self._client.abort():
            self._ring.send(batch)
            resets += len(batch)
        emit("aborted", resets=resets, t_s=round(self._now_s(), 3))

    # Moving frames

    def _work(self, done: Callable[[float], bool]) -> None:
        """Move frames and keep time until `done` says so; it is asked at every tick."""
        while True:
            now_s = self._now_s()
            if now_s >= self._next_tick_s:
                self._next_tick_s = now_s + _TICK_S
                self._orders.look()
                self._send(self._client.tick(now_s))
                if done(now_s):
                    return
            if not self._move(now_s):
                self._nap(now_s)

    def _move(self, now_s: float) -> bool:
        """Take frames in and send what may go out; whether there were any."""
        batch, lengths = self._ring.receive()
        if len(batch):
            self._send(self._client.receive(batch, lengths, now_s))
        return self._send(self._client.transmit(now_s)) or len(batch) > 0

    def _send(self, batches: Iterable[Batch]) -> bool:
        sent = False
        for batch in batches:
            self._ring.send(batch)
            sent = True
        return sent

    def _nap(self, now_s: float) -> None:
        """Sleep until a frame or an order comes, or time has something to do."""
        until_s = min(self._next_tick_s, self._client.next_wake_s())
        ready = self._wake.poll(max(math.ceil((until_s - now_s) * 1000), 0))
        if any(descriptor == self._orders.descriptor for descriptor, _ in ready):
            self._next_tick_s = 0.0

    def _now_s(self) -> float:
        return self._clock() - self._epoch_s

    # Telling

    def _observe(self, now_s: float) -> None:
        if now_s >= self._next_progress_s:
            self._next_progress_s = now_s + _PROGRESS_S
            emit("progress", t_s=round(now_s, 3), **tally.progress(self._client.connections))
        if now_s >= self._next_sample_s:
            self._next_sample_s = now_s + _SAMPLE_S
            self._series.append(tally.sample(self._client.connections, now_s))

    def _report(self) -> None:
        now_s = self._now_s()
        self._series.append(tally.sample(self._client.connections, now_s))
        result = tally.result(self._client.connections, now_s, self._series, self._ring.count())
        emit("connected", result=result.to_json())

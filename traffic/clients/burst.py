"""One burst, whatever carries it: moves requests and answers between clients and medium, keeps time, takes orders."""

from __future__ import annotations

import math
import select
import time
from typing import TYPE_CHECKING

from traffic.clients.account import Account
from traffic.clients.orders import Order
from traffic.events import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.clients.account import Tells
    from traffic.clients.client import Client
    from traffic.clients.medium import Medium
    from traffic.clients.orders import Orders
    from traffic.spec import BurstSpec

__all__ = ["Burst"]

_TICK_S = 0.05


class Burst:
    """One burst, from the first question to the last goodbye."""

    def __init__(
        self,
        spec: BurstSpec,
        client: Client,
        medium: Medium,
        orders: Orders,
        *,
        clock: Callable[[], float] = time.monotonic,
        epoch_s: float | None = None,
        say: Callable[..., None] = emit,
        account: Tells | None = None,
    ) -> None:
        self._client, self._medium, self._orders = client, medium, orders
        self._clock, self._say = clock, say
        self._account = account or Account(spec.offered, say)
        self._epoch_s = clock() if epoch_s is None else epoch_s
        self._next_tick_s = 0.0
        self._wake = select.poll()
        for descriptor in (orders.descriptor, *medium.descriptors()):
            self._wake.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Connect, hold, and end as ordered."""
        self._work(self._is_connected)
        if self._client.unfinished == 0:
            known = self._client.connections
            self._account.report(known.counts, known.threshold, self._medium.count(), self._now_s())
        self._work(lambda _: self._orders.current is not None)
        self._end(self._orders.current)

    def _end(self, order: Order | None) -> None:
        match order:
            case Order.CLOSE:
                self._close()
            case Order.LEAVE:
                self._medium.leave()
                self._say("left", established=self._client.counts.open)
            case _:
                self._abort()

    def _is_connected(self, now_s: float) -> bool:
        self._account.observe(self._client.counts, now_s)
        hurry = self._orders.current in (Order.ABORT, Order.LEAVE)
        return hurry or self._client.unfinished == 0

    def _close(self) -> None:
        begun_s = self._now_s()
        self._client.begin_closing()
        self._work(lambda _: self._orders.current is Order.ABORT or not self._client.is_closing())
        if self._orders.current is Order.ABORT:
            self._abort()
            return
        counts = self._client.counts
        took_s = round(self._now_s() - begun_s, 3)
        self._say("closed", closed=counts.closed, abandoned=counts.abandoned, t_s=took_s)

    def _abort(self) -> None:
        self._say("aborted", resets=self._client.abort(), t_s=round(self._now_s(), 3))

    # Moving

    def _work(self, done: Callable[[float], bool]) -> None:
        """Carry requests and answers and keep time until `done` says so; it is asked at every tick."""
        while True:
            now_s = self._now_s()
            if now_s >= self._next_tick_s:
                self._next_tick_s = now_s + _TICK_S
                self._orders.look()
                self._client.tick(now_s)
                if done(now_s):
                    return
            received = self._medium.receive(self._client, now_s)
            if not self._client.transmit(now_s) and not received:
                self._nap(now_s)

    def _nap(self, now_s: float) -> None:
        """Sleep until an answer or an order comes, or time has something to do."""
        until_s = min(self._next_tick_s, self._client.next_wake_s())
        ready = self._wake.poll(max(math.ceil((until_s - now_s) * 1000), 0))
        if any(descriptor == self._orders.descriptor for descriptor, _ in ready):
            self._next_tick_s = 0.0

    def _now_s(self) -> float:
        return self._clock() - self._epoch_s

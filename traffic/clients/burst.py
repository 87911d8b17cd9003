"""The event loop of one burst: passes time and answers to the clients, sends what they send, obeys commands."""

from __future__ import annotations

import math
import select
import time
from typing import TYPE_CHECKING

import numpy as np

from traffic.clients.commands import Command
from traffic.clients.reports import EventReporter
from traffic.clients.state import State
from traffic.events import emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from traffic.clients.client import Client
    from traffic.clients.commands import Commands
    from traffic.clients.reports import Reporter
    from traffic.clients.transport import Transport
    from traffic.spec import BurstSpec

__all__ = ["Burst"]

_TICK_S = 0.05
_LONGEST_QUIET_S = 1.0
"""A server that never stops sending is not waited for."""


class Burst:
    """One burst, from the first DNS query until it has ended as commanded."""

    def __init__(
        self,
        spec: BurstSpec,
        client: Client,
        transport: Transport,
        commands: Commands,
        *,
        epoch_s: float | None = None,
        emit: Callable[..., None] = emit,
        reporter: Reporter | None = None,
    ) -> None:
        self._client, self._transport, self._commands = client, transport, commands
        self._emit = emit
        self._reporter = reporter or EventReporter(spec.offered, emit)
        self._quiet_s, self._received_s = spec.quiet_s, 0.0
        self._epoch_s = time.monotonic() if epoch_s is None else epoch_s
        self._next_tick_s = 0.0
        self._wake = select.poll()
        for descriptor in (commands.descriptor, *transport.descriptors()):
            self._wake.register(descriptor, select.POLLIN)

    def run(self) -> None:
        """Connect, report, wait for a command, end."""
        self._run_until(self._is_connected)
        if self._client.unfinished == 0:
            connections, connected_s = self._client.connections, self._now_s()
            if self._quiet_s:
                self._run_until(lambda now_s: self._is_quiet(now_s, connected_s))
            self._reporter.result(connections.counts, connections.threshold, self._transport.count(), connected_s)
        self._run_until(lambda _: self._commands.current is not None)
        match self._commands.current:
            case Command.CLOSE:
                self._close()
            case Command.LEAVE:
                self._emit("left", established=self._client.counts.open, **self._ended())
            case _:
                self._abort()

    def _is_connected(self, now_s: float) -> bool:
        self._reporter.progress(self._client.counts, now_s)
        return self._commands.current in (Command.ABORT, Command.LEAVE) or self._client.unfinished == 0

    def _is_quiet(self, now_s: float, since_s: float) -> bool:
        quiet = now_s - max(self._received_s, since_s) >= self._quiet_s
        return quiet or now_s - since_s >= _LONGEST_QUIET_S or self._commands.current is not None

    def _ended(self) -> dict[str, int]:
        """Connections that ended before the clients began to close what was left."""
        while self._transport.receive(self._client, self._now_s()):
            pass
        counts = self._client.counts
        closing = int(np.count_nonzero(self._client.connections.state == State.CLOSING))
        return {
            "reset": counts.reset,
            "closed_by_server": counts.closed_by_server,
            "closed_before": counts.closed + counts.abandoned + closing,
        }

    def _close(self) -> None:
        ended, begun_s = self._ended(), self._now_s()
        self._client.begin_closing()
        self._run_until(lambda _: self._commands.current is Command.ABORT or not self._client.is_closing())
        if self._commands.current is Command.ABORT:
            self._abort()
            return
        counts = self._client.counts
        took_s = round(self._now_s() - begun_s, 3)
        self._emit("closed", closed=counts.closed, abandoned=counts.abandoned, t_s=took_s, **ended)

    def _abort(self) -> None:
        self._emit("aborted", resets=self._client.abort(), t_s=round(self._now_s(), 3))

    def _run_until(self, done: Callable[[float], bool]) -> None:
        """Receive, send and keep time until `done`, which is called at every tick."""
        while True:
            now_s = self._now_s()
            if now_s >= self._next_tick_s:
                self._next_tick_s = now_s + _TICK_S
                self._commands.read()
                self._client.tick(now_s)
                if done(now_s):
                    return
            received = self._transport.receive(self._client, now_s)
            self._received_s = now_s if received else self._received_s
            if not self._client.transmit(now_s) and not received:
                self._wait(now_s)

    def _wait(self, now_s: float) -> None:
        """Sleep until an answer or a command comes, or a time at which there is something to do."""
        until_s = min(self._next_tick_s, self._client.next_wake_s())
        ready = self._wake.poll(max(math.ceil((until_s - now_s) * 1000), 0))
        if any(descriptor == self._commands.descriptor for descriptor, _ in ready):
            self._next_tick_s = 0.0

    def _now_s(self) -> float:
        return time.monotonic() - self._epoch_s

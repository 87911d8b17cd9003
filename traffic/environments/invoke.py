"""`python -m traffic invoke`: invocations of a function in execution environments, which are made, frozen and ended.

Events: `progress` five times a second, `finished` with the result. The environments stay until the command `close`.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
import os
import time
from typing import TYPE_CHECKING

from traffic.environments.api import RuntimeApi, address_of, listen
from traffic.environments.dispatcher import Dispatcher
from traffic.environments.processes import Process, Program, Tail, base_variables
from traffic.environments.result import EXAMPLE_BYTES, Failure, InvokeResult, InvokeSample, Output, percentiles
from traffic.environments.supervisor import Parent, begin, end, reap_orphans
from traffic.events import emit

if TYPE_CHECKING:
    import socket

    from traffic.environments.spec import InvokeSpec

__all__ = ["run"]

_PROGRESS_EVERY_S, _SAMPLE_EVERY_S = 0.2, 0.5


def run(spec: InvokeSpec) -> None:
    """Run all invocations; OSError or ValueError if the environments cannot be made."""
    handler = spec.handler
    program = Program.of(handler.command, handler.directory, spec.isolation, spec.environments)
    begin()
    asyncio.run(_invoke(spec, program))


async def _invoke(spec: InvokeSpec, program: Program) -> None:
    parent, listener = Parent(), listen()
    invoker = _Invoker(spec, program, listener, parent)
    server = await invoker.api.serve(listener)
    try:
        invoker.begin()
        await asyncio.wait((parent.ends, invoker.finished), return_when=asyncio.FIRST_COMPLETED)
        if invoker.finished.done() and not parent.ends.done():
            emit("finished", result=invoker.result().to_json())
        await parent.ends
    finally:
        await invoker.end()
        server.close()


class _Invoker:
    """Carries out what the dispatcher decides, and tells it what the environments do."""

    def __init__(self, spec: InvokeSpec, program: Program, listener: socket.socket, parent: Parent) -> None:
        self._spec, self._program, self._parent = spec, program, parent
        self._loop = asyncio.get_running_loop()
        self._port = listener.getsockname()[1]
        self._freezes = spec.freeze and spec.concurrency == 1  # as AWS, which freezes none that take several
        self._variables = _variables(spec)
        self._processes: dict[int, Process] = {}
        self._tails: dict[int, Tail] = {}
        self._answer: bytes | None = None
        self._series: list[InvokeSample] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        self._began_s, self._began_epoch_s = self._loop.time(), time.time()
        self.dispatcher = Dispatcher(spec, self)
        self.api = RuntimeApi(self, len(spec.environments), spec.function, spec.event.encode())
        self.finished: asyncio.Future[None] = self._loop.create_future()

    # ── From the beginning to the end ───────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """The first invocations arrive now."""
        self._began_s, self._began_epoch_s = self._loop.time(), time.time()
        self._advance()
        self._report()
        self._sample()

    async def end(self) -> None:
        """End all environments."""
        self._is_ending = True
        if self._timer is not None:
            self._timer.cancel()
        await end(self._processes)

    def result(self) -> InvokeResult:
        """What has come of all invocations."""
        dispatcher, tails = self.dispatcher, self._tails
        lines, dropped = (sum(getattr(each, what) for each in tails.values()) for what in ("lines", "dropped"))
        return InvokeResult(
            offered=self._spec.invocations,
            ok=dispatcher.ok,
            errors=dispatcher.errors(),
            timed_out=dispatcher.timed_out,
            throttled=dispatcher.throttled,
            cold_starts=dispatcher.cold_starts,
            warm=dispatcher.warm,
            peak_environments=dispatcher.peak_environments,
            environments=dispatcher.uses(),
            duration=percentiles(dispatcher.durations_s),
            init=percentiles(dispatcher.inits_s),
            wait=percentiles(dispatcher.waits_s),
            output=Output(lines, dropped, tails[0].text() if 0 in tails else ""),
            answer=None if self._answer is None else self._answer.decode(errors="replace"),
            began_epoch_s=self._began_epoch_s,
            ended_epoch_s=self._began_epoch_s + self._now_s(),
            series=(*self._series, dispatcher.sample(self._now_s())),
        )

    # ── What the dispatcher decides ─────────────────────────────────────────────────────────────────────────

    def start(self, number: int) -> None:
        """Fork an environment's first process."""
        tail = self._tails.setdefault(number, Tail())
        stream = datetime.now(UTC).strftime("%Y/%m/%d/[$LATEST]") + os.urandom(16).hex()
        own = {
            "AWS_LAMBDA_RUNTIME_API": f"{address_of(number)}:{self._port}",
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        }
        try:
            self._processes[number] = Process(
                self._program,
                number,
                own | self._variables,
                lambda _, data: tail.add(data),
                lambda status: self._ended(number, status),
            )
        except OSError as error:
            self._parent.fail(error)

    def hand_over(self, number: int, invocation: int) -> None:
        """Thaw an environment and answer its request."""
        self._processes[number].thaw()
        self.api.hand_over(number, invocation, self._spec.handler.timeout_s)

    def freeze(self, number: int) -> None:
        """Freeze an environment, unless that is not wanted."""
        if self._freezes:
            self._processes[number].freeze()

    def kill(self, number: int) -> None:
        """Kill an environment's processes."""
        if number in self._processes:
            self._processes[number].kill()

    def starved_s(self, number: int) -> float:
        """How long an environment has waited for a processor."""
        return self._processes[number].starved_s() if number in self._processes else 0.0

    # ── What environments do ────────────────────────────────────────────────────────────────────────────────

    def asks(self, number: int) -> bool:
        """An environment's runtime client asks for its next invocation."""
        may = not self._is_ending and self.dispatcher.asks(number, self._now_s())
        self._plan()
        return may

    def leaves(self, number: int) -> None:
        """The connection on which it asked was closed."""
        self.dispatcher.leaves(number)

    def answers(self, number: int, invocation: int, failure: Failure | None, body: bytes) -> bool:
        """It has answered."""
        if self._answer is None and failure is None:
            self._answer = body[:EXAMPLE_BYTES]
        known = self.dispatcher.answers(number, invocation, self._now_s(), failure)
        self._plan()
        return known

    def init_fails(self, number: int, failure: Failure) -> bool:
        """It reports that it cannot start."""
        failed = self.dispatcher.init_fails(number, failure)
        self._advance()
        return failed

    def _ended(self, number: int, status: int) -> None:
        """The first process of an environment has ended, and so has all that it had started."""
        del self._processes[number]
        self.api.forget(number)
        if not self._is_ending:
            how = f"exit status {status}" if status >= 0 else f"signal {-status}"
            written = tuple(self._tails[number].text().splitlines())
            message = f"Runtime exited with error: {how}" if status else "Runtime exited without providing a reason"
            self.dispatcher.ended(number, self._now_s(), Failure("Runtime.ExitError", message, written).bounded())
            self._plan()

    # ── Time ────────────────────────────────────────────────────────────────────────────────────────────────

    def _now_s(self) -> float:
        return self._loop.time() - self._began_s

    def _advance(self) -> None:
        self._timer = None
        self.dispatcher.advance(self._now_s())
        self._plan()

    def _plan(self) -> None:
        """Wake up when something is due next."""
        if self.dispatcher.is_finished and not self.finished.done():
            self.finished.set_result(None)
        at_s = self._began_s + self.dispatcher.next_event_s()
        if self._timer is not None and self._timer.when() > at_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None and at_s != float("inf") and not self._is_ending:
            self._timer = self._loop.call_at(at_s, self._advance)

    def _report(self) -> None:
        reap_orphans(self._processes)
        if not self.finished.done() and not self._is_ending:
            self._loop.call_later(_PROGRESS_EVERY_S, self._report)
            dispatcher = self.dispatcher
            counts = {name: getattr(dispatcher, name) for name in ("ok", "failed", "timed_out", "throttled", "done")}
            emit(
                "progress",
                t_s=round(self._now_s(), 3),
                **counts,
                in_flight=dispatcher.in_flight,
                alive=dispatcher.alive,
            )

    def _sample(self) -> None:
        if not self.finished.done():
            self._series.append(self.dispatcher.sample(self._now_s()))
            self._loop.call_later(_SAMPLE_EVERY_S, self._sample)


def _variables(spec: InvokeSpec) -> dict[str, str]:
    """Those of every environment; the function's own come last, and may replace any."""
    handler = spec.handler
    return {
        **base_variables(),
        "_HANDLER": handler.name,
        "LAMBDA_TASK_ROOT": handler.directory,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_FUNCTION_NAME": spec.function,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(handler.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{spec.function}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{handler.runtime}",
        **({"AWS_LAMBDA_MAX_CONCURRENCY": str(spec.concurrency)} if spec.concurrency > 1 else {}),
        **handler.variables,
    }

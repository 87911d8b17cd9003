"""What came of invocations: frozen values with a JSON form, without numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "EXAMPLE_BYTES",
    "EnvironmentUse",
    "ErrorCount",
    "Failure",
    "InvokeResult",
    "InvokeSample",
    "Output",
    "Percentiles",
    "percentiles",
]

EXAMPLE_BYTES = 4_096
"""How much is kept of what a function writes: of an error, of an answer, of its output."""
_TYPE_LETTERS = 256


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as a runtime client reports it, or as Lambda does where the client can not."""

    type: str
    message: str = ""
    trace: tuple[str, ...] = ()

    def bounded(self) -> Self:
        """The same, with no more of its text than an example has: a function's error may be megabytes."""
        message = self.message[:EXAMPLE_BYTES]
        room, kept = EXAMPLE_BYTES - len(message), []
        for line in self.trace:
            room -= len(line) + 1
            if room < 0:
                break
            kept.append(line)
        return type(self)(self.type[:_TYPE_LETTERS] or "Unhandled", message, tuple(kept))


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Invocations that ended with errors of one type, and the first of these errors."""

    type: str
    count: int
    example: Failure


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Durations in milliseconds, exact: each is one that was measured (the nearest rank)."""

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class InvokeSample:
    """The counts at one moment."""

    t_s: float
    done: int
    ok: int
    in_flight: int
    environments: int


@dataclass(frozen=True, slots=True)
class EnvironmentUse:
    """An environment that was started at least once."""

    number: int
    """Its place in the spec, from 0."""
    starts: int
    invocations: int


@dataclass(frozen=True, slots=True)
class Output:
    """What the processes of all environments wrote to their standard output and error."""

    lines: int
    dropped: int
    """Lines that are kept nowhere: of each environment, all but its last 4 KiB."""
    last: str
    """The last 4 KiB of the first environment."""


@dataclass(frozen=True, slots=True)
class InvokeResult:
    """Invocations by outcome; `offered` is the sum of ok, errors, timed out and throttled."""

    offered: int
    ok: int
    errors: tuple[ErrorCount, ...]
    """The most frequent first."""
    timed_out: int
    """Invocations without an answer at their deadline; their environment was killed."""
    throttled: int
    """Invocations beyond the reserved concurrency when they came."""
    cold_starts: int
    """Environments that were started, again ones included, whether their initialization succeeded or not."""
    warm: int
    """Invocations handed to an environment that had had one before."""
    peak_environments: int
    """The most that were there at a time."""
    environments: tuple[EnvironmentUse, ...]
    duration: Percentiles | None
    """From an invocation's handing over (the response to `next`) to its answer. With a handler that does nothing, this
    is what the runtime client and the Runtime API take; None without any answer."""
    init: Percentiles | None
    """From the fork of an environment to its first `next`."""
    wait: Percentiles | None
    """From an invocation's arrival to its handing over: the cold start, or the wait for a free environment."""
    output: Output
    answer: str | None
    """The first 4 KiB of the first answer."""
    began_epoch_s: float
    ended_epoch_s: float
    series: tuple[InvokeSample, ...]
    """Twice a second."""

    def to_json(self) -> dict[str, Any]:
        """The value of `result` in the event `finished`."""
        values: dict[str, Any] = msgspec.to_builtins(self)
        return values

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> Self:
        """The result that `to_json` made."""
        return msgspec.convert(raw, cls)


def percentiles(durations_s: Iterable[float]) -> Percentiles | None:
    """Of all durations; None if there are none."""
    ordered = sorted(durations_s)
    if not ordered:
        return None

    def at(percent: int) -> float:
        return round(1_000 * ordered[-(-percent * len(ordered) // 100) - 1], 3)

    return Percentiles(len(ordered), at(50), at(90), at(99), at(100))

"""Faults on the way: what can be set on an interface of a lab that is up, as people write it and as values. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
import re
from typing import Any, Self, TypedDict, Unpack

from lab.errors import UsageError

__all__ = ["FaultOptions", "Faults", "Impairment", "loss_of", "time_of"]

_BIT_PER_S = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
"""Units of tc(8), which counts in thousands."""
_PER_SECOND = {"us": 10**6, "ms": 10**3, "s": 1}
_NUMBER = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)"

_LONGEST_S = 274.0
"""What 32 bits of ticks of 64 ns hold (struct tc_netem_qopt, linux/pkt_sched.h; PSCHED_SHIFT, net/pkt_sched.h)."""
_LONGEST_JITTER_S = 2.0
"""The kernel cuts off what is more than 31 bits of nanoseconds (netem_change, net/sched/sch_netem.c)."""
_LEAST_BIT_PER_S, _MOST_BIT_PER_S = 10**3, 34 * 10**9
"""A bucket of tokens takes 40 s to fill at the least rate, which must be less than the longest time; the most is what
32 bits of bytes per second hold (struct tc_ratespec)."""


class FaultOptions(TypedDict, total=False):
    """Faults as they are asked for; None, as what is left out, is none of that kind."""

    rate: str | None
    """A rate as it is written on the command line: `10mbit`."""
    loss_percent: float | None
    latency_s: float | None
    jitter_s: float | None
    silence: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What happens to the packets that an interface sends and, with `silence`, to those that arrive at it."""

    rate_bit_per_s: int | None = None
    loss_percent: float | None = None
    latency_s: float | None = None
    jitter_s: float | None = None
    """Seconds by which the latency varies, up and down."""
    silence: bool = False
    """Whether everything that arrives is dropped."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        rate, loss = self.rate_bit_per_s, self.loss_percent
        if rate is not None and not _LEAST_BIT_PER_S <= rate <= _MOST_BIT_PER_S:
            raise UsageError(f"--rate {_rate(rate)}: from {_rate(_LEAST_BIT_PER_S)} to {_rate(_MOST_BIT_PER_S)}")
        if loss is not None and not 0 <= loss <= 100:  # noqa: PLR2004  # percent
            raise UsageError(f"--loss {loss:g}: a percentage from 0 to 100")
        _require_time("--latency", self.latency_s, _LONGEST_S)
        _require_time("--jitter", self.jitter_s, _LONGEST_JITTER_S)
        if self.jitter_s is not None and self.latency_s is None:
            raise UsageError("--jitter varies a latency; give --latency as well")

    @classmethod
    def of(cls, **options: Unpack[FaultOptions]) -> Self:
        """The faults of these options; UsageError says what is wrong with them."""
        rate = options.get("rate")
        return cls(
            rate_bit_per_s=None if rate is None else rate_of(rate),
            loss_percent=options.get("loss_percent"),
            latency_s=options.get("latency_s"),
            jitter_s=options.get("jitter_s"),
            silence=options.get("silence", False),
        )

    @property
    def needs_netem(self) -> bool:
        """Whether the kernel must have netem for it."""
        return self.loss_percent is not None or self.latency_s is not None

    def __bool__(self) -> bool:
        return self != Faults()

    def __str__(self) -> str:
        return ", ".join(self._words()) or "nothing"

    def _words(self) -> list[str]:
        words = [] if self.rate_bit_per_s is None else [f"rate {_rate(self.rate_bit_per_s)}"]
        if self.loss_percent is not None:
            words.append(f"loss {self.loss_percent:g}%")
        if self.latency_s is not None:
            words.append(f"latency {_time(self.latency_s)}")
        if self.jitter_s is not None:
            words.append(f"jitter {_time(self.jitter_s)}")
        return [*words, "silence"] if self.silence else words


@dataclass(frozen=True, slots=True)
class Impairment:
    """What is set on one interface of a node, and how many packets it has dropped so far."""

    node: str
    interface: str
    faults: Faults
    dropped_packets: int

    def to_json(self) -> dict[str, Any]:
        """Its part of the document of `lab impair --json`."""
        where = {"node": self.node, "interface": self.interface}
        return where | asdict(self.faults) | {"dropped_packets": self.dropped_packets}


def _require_time(option: str, time_s: float | None, longest_s: float) -> None:
    if time_s is not None and not 0 <= time_s <= longest_s:
        raise UsageError(f"{option} {_time(time_s)}: from 0s to {longest_s:g}s")


def rate_of(text: str) -> int:
    """`10mbit` in bits per second; UsageError says how a rate is written."""
    number, unit = _parsed(text, _BIT_PER_S, f"--rate {text}: write it like 10mbit, 500kbit or 1gbit")
    return round(number * _BIT_PER_S[unit])


def time_of(text: str, option: str) -> float:
    """`100ms` in seconds; UsageError says how a time is written."""
    number, unit = _parsed(text, _PER_SECOND, f"{option} {text}: write it like 100ms, 1.5s or 250us")
    return number / _PER_SECOND[unit]


def loss_of(text: str) -> float:
    """`1.5` or `1.5%` in percent; UsageError says how a loss is written."""
    return _parsed(text, ("%", ""), f"--loss {text}: a percentage from 0 to 100, written like 0.5 or 0.5%")[0]


def _parsed(text: str, units: Iterable[str], complaint: str) -> tuple[float, str]:
    """A number and one of these units."""
    match = re.fullmatch(rf"{_NUMBER} *({'|'.join(units)})", text.strip().lower())
    if match is None:
        raise UsageError(complaint)
    return float(match[1]), match[2]


def _rate(bit_per_s: int) -> str:
    """A rate in the largest unit of which there is at least one."""
    unit = next((name for name, size in reversed(_BIT_PER_S.items()) if bit_per_s >= size), "bit")
    return f"{bit_per_s / _BIT_PER_S[unit]:g}{unit}"


def _time(time_s: float) -> str:
    """A time in the largest unit of which there is at least one."""
    unit = next((name for name, count in reversed(_PER_SECOND.items()) if abs(time_s) * count >= 1), "us")
    return f"{time_s * _PER_SECOND[unit]:g}{unit}"

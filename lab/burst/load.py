"""What a burst is asked to be: who invokes what, how often, for how long. Pure; nonsense is refused.

Without a rate all invocations come at once and their connections are held until the last one has its outcome. With a
rate, a ramp or Lambda's own scaling the load goes on over time, and each connection is kept for its own `hold_s`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Self, TypedDict

from lab.errors import UsageError
from lab.schema.limits import ENVIRONMENT_DESCRIPTORS, SCALING_ENVIRONMENTS, SCALING_PERIOD_S
from traffic.arrivals import arrives_s, most_at_once
from traffic.spec import Arrivals, Close, Engine, Growth, Protocol, SynSchedule

__all__ = ["Load", "LoadOptions", "Ramp"]

_LONGEST_S = 86_400
_MOST_INVOCATIONS = 1_000_000_000
_MOST_REQUESTS = 65_000
_SCAPY_INVOCATIONS = 100
"""With one invocation at a time and a table of its packets, more would be unreadable."""
_SLOT_LINGERS_S = 0.5
"""A closed connection's slot is free within half a second (lab.slots.ruleset)."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """From one rate to another, in invocations per second."""

    from_per_s: float
    to_per_s: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """`FROM:TO:SECONDS`, as on the command line."""
        try:
            start, end, seconds = (float(part) for part in text.split(":"))
        except ValueError:
            raise UsageError(f"--ramp {text}: FROM:TO:SECONDS, such as 0:5000:60") from None
        return cls(start, end, seconds)

    def __str__(self) -> str:
        return f"{self.from_per_s:g}:{self.to_per_s:g}:{self.seconds:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for; None is the topology's first function or server, and otherwise no limit."""

    connections: int
    """Invocations; each makes a connection, or finds one to use again."""
    engine: Engine = "packet"
    protocol: Protocol = "tcp"
    function: str | None = None
    server: str | None = None
    rate_per_s: float | None = None
    ramp: Ramp | None = None
    lambda_scaling: bool = False
    hold_s: float | None = None
    duration_s: float = 0.0
    requests_per_connection: int | None = None
    reuse: bool = False
    connections_per_environment: int = 100
    close: Close = "fin"
    connect_timeout_s: float = 30.0
    syn_schedule: SynSchedule = "classic"
    syn_only: bool = False
    leave_open: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        _require_amounts(self)
        _require_rates(self)
        _require_requests(self)
        _require_protocol(self)
        _require_engine(self)

    @property
    def over_time(self) -> bool:
        """Whether each connection ends by itself, so that one burst may use a port more than once.

        SYNs alone leave connections half-open that nobody ends before the burst does.
        """
        paced = self.rate_per_s is not None or self.ramp is not None or self.lambda_scaling
        return self.reuse or (paced and self.hold_s is not None and not self.syn_only)

    @property
    def arrivals(self) -> Arrivals:
        """When invocations come."""
        if self.ramp is not None:
            return Arrivals(self.ramp.from_per_s, self.ramp.to_per_s, self.ramp.seconds)
        return Arrivals(self.rate_per_s)

    @property
    def growth(self) -> Growth | None:
        """How fast environments may come."""
        if not self.lambda_scaling:
            return None
        return Growth(SCALING_ENVIRONMENTS, SCALING_ENVIRONMENTS / SCALING_PERIOD_S)

    @property
    def requests(self) -> int | None:
        """Requests on a connection; None is no limit."""
        if self.requests_per_connection is None:
            return None if self.reuse else 0
        return self.requests_per_connection

    def at_once(self, port_hold_s: float = 0.0) -> int | None:
        """How many connections will hold a slot at the same time; None where that depends on the network's speed.

        A closed connection keeps its slot for `port_hold_s`.
        """
        if not self.over_time:
            return self.connections
        if self.lambda_scaling or self.arrivals.per_s is None or (self.reuse and not self.duration_s):
            return None
        if self.protocol == "udp" and not self.reuse:
            return None  # a flow that has ended keeps its slot until it has been idle for long enough
        closed_s = max(port_hold_s, _SLOT_LINGERS_S)
        lasting_s = self.duration_s if self.reuse else (self.hold_s or 0.0) + closed_s
        return most_at_once(self.arrivals, self.connections, lasting_s)


class LoadOptions(TypedDict, total=False):
    """The options of `Lab.burst`: the fields of `Load` but its first."""

    engine: Engine
    protocol: Protocol
    function: str | None
    server: str | None
    rate_per_s: float | None
    ramp: Ramp | None
    lambda_scaling: bool
    hold_s: float | None
    duration_s: float
    requests_per_connection: int | None
    reuse: bool
    connections_per_environment: int
    close: Close
    connect_timeout_s: float
    syn_schedule: SynSchedule
    syn_only: bool
    leave_open: bool


def _require_amounts(load: Load) -> None:
    if not 1 <= load.connections <= _MOST_INVOCATIONS:
        raise UsageError(f"-n {load.connections}: a burst has at least one connection, at most {_MOST_INVOCATIONS:,}")
    if not 0 < load.connect_timeout_s <= _LONGEST_S:
        raise UsageError(f"--connect-timeout {load.connect_timeout_s}: seconds, up to {_LONGEST_S:,}")
    for name, seconds in (("hold", load.hold_s), ("duration", load.duration_s)):
        if seconds is not None and not 0 <= seconds <= _LONGEST_S:
            raise UsageError(f"--{name} {seconds}: seconds, up to {_LONGEST_S:,}")
    if not 1 <= load.connections_per_environment <= ENVIRONMENT_DESCRIPTORS:
        raise UsageError(
            f"--connections-per-environment {load.connections_per_environment}: "
            f"1 to {ENVIRONMENT_DESCRIPTORS:,}, the descriptors that Lambda gives an execution environment"
        )


def _require_rates(load: Load) -> None:
    if load.rate_per_s is not None and load.ramp is not None:
        raise UsageError("--rate and --ramp: one of them; a ramp ends with a steady rate")
    if load.rate_per_s is not None and not 0 < load.rate_per_s < inf:
        raise UsageError(f"--rate {load.rate_per_s}: invocations per second, more than 0")
    if load.ramp is not None:
        _require_ramp(load, load.ramp)
    if (lasts_s := arrives_s(load.arrivals, load.connections - 1)) > _LONGEST_S:
        raise UsageError(f"-n {load.connections} at this rate takes {lasts_s:,.0f} s; {_LONGEST_S:,} s at most")


def _require_ramp(load: Load, ramp: Ramp) -> None:
    rates = (ramp.from_per_s, ramp.to_per_s)
    if not all(0 <= rate < inf for rate in rates) or not any(rates):
        raise UsageError(f"--ramp {ramp}: two rates of invocations per second, 0 or more, not both 0")
    if not 0 < ramp.seconds <= _LONGEST_S:
        raise UsageError(f"--ramp {ramp}: it takes more than 0 and up to {_LONGEST_S:,} seconds")
    if arrives_s(load.arrivals, load.connections - 1) == inf:
        most = int(ramp.from_per_s * ramp.seconds / 2) + 1
        raise UsageError(f"--ramp {ramp}: comes down to 0 after {most:,} invocations; -n {most} at most, or TO above 0")


def _require_requests(load: Load) -> None:
    requests = load.requests_per_connection
    if requests is not None and not 0 <= requests <= _MOST_REQUESTS:
        raise UsageError(f"--requests-per-connection {requests}: 0 to {_MOST_REQUESTS:,}")
    if load.reuse and requests == 0:
        raise UsageError(
            "--requests-per-connection 0: a connection that is reused carries a request each time; 1 or more"
        )
    if load.duration_s and not load.reuse:
        raise UsageError(
            "--duration: how long an invocation keeps its environment busy matters with --reuse only; "
            "how long a connection is kept is --hold"
        )


def _require_protocol(load: Load) -> None:
    if load.protocol == "udp" and load.close != "fin":
        raise UsageError(f"--close {load.close}: UDP has no goodbye of any kind")
    if not load.syn_only:
        return
    others = {
        "--protocol udp": load.protocol == "udp",
        "--reuse": load.reuse,
        "--requests-per-connection": bool(load.requests_per_connection),
        f"--close {load.close}": load.close != "fin",
        f"--engine {load.engine}": load.engine != "packet",
    }
    if unfit := [name for name, given in others.items() if given]:
        raise UsageError(f"--syn-only sends SYNs and nothing else, with the packet engine; without {', '.join(unfit)}")


def _require_engine(load: Load) -> None:
    if load.engine == "scapy" and load.connections > _SCAPY_INVOCATIONS:
        raise UsageError(
            f"-n {load.connections}: the scapy engine explains each packet, one invocation after the other; "
            f"-n {_SCAPY_INVOCATIONS} at most, or --engine packet"
        )

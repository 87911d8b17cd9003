"""What a burst is asked to be: function, server, number, rate and duration of invocations. Pure; nonsense is refused.

Without a rate all invocations come at once and their connections are held until the last one has its outcome. With a
rate, a ramp or Lambda's own scaling the load goes on over time, and each connection is kept for its own `hold_s`.

Each field of `Load` is declared once, with an `Option` in its metadata. Its other forms are made of that: the option of
`lab burst` (`lab.cli.declared`), the keyword of `Lab.burst`, the recorded command, the words of a report, and what the
generator is told (`lab.burst.options`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Self

from lab.errors import UsageError
from lab.schema.descriptors import DescriptorLimit
from lab.schema.limits import (
    DESCRIPTORS_AT_START,
    DESCRIPTORS_MOST,
    ENVIRONMENT_DESCRIPTORS,
    NODE_LOOK_UPS,
    SCALING_ENVIRONMENTS,
    SCALING_PERIOD_S,
)
from lab.schema.options import Option, options_of, require_within_bounds
from traffic.arrivals import arrives_s, most_at_once
from traffic.schedule import LookUp, look_up, syn_retransmissions
from traffic.spec import Arrivals, Close, Engine, Growth, PortBlocks, Protocol, ResolverSchedule, SynSchedule

__all__ = ["OPTIONS", "WHAT_EACH_DOES", "Load", "Ramp", "arrivals_of"]

_LONGEST_S = 86_400
_MOST_INVOCATIONS = 1_000_000_000
_MOST_REQUESTS = 65_000
_MOST_OF_AN_ENVIRONMENT = PortBlocks().ports
_SCAPY_INVOCATIONS = 100
"""With one invocation at a time and a table of its packets, more would be unreadable."""
_SLOT_FREED_WITHIN_S = 0.5
"""After its connection was closed (lab.slots.ruleset)."""

WHEN_THEY_COME, WHAT_EACH_DOES, HOW_CLIENTS_BEHAVE = "When invocations come", "What each does", "How clients behave"
"""Panels of `lab burst --help`."""


def _seconds(value_s: float) -> bool:
    return 0 <= value_s <= _LONGEST_S


_SECONDS = f"seconds, up to {_LONGEST_S:,}"


@dataclass(frozen=True, slots=True)
class Ramp:
    """From one rate to another, in invocations per second."""

    from_per_s: float
    to_per_s: float
    seconds: float

    def __post_init__(self) -> None:
        """Refuse what makes no sense, with what is allowed."""
        rates = (self.from_per_s, self.to_per_s)
        if not all(0 <= rate < inf for rate in rates) or not any(rates):
            raise UsageError(f"--ramp {self}: two rates of invocations per second, 0 or more, not both 0")
        if not 0 < self.seconds <= _LONGEST_S:
            raise UsageError(f"--ramp {self}: it takes more than 0 and up to {_LONGEST_S:,} seconds")

    @classmethod
    def parse(cls, text: str) -> Self:
        """`FROM:TO:SECONDS`, as on the command line."""
        try:
            start, end, seconds = (float(part) for part in text.split(":"))
        except ValueError:
            raise UsageError(f"--ramp {text}: FROM:TO:SECONDS, such as 0:5000:60") from None
        return cls(start, end, seconds)

    def __str__(self) -> str:
        """What `parse` takes, exactly; whole numbers without a fraction."""
        return ":".join(str(part).removesuffix(".0") for part in (self.from_per_s, self.to_per_s, self.seconds))


def arrivals_of(rate_per_s: float | None, ramp: Ramp | None) -> Arrivals:
    """The arrivals that a rate, a ramp, or neither means."""
    return Arrivals(rate_per_s) if ramp is None else Arrivals(ramp.from_per_s, ramp.to_per_s, ramp.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for; None is the topology's first function or server, and otherwise no limit."""

    connections: int = field(
        kw_only=False,
        metadata=Option(
            "-n",
            "Invocations; each makes one connection.",
            metavar="CONNECTIONS",
            fits=lambda connections: 1 <= connections <= _MOST_INVOCATIONS,
            allowed=f"a burst has at least one connection, at most {_MOST_INVOCATIONS:,}",
            fact=lambda load: f"{load.connections:,} invocation{'' if load.connections == 1 else 's'} {_pace(load)}",
        ).metadata,
    )
    """Invocations; each makes a connection, or finds one to use again."""
    function: str | tuple[str, ...] | None = Option(
        "--function",
        "Which function invokes, the first unless given; of several, each given, invocations are shared out in turn.",
        metavar="FUNCTION",
        repeats=True,
    ).by_default(None)
    client: str | None = Option(
        "--client", "Which client connects, in place of a function: an EC2 instance, say."
    ).by_default(None)
    server: str | None = Option("--server", "Which server it connects to; the first unless given.").by_default(None)
    engine: Engine = Option(
        "--engine",
        "packet: TCP in numpy; socket: the kernel's TCP; scapy: explains each packet.",
        for_generator=True,
        fact=lambda load: f"{load.engine} engine",
    ).by_default("packet")
    rate_per_s: float | None = Option(
        "--rate",
        "So many a second; all at once unless given.",
        metavar="PER_SECOND",
        panel=WHEN_THEY_COME,
        fits=lambda rate_per_s: 0 < rate_per_s < inf,
        allowed="invocations per second, more than 0",
    ).by_default(None)
    ramp: Ramp | None = Option(
        "--ramp",
        "A rate that climbs or falls, such as 0:5000:60, and then stays.",
        metavar="FROM:TO:SECONDS",
        panel=WHEN_THEY_COME,
        parse=Ramp.parse,
    ).by_default(None)
    lambda_scaling: bool = Option(
        "--lambda-scaling",
        "As fast as Lambda adds environments: 1,000, then 1,000 more every 10 s.",
        panel=WHEN_THEY_COME,
    ).by_default(False)
    hold_s: float | None = Option(
        "--hold",
        "Keep a connection so long: over time, from its last answer (to the end unless given); "
        "all at once, from the last outcome.",
        metavar="SECONDS",
        panel=WHAT_EACH_DOES,
        fits=_seconds,
        allowed=_SECONDS,
        fact=lambda load: _holding(load),  # noqa: PLW0108 -- it is defined further down
    ).by_default(None)
    requests_per_connection: int | None = Option(
        "--requests-per-connection",
        "HTTP requests on each connection: none unless given; with --reuse, no limit.",
        metavar="N",
        panel=WHAT_EACH_DOES,
        fits=lambda requests: 0 <= requests <= _MOST_REQUESTS,
        allowed=f"0 to {_MOST_REQUESTS:,}",
        fact=lambda load: (
            f"{load.requests:,} request{'' if load.requests == 1 else 's'} on each" if load.requests else None
        ),
    ).by_default(None)
    reuse: bool = Option(
        "--reuse/--no-reuse",
        "An invocation takes a connection that is open and idle, or makes its own in any case.",
        panel=WHAT_EACH_DOES,
        for_generator=True,
        fact=lambda load: "connections reused" if load.reuse else "a connection each",
    ).by_default(False)
    duration_s: float = Option(
        "--duration",
        "With --reuse: how long an invocation keeps its connection busy.",
        metavar="SECONDS",
        panel=WHAT_EACH_DOES,
        fits=_seconds,
        allowed=_SECONDS,
        for_generator=True,
    ).by_default(0.0)
    connections_per_environment: int = Option(
        "--connections-per-environment",
        "How many connections an execution environment makes.",
        metavar="N",
        panel=WHAT_EACH_DOES,
        fits=lambda connections: 1 <= connections <= _MOST_OF_AN_ENVIRONMENT,
        allowed=f"1 to {_MOST_OF_AN_ENVIRONMENT:,}, the ports of an address",
    ).by_default(100)
    descriptors: int | None = Option(
        "--descriptors",
        "How many files and sockets an environment, or each address of a client, may have open; more fail with EMFILE.",
        metavar="N",
        panel=WHAT_EACH_DOES,
        fits=lambda descriptors: 1 <= descriptors <= DESCRIPTORS_MOST,
        allowed=f"1 to {DESCRIPTORS_MOST:,}",
        fact=lambda load: _descriptors(load),  # noqa: PLW0108 -- defined below
    ).by_default(None)
    descriptors_at_start: int = Option(
        "--descriptors-at-start",
        "Of them, open before the first connection.",
        metavar="N",
        panel=WHAT_EACH_DOES,
        fits=lambda descriptors: 0 <= descriptors < DESCRIPTORS_MOST,
        allowed=f"0 to {DESCRIPTORS_MOST - 1:,}",
    ).by_default(DESCRIPTORS_AT_START)
    protocol: Protocol = Option(
        "--protocol",
        "TCP, or flows over UDP.",
        panel=HOW_CLIENTS_BEHAVE,
        for_generator=True,
        fact=lambda load: "TCP" if load.protocol == "tcp" else "UDP flows",
    ).by_default("tcp")
    connect_timeout_s: float = Option(
        "--connect-timeout",
        "When a client gives up; the article's clients waited 30 s.",
        metavar="SECONDS",
        panel=HOW_CLIENTS_BEHAVE,
        fits=lambda timeout_s: 0 < timeout_s <= _LONGEST_S,
        allowed=_SECONDS,
        for_generator=True,
        fact=lambda load: f"clients wait {load.connect_timeout_s:g} s",
    ).by_default(30.0)
    syn_schedule: SynSchedule = Option(
        "--syn-schedule",
        "SYNs again after 1, 3, 7, 15 s, or as Linux 6.5 and later.",
        panel=HOW_CLIENTS_BEHAVE,
        for_generator=True,
        fact=lambda load: _retransmissions(load) if load.protocol == "tcp" else None,
    ).by_default("classic")
    resolver_schedule: ResolverSchedule = Option(
        "--resolver-schedule",
        "How names are looked up: single, for A alone; glibc, musl, lambda-python or node, for A and AAAA at once.",
        metavar="SCHEDULE",
        panel=HOW_CLIENTS_BEHAVE,
        for_generator=True,
        fact=lambda load: _look_ups(load),  # noqa: PLW0108 -- it is defined further down
    ).by_default("single")
    tls: bool = Option(
        "--tls",
        "A TLS handshake on each connection, the server's certificate verified; the socket engine's.",
        panel=HOW_CLIENTS_BEHAVE,
        fact=lambda load: "TLS" if load.tls else None,
    ).by_default(False)
    close: Close = Option(
        "--close",
        "FIN, FIN with a last request (answered while half-closed), or RST.",
        panel=HOW_CLIENTS_BEHAVE,
        for_generator=True,
    ).by_default("fin")
    fresh: bool = Option(
        "--fresh",
        "Forget all connections of the lab before, as `lab reset`.",
        fact=lambda load: "in a lab that was reset" if load.fresh else None,
    ).by_default(False)
    anyway: bool = Option(
        "--anyway",
        "Burst although parts of the lab are gone, down or stopped; the verdict names them first.",
        fact=lambda load: "in a lab that may have lost parts" if load.anyway else None,
    ).by_default(False)
    leave_open: bool = Option(
        "--leave-open",
        "End without closing the connections.",
        panel=HOW_CLIENTS_BEHAVE,
        fact=lambda load: "left open" if load.leave_open else None,
    ).by_default(False)
    syn_only: bool = Option(
        "--syn-only",
        "SYNs as fast as they go: no DNS before, no ACK after.",
        panel=HOW_CLIENTS_BEHAVE,
        fact=lambda load: "SYNs alone" if load.syn_only else None,
    ).by_default(False)

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        for name, option in OPTIONS.items():
            value = getattr(self, name)
            if option.repeats and isinstance(value, (list, tuple)):
                object.__setattr__(self, name, value[0] if len(value) == 1 else tuple(value) or None)
        require_within_bounds(self)
        if contradiction := next(_contradictions(self), None):
            raise UsageError(contradiction)

    @property
    def paced(self) -> bool:
        """Whether invocations come one after another."""
        return self.rate_per_s is not None or self.ramp is not None or self.lambda_scaling

    @property
    def sources(self) -> tuple[str, ...]:
        """Whose connections they are, where that is said; empty is the topology's first source."""
        if self.client is not None:
            return (self.client,)
        return (self.function,) if isinstance(self.function, str) else self.function or ()

    @property
    def over_time(self) -> bool:
        """Whether each connection ends by itself, so that one burst may use a port more than once.

        SYNs alone leave connections half-open until the burst ends.
        """
        return self.reuse or (self.paced and self.hold_s is not None and not self.syn_only)

    @property
    def arrivals(self) -> Arrivals:
        """The arrivals of invocations, as the generator is told them."""
        return arrivals_of(self.rate_per_s, self.ramp)

    @property
    def growth(self) -> Growth | None:
        """How many environments there may be at first, and how many more each second."""
        if not self.lambda_scaling:
            return None
        return Growth(SCALING_ENVIRONMENTS, SCALING_ENVIRONMENTS / SCALING_PERIOD_S)

    @property
    def requests(self) -> int | None:
        """Requests on a connection; None is no limit."""
        if self.requests_per_connection is None:
            return None if self.reuse else 0
        return self.requests_per_connection

    @property
    def descriptor_limit(self) -> DescriptorLimit | None:
        """How many descriptors each environment, or each program of a client, is asked to have; None: nothing is."""
        if self.descriptors is None:
            return None
        limit = DescriptorLimit(self.descriptors, self.descriptors_at_start)
        return limit if self.client is None else replace(limit, holder=f"program on {self.client}")

    @property
    def look_up(self) -> LookUp:
        """How each client looks the server's name up."""
        return look_up(self.resolver_schedule, self.connect_timeout_s)

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
        closed_s = max(port_hold_s, _SLOT_FREED_WITHIN_S)
        lasting_s = self.duration_s if self.reuse else (self.hold_s or 0.0) + closed_s
        return most_at_once(self.arrivals, self.connections, lasting_s)


OPTIONS = options_of(Load)
"""Field of `Load` → its option, in the order of `lab burst --help`."""


# ── What options do not go together ─────────────────────────────────────────────────────────────────────────


def _contradictions(load: Load) -> Iterator[str]:
    yield from _of_the_source(load)
    yield from _of_the_pace(load)
    yield from _of_requests(load)
    yield from _of_descriptors(load)
    yield from _of_the_engine(load)


def _of_the_source(load: Load) -> Iterator[str]:
    if load.client is None:
        return
    if load.function is not None:
        yield f"--client {load.client} and --function {load.function}: connections come from one of them"
    if load.lambda_scaling:
        yield f"--lambda-scaling: {load.client} is no function; --rate or --ramp"
    if load.connections_per_environment != PortBlocks().per_environment:
        yield f"--connections-per-environment: {load.client} is no function, and has no environments"


def _of_the_pace(load: Load) -> Iterator[str]:
    if load.rate_per_s is not None and load.ramp is not None:
        yield "--rate and --ramp: one of them; a ramp ends with a steady rate"
    lasts_s = arrives_s(load.arrivals, load.connections - 1)
    if load.ramp is not None and lasts_s == inf:
        most = int(load.ramp.from_per_s * load.ramp.seconds / 2) + 1
        yield f"--ramp {load.ramp}: comes down to 0 after {most:,} invocations; -n {most} at most, or TO above 0"
    if lasts_s > _LONGEST_S:
        yield f"-n {load.connections} at this rate takes {lasts_s:,.0f} s; {_LONGEST_S:,} s at most"


def _of_requests(load: Load) -> Iterator[str]:
    if load.reuse and load.requests_per_connection == 0:
        yield "--requests-per-connection 0: a connection that is reused carries a request each time; 1 or more"
    if load.duration_s and not load.reuse:
        yield (
            "--duration: how long an invocation keeps its environment busy matters with --reuse only; "
            "how long a connection is kept is --hold"
        )


def _of_descriptors(load: Load) -> Iterator[str]:
    if load.descriptors is None and load.connections_per_environment > ENVIRONMENT_DESCRIPTORS:
        yield (
            f"--connections-per-environment {load.connections_per_environment}: 1 to {ENVIRONMENT_DESCRIPTORS:,}, the "
            "descriptors that Lambda gives an execution environment; more, to see them run out, with --descriptors "
            f"{ENVIRONMENT_DESCRIPTORS}"
        )
    if load.descriptors is None and load.descriptors_at_start != DESCRIPTORS_AT_START:
        yield f"--descriptors-at-start {load.descriptors_at_start}: of how many? --descriptors says it"
    if load.descriptor_limit and load.descriptor_limit.connections < 1:
        yield (
            f"--descriptors {load.descriptors}: --descriptors-at-start takes {load.descriptors_at_start}, and a "
            f"connection needs one more; {load.descriptors_at_start + 1} at least"
        )


def _of_the_engine(load: Load) -> Iterator[str]:
    if load.protocol == "udp" and load.close != "fin":
        yield f"--close {load.close}: UDP has no goodbye of any kind"
    others = {
        "--protocol udp": load.protocol == "udp",
        "--reuse": load.reuse,
        "--requests-per-connection": bool(load.requests_per_connection),
        f"--close {load.close}": load.close != "fin",
        f"--resolver-schedule {load.resolver_schedule}": load.resolver_schedule != "single",
        f"--engine {load.engine}": load.engine != "packet",
    }
    if load.syn_only and any(others.values()):
        unfit = ", ".join(name for name, given in others.items() if given)
        yield f"--syn-only sends SYNs and nothing else, with the packet engine; without {unfit}"
    if load.resolver_schedule == "node" and load.connections_per_environment > NODE_LOOK_UPS:
        yield (
            f"--resolver-schedule node: Node looks up {NODE_LOOK_UPS} names at a time, in libuv's threads, and an "
            f"environment that has more connections would wait for one; --connections-per-environment {NODE_LOOK_UPS} "
            "at most"
        )
    if load.tls and (load.protocol == "udp" or load.engine != "socket"):
        unfit = "--protocol udp" if load.protocol == "udp" else f"the {load.engine} engine"
        yield f"--tls makes handshakes on TCP connections of the kernel: --engine socket --tls, not with {unfit}"
    if load.engine == "scapy" and load.connections > _SCAPY_INVOCATIONS:
        yield (
            f"-n {load.connections}: the scapy engine explains each packet, one invocation after the other; "
            f"-n {_SCAPY_INVOCATIONS} at most, or --engine packet"
        )


# ── What a report says ──────────────────────────────────────────────────────────────────────────────────────


def _pace(load: Load) -> str:
    if load.lambda_scaling:
        return "as fast as Lambda adds environments"
    if load.ramp is not None:
        ramp = load.ramp
        return f"at {ramp.from_per_s:,g} to {ramp.to_per_s:,g} a second within {ramp.seconds:g} s"
    return "at once" if load.rate_per_s is None else f"at {load.rate_per_s:,g} a second"


def _descriptors(load: Load) -> str | None:
    limit = load.descriptor_limit
    return f"{limit.limit:,} descriptors in each {limit.holder}" if limit else None


def _holding(load: Load) -> str | None:
    if load.hold_s is None:
        return None
    return f"each held for {load.hold_s:g} s" if load.over_time else f"held for {load.hold_s:g} s more"


def _retransmissions(load: Load) -> str:
    times = ", ".join(f"{time_s:g} s" for time_s in syn_retransmissions(load.syn_schedule, load.connect_timeout_s))
    return f"SYNs again after {times}" if times else "no SYN is sent again"


def _look_ups(load: Load) -> str | None:
    if load.resolver_schedule == "single" or load.syn_only:
        return None
    times_s = load.look_up.times_s
    attempts = min(load.look_up.attempts or len(times_s), len(times_s))
    again = ", ".join(f"{time_s:g} s" for time_s in times_s[: attempts - 1])
    asks = f"A and AAAA at once, as {load.resolver_schedule}"
    return f"{asks}, again after {again}" if again else asks

"""Retransmission schedules of a client, in seconds after the first packet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traffic.spec import ResolverSchedule, SynSchedule

__all__ = [
    "LINEAR_TIMEOUTS",
    "LookUp",
    "fin_retries",
    "look_up",
    "request_retries",
    "syn_count",
    "syn_retransmissions",
]

# Linux before 6.5: initial RTO 1 s (RFC 6298), doubled each time, tcp_syn_retries = 6
# (Documentation/networking/ip-sysctl.rst: "the last retransmission 63 s, final timeout 127 s").
_CLASSIC_S = (1.0, 3.0, 7.0, 15.0, 31.0, 63.0)

# Linux 6.5 and later: tcp_syn_linear_timeouts = 4 repeats the first RTO four times before the doubling
# starts, so ten retransmissions at the default tcp_syn_retries = 6 (commit ccce324dabfe "tcp: make the first
# N SYN RTO backoffs linear"; the same file: last retransmission after 67 s, final timeout 131 s).
_LINEAR_S = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 11.0, 19.0, 35.0, 67.0)

_SCHEDULES_S: dict[SynSchedule, tuple[float, ...]] = {"classic": _CLASSIC_S, "linear": _LINEAR_S}

_SYN_RETRIES = 6
"""tcp_syn_retries by default."""

LINEAR_TIMEOUTS: dict[SynSchedule, int] = {"classic": 0, "linear": 4}
"""tcp_syn_linear_timeouts for each schedule."""


def syn_retransmissions(schedule: SynSchedule, deadline_s: float) -> tuple[float, ...]:
    """When SYNs are retransmitted until the client gives up."""
    return _before(_SCHEDULES_S[schedule], deadline_s)


def syn_count(schedule: SynSchedule, deadline_s: float) -> int:
    """The TCP_SYNCNT with which the kernel repeats a SYN until its client's deadline, and not much longer.

    With n it stops at the first retransmission that would come after the time of n doublings, 2^(n+1) - 1 s
    (retransmits_timed_out() in tcp_timer.c), whatever the schedule; n is at least one and at most the default of six.
    """
    times_s = _SCHEDULES_S[schedule]
    return next((n for n in range(1, _SYN_RETRIES) if _stops_s(times_s, n) >= deadline_s), _SYN_RETRIES)


def _stops_s(times_s: tuple[float, ...], count: int) -> float:
    return next((time_s for time_s in times_s if time_s >= (2 << count) - 1), inf)


# ── Look-ups ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class LookUp:
    """How a client looks a name up."""

    times_s: tuple[float, ...]
    """When it asks again; the last of them is when it gives up."""
    patience_s: float
    """When it gives up although its resolver library would go on: its connect timeout."""
    pair: bool = False
    """Whether it asks for A and AAAA at once, from one socket, and waits for both answers."""
    keeps_half: bool = False
    """Whether it asks only the question again that has no answer yet, rather than both."""
    attempts: int | None = None
    """After so many without any answer it gives up; None: at the last of its times."""
    half_attempts: int | None = None
    """After so many, if only one question was answered, it takes the A record alone; None: never."""

    @property
    def questions(self) -> int:
        """Packets of one look-up that is answered at once."""
        return 2 if self.pair else 1


# glibc, resolv/res_send.c: both questions by one socket, `timeout` for both answers, then both again, `attempts` times
# (resolv.conf(5): RES_TIMEOUT 5, RES_DFLRETRY 2). Where one of them was answered, both are asked once more with the
# second after the first (single-request), once more from a socket each (single-request-reopen), and then the answer
# that is there is taken: three times in all. Here all three ask both at once: that many packets, from one port.
_HALF_ATTEMPTS = 3
_GLIBC: dict[ResolverSchedule, tuple[float, int]] = {
    "glibc": (5.0, 2),
    # Amazon Linux writes `options timeout:2 attempts:5` to /etc/resolv.conf (its dhclient-script; AWS's own pages show
    # it, docs.aws.amazon.com/workspaces/latest/adminguide/connect-to-domain-dns-update.html). CPython's
    # socket.getaddrinfo and libuv's, which is Node's dns.lookup, both call glibc's getaddrinfo.
    "lambda-python": (2.0, 5),
    "node": (2.0, 5),
}
# musl, src/network/res_msend.c: `retry_interval = timeout / attempts`, 5 s / 2; what has no answer is asked again, and
# without both answers there is no address (lookup_name.c, EAI_AGAIN).
_MUSL_TIMES_S = (2.5, 5.0)


def look_up(schedule: ResolverSchedule, patience_s: float) -> LookUp:
    """A client's look-up, for as long as it waits for a connection."""
    if schedule == "single":  # one question for A, again after 1, 2, 4 … seconds
        retries_s = _before(tuple(float(1 << doubling) for doubling in range(16)), patience_s)
        return LookUp((*retries_s, patience_s), patience_s)
    if schedule == "musl":
        return LookUp(_until(_MUSL_TIMES_S, patience_s), patience_s, pair=True, keeps_half=True)
    timeout_s, attempts = _GLIBC[schedule]
    ends_s = tuple(timeout_s * attempt for attempt in range(1, max(attempts, _HALF_ATTEMPTS) + 1))
    half_attempts = _HALF_ATTEMPTS if timeout_s * _HALF_ATTEMPTS <= patience_s else None
    return LookUp(_until(ends_s, patience_s), patience_s, pair=True, attempts=attempts, half_attempts=half_attempts)


# ── Requests and FINs ───────────────────────────────────────────────────────────────────────────────────────


def request_retries(deadline_s: float) -> tuple[float, ...]:
    """When an unanswered request is repeated: at Linux's least RTO of 0.2 s (TCP_RTO_MIN), doubled each time."""
    return _before(tuple(0.2 * ((2 << doubling) - 1) for doubling in range(10)), deadline_s)


def fin_retries() -> tuple[float, ...]:
    """When an unanswered FIN is repeated: soon, because a peer in a lab answers at once or never."""
    return (0.5, 1.0)


def _until(times_s: tuple[float, ...], deadline_s: float) -> tuple[float, ...]:
    return (*_before(times_s[:-1], deadline_s), min(times_s[-1], deadline_s))


def _before(times_s: tuple[float, ...], deadline_s: float) -> tuple[float, ...]:
    return tuple(takewhile(lambda time_s: time_s < deadline_s, times_s))

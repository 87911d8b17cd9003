"""Retransmission schedules of a client, in seconds after the first packet."""

from __future__ import annotations

from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traffic.spec import SynSchedule

__all__ = ["LINEAR_TIMEOUTS", "dns_retries", "fin_retries", "request_retries", "syn_count", "syn_retransmissions"]

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


def dns_retries(deadline_s: float) -> tuple[float, ...]:
    """When an unanswered DNS query is repeated: after 1, 2, 4 … seconds."""
    return _before(tuple(float(1 << doubling) for doubling in range(16)), deadline_s)


def request_retries(deadline_s: float) -> tuple[float, ...]:
    """When an unanswered request is repeated: at Linux's least RTO of 0.2 s (TCP_RTO_MIN), doubled each time."""
    return _before(tuple(0.2 * ((2 << doubling) - 1) for doubling in range(10)), deadline_s)


def fin_retries() -> tuple[float, ...]:
    """When an unanswered FIN is repeated: soon, because a peer in a lab answers at once or never."""
    return (0.5, 1.0)


def _before(times_s: tuple[float, ...], deadline_s: float) -> tuple[float, ...]:
    return tuple(takewhile(lambda time_s: time_s < deadline_s, times_s))

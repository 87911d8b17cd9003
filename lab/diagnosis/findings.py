"""From evidence to a finding: the cause of what was lost, and the limits or drops that had a part in it. Pure.

A cause is a line of `CAUSES` here and its words in `lab.diagnosis.words`, under the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis import throttled, tls
from lab.diagnosis.evidence import Evidence
from lab.nodes.diagnosis import LimitState
from lab.schema.drops import DropCount

__all__ = ["CAUSES", "Finding", "find"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Why connections were lost, or that none were."""

    cause: str
    """A key of `CAUSES`."""
    evidence: Evidence
    limits: tuple[LimitState, ...] = ()
    """The limits that were reached."""
    drops: tuple[DropCount, ...] = ()
    """What dropped packets whatever the limits."""

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that refused or dropped, each once."""
        return tuple(dict.fromkeys([limit.node for limit in self.limits] + [drop.node for drop in self.drops]))

    @property
    def clients(self) -> BurstResult:
        """The clients' account; a cause that is found by it has one."""
        if self.evidence.clients is None:
            raise ValueError(f"{self.cause}: a lab that is up has no clients' account")
        return self.evidence.clients


def find(evidence: Evidence) -> Finding:
    """The finding of the first cause in `CAUSES` whose condition holds."""
    return next(
        Finding(name, evidence, cause.limits(evidence), cause.drops(evidence))
        for name, cause in CAUSES.items()
        if cause.holds(evidence)
    )


@dataclass(frozen=True, slots=True)
class _Cause:
    holds: Callable[[Evidence], object]
    limits: Callable[[Evidence], tuple[LimitState, ...]] = lambda _: ()
    drops: Callable[[Evidence], tuple[DropCount, ...]] = lambda _: ()


def _timed_out(evidence: Evidence) -> int:
    return evidence.clients.tcp.timed_out if evidence.clients else 0


def _half_open(evidence: Evidence) -> int:
    return evidence.clients.tcp.half_open if evidence.clients else 0


def _lack_descriptors(evidence: Evidence) -> bool:
    """Whether most invocations that failed had no descriptor.

    Of a lab that is up: whether it was so in its last burst, or processes have none left and nothing else is refused.
    """
    if evidence.clients is None:
        last = evidence.lacking
        of_last_burst = last and last.emfile >= last.failed_otherwise and not evidence.refused_since
        of_processes = evidence.full_processes and not evidence.leading
        return bool(of_last_burst or of_processes) and not evidence.dropped_connections
    return 0 < evidence.clients.emfile >= _failed(evidence)


def _failed(evidence: Evidence) -> int:
    """Invocations that failed although they had a descriptor and a port."""
    clients = evidence.clients
    return clients.invocations.failed - clients.emfile - clients.tcp.without_port if clients else 0


def _without_port(evidence: Evidence) -> int:
    return evidence.clients.tcp.without_port if evidence.clients else 0


def _idle(evidence: Evidence) -> bool:
    """Whether idle timeouts cost connections, and no more were never answered."""
    lost = sum(node.reset_as_idle or node.idle_timeouts for node in evidence.idle)
    return bool(lost) and lost >= _timed_out(evidence)


def _unknown(evidence: Evidence) -> bool:
    reset = any(node.reset for node in evidence.node_endings)
    return reset and not evidence.idle and (evidence.clients is None or bool(evidence.clients.tcp.reset))


def _refused(evidence: Evidence) -> int:
    """Connections whose SYN the server answered with a RST; a limit that does so has been found before."""
    return evidence.clients.tcp.refused if evidence.clients else 0


def _reset_by_server(evidence: Evidence) -> int:
    return evidence.clients.endings.reset_by_server if evidence.clients else 0


def _turned_away(evidence: Evidence) -> bool:
    """Whether the server closed connections before it had answered all, or that had asked for nothing."""
    clients = evidence.clients
    if clients is None or not clients.endings.closed_by_server:
        return False
    return not clients.requests.sent or _failed(evidence) > clients.dns.failed


def _unanswered_requests(evidence: Evidence) -> bool:
    """Whether connections that were established, and that nobody ended, had no answer to a request."""
    clients = evidence.clients
    if clients is None or clients.tcp.reset or clients.dns.failed:
        return False
    return clients.requests.sent > clients.requests.answered


def _dns_failed(evidence: Evidence) -> int:
    return evidence.clients.dns.failed if evidence.clients else 0


def _refused_for_half_open(evidence: Evidence) -> bool:
    """Whether the limits that were reached would have refused none if half-open connections held no slots."""
    leading = evidence.leading
    return any(limit.unserved for limit in leading) and all(limit.unserved_anyway == 0 for limit in leading)


def _answered_nobody(evidence: Evidence) -> bool:
    """Whether what refused was full of half-open connections of this very burst, of which nobody was answered.

    What is wrong is then behind it: the server, or the way there. A limit there would have refused some.
    """
    clients, leading = evidence.clients, evidence.leading
    if clients is None or not _refused_for_half_open(evidence):
        return False
    own = sum(limit.fill.half_open_slots - limit.fill.half_open_earlier for limit in leading if limit.fill)
    behind = any(limit not in leading for limit in evidence.full) or any(evidence.ports_not_found.values())
    return own > 0 and not behind and clients.tcp.timed_out == clients.tcp.attempted


def _questions_dropped(evidence: Evidence, kind: str) -> tuple[DropCount, ...]:
    """What dropped questions, if most of them were dropped by this kind of limit."""
    drops = evidence.dropped_questions
    most = max(drops, key=lambda drop: drop.dropped_packets, default=None)
    return tuple(drop for drop in drops if drop.kind == kind) if most and most.kind == kind else ()


def _unanswered(evidence: Evidence) -> int:
    """Each has lost a packet at least, so that fewer lost packets are no explanation."""
    return _timed_out(evidence) + _dns_failed(evidence)


CAUSES = {
    "lost_parts": _Cause(lambda evidence: evidence.lost_parts),
    "too_many_open_files": _Cause(_lack_descriptors),
    "dropped": _Cause(
        lambda evidence: evidence.dropped_connections and (evidence.clients is None or _timed_out(evidence)),
        drops=lambda evidence: evidence.dropped_connections,
    ),
    "half_open_slots": _Cause(
        lambda evidence: _refused_for_half_open(evidence) and not _answered_nobody(evidence),
        limits=lambda evidence: evidence.families(evidence.leading),
    ),
    "ports_per_client": _Cause(
        lambda evidence: evidence.leading and all(limit.client for limit in evidence.leading),
        limits=lambda evidence: evidence.leading,
    ),
    "limit": _Cause(
        lambda evidence: evidence.leading and not _answered_nobody(evidence), limits=lambda evidence: evidence.leading
    ),
    "ephemeral_ports": _Cause(lambda evidence: evidence.full_ports or 0 < _without_port(evidence) >= _failed(evidence)),
    "questions_dropped": _Cause(
        lambda evidence: _questions_dropped(evidence, "dns_quota") and not _timed_out(evidence),
        drops=lambda evidence: _questions_dropped(evidence, "dns_quota"),
    ),
    "dns_tcp_limit": _Cause(
        lambda evidence: _questions_dropped(evidence, "dns_tcp") and not _timed_out(evidence),
        drops=lambda evidence: _questions_dropped(evidence, "dns_tcp"),
    ),
    "idle_timeout": _Cause(_idle),
    "faults": _Cause(
        lambda evidence: (
            0 < _unanswered(evidence) <= evidence.dropped_by_faults
            or (evidence.dropped_by_faults and _answered_nobody(evidence))
        )
    ),
    "silence": _Cause(_timed_out),
    "tls": _Cause(lambda evidence: tls.failed(evidence.clients)),
    "unknown_connections": _Cause(_unknown),
    "throttled": _Cause(
        lambda evidence: (
            throttled.invocations(evidence.clients)
            and not (_failed(evidence) or _refused(evidence) or _reset_by_server(evidence) or _turned_away(evidence))
        )
    ),
    "waited_out": _Cause(
        lambda evidence: evidence.full and not _reset_by_server(evidence) and not _turned_away(evidence),
        limits=lambda evidence: evidence.full,
    ),
    "half_open": _Cause(_half_open),
    "dns_failed": _Cause(lambda evidence: _dns_failed(evidence) and _dns_failed(evidence) == _failed(evidence)),
    "refused": _Cause(_refused),
    "reset_by_server": _Cause(_reset_by_server),
    "closed_by_server": _Cause(_turned_away),
    "no_answer": _Cause(_unanswered_requests),
    "failed": _Cause(_failed),
    "impaired": _Cause(lambda evidence: evidence.impairments),
    "no_limit": _Cause(lambda _: True),
}
"""Cause → its condition; the first one that holds is the finding."""

"""Sentences on a lab that is up: what holds its slots, what else drops packets, whether a limit still refuses. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.diagnosis import descriptors, ended, half_open, hosts, sharers
from lab.diagnosis.drops import cure_of, drop_words
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.diagnosis.limits import RECENT_S, LimitAccount
from lab.nodes.diagnosis import counted

__all__ = ["circumstances", "course", "duration", "of_limits"]


def of_limits(finding: Finding) -> Iterator[str]:
    """What holds the slots of limits that refused."""
    if finding.cause == "half_open_slots":
        yield from half_open.explanation(finding)
    elif finding.cause in ("limit", "ports_per_client"):
        yield from sharers.of_limits(finding.limits)
        yield from half_open.beside_a_limit(finding)


def circumstances(evidence: Evidence) -> Iterator[str]:
    """Every drop with its cure, every idle timeout, every fault."""
    for drop in evidence.drops:
        words = drop_words(drop)
        yield f"{words.headline}: {counted(drop.dropped_packets, 'packet')} dropped."
        yield words.mechanism
        yield cure_of(drop)
    yield from ended.node_endings(evidence)
    for fault in evidence.impairments:
        dropped = f"{counted(fault.dropped_packets, 'packet')} dropped"
        yield f"Impaired: {fault.node} {fault.interface}, {fault.faults}; {dropped}. To clear: lab impair --clear."
    yield from descriptors.of_lab(evidence)
    yield from hosts.of_ports(evidence)


def course(account: LimitAccount, now_s: float) -> str:
    """Whether a limit of a lab that is up still refuses: by the last refusal, and by the slots that are free now."""
    if account.last_s is None:
        return "it is full" if account.full else "it is over"
    ago, size = duration(now_s - account.last_s), account.limit.size
    if not account.full:
        free = f"{account.free:,} of {size:,} slots {'is' if account.free == 1 else 'are'} free"
        over = f"it is over for now: the last refusal was {ago} ago, and {free}"
        if now_s - account.last_s < account.limit.first.half_open_s:
            return over
        return (
            f"{over}; half-open connections that held slots then would have left them by now, so whether there were "
            "any only the burst's record tells (lab why last)"
        )
    if account.recent_packets:
        packets = counted(account.recent_packets, "packet")
        return f"it is still full: {packets} refused in the last {RECENT_S:.0f} s, the last one {ago} ago"
    return f"it is still full, and nothing has come for {ago}"


def duration(seconds: float) -> str:
    """`42 s`, `5 min 3 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S} s"
    return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S} min"


_MINUTE_S, _HOUR_S = 60, 3_600

"""Findings in words: a headline, why it looks as it does, what helps; the same sentences wherever they are told. Pure.

A limit's own words are its node kind's (`lab.nodes.KIND.diagnosis`), those of a drop are `lab.diagnosis.drops`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis import ended, half_open, tls
from lab.diagnosis.drops import cure_of, drop_words, packet_in_words
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.diagnosis.limits import RECENT_S, LimitAccount
from lab.nodes.diagnosis import REUSE, LimitState, connections, counted, limiting_kinds, words_of
from lab.nodes.registry import kind_of
from lab.schema.drops import DropCount

__all__ = [
    "NO_ROOM_HELPS",
    "WORDS",
    "circumstances",
    "course",
    "duration",
    "explanation",
    "headline",
    "of_limits_now",
    "remedies",
]


def headline(finding: Finding) -> str:
    """What was found, in a sentence."""
    return WORDS[finding.cause].headline(finding)


def explanation(finding: Finding) -> tuple[str, ...]:
    """Why it looks as it does, of a burst; a sentence or two each."""
    evidence, sentences = finding.evidence, tuple(WORDS[finding.cause].explanation(finding))
    if finding.cause != "tls" and tls.failed(evidence.clients):
        sentences += tuple(tls.summary(finding.clients))
    if evidence.impairments and finding.cause not in _TELL_OF_FAULTS:
        sentences += (f"Besides, {_by_faults(evidence)}.",)
    return sentences


def remedies(finding: Finding) -> tuple[str, ...]:
    """Sentences that say what to do against the finding."""
    return tuple(WORDS[finding.cause].remedies(finding))


def _nothing(_: Finding) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class _CauseWords:
    headline: Callable[[Finding], str]
    explanation: Callable[[Finding], Iterable[str]] = _nothing
    remedies: Callable[[Finding], Iterable[str]] = _nothing


# ── Dropped whatever the limits ─────────────────────────────────────────────────────────────────────────────


def _dropped_headline(finding: Finding) -> str:
    return drop_words(max(finding.drops, key=lambda drop: drop.dropped_packets)).headline


def _dropped_explanation(finding: Finding) -> Iterator[str]:
    refused = finding.evidence.refused_connections
    dropped = sum(drop.dropped_packets for drop in finding.drops)
    places = dict.fromkeys(drop_words(drop).where for drop in finding.drops)
    timed_out = connections(finding.clients.tcp.timed_out)
    were = "was" if dropped == 1 else "were"
    yield f"{timed_out} timed out; {dropped:,} of their packets {were} dropped {' and '.join(places)}."
    yield f"Limits refused {connections(refused)} as well." if refused else "No limit was reached."
    yield from dict.fromkeys(drop_words(drop).mechanism for drop in finding.drops)
    yield from _dns_outcome(finding)


def _dropped_remedies(finding: Finding) -> Iterable[str]:
    return dict.fromkeys(map(cure_of, finding.drops))


def _questions_explanation(finding: Finding) -> Iterator[str]:
    quota, dns = finding.drops[0], finding.clients.dns
    outcome = f"failed for {dns.failed:,}" if dns.failed else "succeeded after all for all"
    yield f"DNS {outcome} of {_invocations(dns.asked)}; {_over_quota(quota)}"
    yield drop_words(quota).mechanism
    yield from _look_ups_within(finding, quota)
    if _questions_cross_enis(finding):
        yield "All of a Hyperplane ENI's environments share its interface."


# ── A limit ─────────────────────────────────────────────────────────────────────────────────────────────────


def _limit_headline(finding: Finding) -> str:
    words = words_of(finding.limits[0].kind)
    return f"{words.title}: {words.named(finding.limits)}"


def _limit_explanation(finding: Finding) -> Iterator[str]:
    yield from _dns_outcome(finding)
    yield words_of(finding.limits[0].kind).mechanism(finding.limits)
    yield from _shown_by_cloudwatch(finding)
    yield from half_open.beside_a_limit(finding)


def _shown_by_cloudwatch(finding: Finding) -> Iterator[str]:
    kind = finding.limits[0].kind
    words = words_of(kind)
    if words.metric:
        errors = finding.evidence.without_port(kind)
        yield f"CloudWatch shows it: {words.metric} rises by {errors:,} here, one per SYN refused."
    else:
        yield words.unmetered.format(others=" and ".join(_metrics_of_others(finding.evidence)))
    yield from ended.node_endings(finding.evidence)
    yield from ended.by_server(finding.evidence)


def _metrics_of_others(evidence: Evidence) -> Iterator[str]:
    """What CloudWatch shows of the nodes that it has metrics of."""
    for kind, words in limiting_kinds().items():
        name, errors = kind_of(kind).words, evidence.without_port(kind)
        if words.metric and not evidence.of_kind(kind):
            yield f"no {name} is on the way"
        elif words.metric:
            yield f"the {name}'s {words.metric} {f'rises by {errors:,} as well' if errors else 'stays 0'}"


def _limit_remedies(finding: Finding) -> Iterable[str]:
    return words_of(finding.limits[0].kind).remedies(finding.limits, _questions_cross_enis(finding))


def _half_open_slots_explanation(finding: Finding) -> Iterator[str]:
    if finding.evidence.clients:
        yield from _dns_outcome(finding)
    yield from half_open.explanation(finding)
    yield from _shown_by_cloudwatch(finding)


def _waited_out_headline(finding: Finding) -> str:
    return f"Limit reached and waited out: {', '.join(finding.nodes)} refused SYNs, and later ones succeeded"


def _waited_out_explanation(finding: Finding) -> Iterator[str]:
    tcp, connect = finding.clients.tcp, finding.clients.latency.connect
    late = sum(tcp.established_at_syn[1:])
    waited = f", 1 % of them after {connect.p99_ms / 1000:,.1f} s or more" if connect else ""
    were = "was" if late == 1 else "were"
    yield f"{late:,} of {connections(tcp.established)} {were} established by a SYN after their first{waited}."
    yield f"No connection timed out: {_made_room(finding)} before the patience of those that waited ended."
    yield from half_open.held_before(finding.limits)
    yield from ended.endings(finding)


def _made_room(finding: Finding) -> str:
    """What became of the connections whose slots those got that waited."""
    evidence = finding.evidence
    if any(node.idle_timeouts for node in evidence.forgetful):
        return "others fell idle and were forgotten"
    if appeared := [limit for limit in evidence.limits if limit.of and limit.before is None]:
        return f"another {kind_of(appeared[0].kind).words} appeared"
    if any(limit.before and limit.before.half_open for limit in finding.limits):
        return "others were closed, or half-open ones from before this burst forgotten,"
    return "others were closed"


# ── Failures of another kind ────────────────────────────────────────────────────────────────────────────────


def _silence_explanation(finding: Finding) -> Iterator[str]:
    dns = finding.clients.dns
    yield "Their SYNs were lost on the way, or not answered in time."
    yield from half_open.left_by_silence(finding)
    if dns.failed:
        yield f"DNS failed for {_invocations(dns.failed)}, too."


def _dns_failed_headline(finding: Finding) -> str:
    dns = finding.clients.dns
    return f"DNS failed for {dns.failed:,} of {_invocations(dns.asked)}, and no limit refused their questions"


def _failed_headline(finding: Finding) -> str:
    failed, offered = finding.clients.invocations.failed, finding.clients.offered
    return f"No limit reached, and still {failed:,} of {_invocations(offered)} failed"


def _failures(finding: Finding) -> Iterator[str]:
    dns, tcp = finding.clients.dns, finding.clients.tcp
    if dns.failed:
        yield f"The resolver left {counted(dns.failed, 'question')} unanswered."
    if tcp.refused:
        yield (
            f"The server refused {connections(tcp.refused)} with a RST, as where no program listens on the port: "
            "with `embedded: false` that is yours to start."
        )
    yield from ended.endings(finding)


# ── Faults that lab impair has set ──────────────────────────────────────────────────────────────────────────


def _unanswered(finding: Finding) -> str:
    timed_out, dns = finding.clients.tcp.timed_out, finding.clients.dns
    if timed_out:
        return f"{connections(timed_out)} timed out"
    return f"DNS failed for {dns.failed:,} of {_invocations(dns.asked)}"


def _by_faults(evidence: Evidence) -> str:
    where = ", ".join(f"{fault.node} {fault.interface}, {fault.faults}" for fault in evidence.impairments)
    return f"lab impair's faults dropped {counted(evidence.dropped_by_faults, 'packet')}: {where}"


def _faults_explanation(finding: Finding) -> Iterator[str]:
    refused = finding.evidence.refused_connections
    yield f"Limits refused {connections(refused)} as well." if refused else "No limit refused them."
    yield "What a fault drops no limiter counts, so the clients' account and the kernel's may differ by that much."
    yield from half_open.left_by_silence(finding)


def _impaired_headline(finding: Finding) -> str:
    evidence = finding.evidence
    if evidence.clients:
        return f"No limit reached, and {_by_faults(evidence)}"
    nodes = ", ".join(dict.fromkeys(fault.node for fault in evidence.impairments))
    return f"No limit reached, and lab impair has set faults on the way: {nodes}"


# ── Nothing ─────────────────────────────────────────────────────────────────────────────────────────────────


def _no_limit_headline(finding: Finding) -> str:
    clients = finding.evidence.clients
    if clients is None:
        return "No limit reached: nothing was refused, no barrier dropped a packet, nothing is impaired"
    return f"No limit reached: {_together(clients, finding.evidence)}"


def _together(clients: BurstResult, evidence: Evidence) -> str:
    tcp = clients.tcp
    made = tcp.established + tcp.reset
    if made == 1:
        return "the only connection was established"
    if tcp.open == made and not evidence.unnoticed:
        return f"all {made:,} connections are established at the same time"
    most = max(sample.open for sample in clients.series)
    return f"all {made:,} connections were established" + (f", {most:,} at a time" if most else "")


def _headroom(finding: Finding) -> Iterator[str]:
    """How much of each limit is in use, or that none is on the way."""
    evidence = finding.evidence
    if evidence.clients:
        yield from ended.endings(finding)
    if not evidence.limits:
        yield "No limit is on the way: outside the VPC there is no Hyperplane ENI and no NAT gateway."
    for kind, words in limiting_kinds().items():
        limits: tuple[LimitState, ...] = evidence.of_kind(kind)
        if limits:
            held, size = sum(limit.held for limit in limits), sum(limit.size for limit in limits)
            yield f"{words.in_use}: {held:,} of {connections(size)} in use."


# ── Name servers ────────────────────────────────────────────────────────────────────────────────────────────


def _questions_cross_enis(finding: Finding) -> bool:
    return finding.clients.resolver == "vpc"


def _dns_outcome(finding: Finding) -> Iterator[str]:
    """What became of DNS, and why."""
    dns = finding.clients.dns
    if not dns.asked:
        return
    if not _questions_cross_enis(finding):
        yield (
            f"DNS succeeded for {dns.answered:,} of {_invocations(dns.asked)}, because the resolver is in the service "
            "VPC."
        )
    elif dns.failed:
        yield (
            f"DNS failed for {dns.failed:,} of {_invocations(dns.asked)}, because the name server is behind the ENI as "
            "well."
        )
    else:
        yield (
            f"DNS succeeded for all {_invocations(dns.asked)}, although the name server is behind the ENI as well; "
            "each question took a connection."
        )
    yield from map(_over_quota, finding.evidence.dropped_questions)


def _over_quota(quota: DropCount) -> str:
    were = "was" if quota.dropped_packets == 1 else "were"
    packets = counted(quota.dropped_packets, packet_in_words(quota))
    return f"{packets}, with their repetitions, {were} dropped: more than {quota.name}."


def _look_ups_within(finding: Finding, quota: DropCount) -> Iterator[str]:
    """How many look-ups a quota of packets is, where each of them takes more than one."""
    clients = finding.clients
    if clients.questions_each > 1 and quota.kind == "dns_quota":
        yield (
            f"{clients.dns.asked:,} look-ups sent {clients.questions:,} questions, for each of them asks for A and "
            f"AAAA at once: {quota.name} are half as many look-ups."
        )


def _invocations(number: int) -> str:
    return counted(number, "invocation")


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────

_QUESTIONS_DROPPED = _CauseWords(
    lambda finding: drop_words(finding.drops[0]).headline,
    _questions_explanation,
    lambda finding: (drop_words(finding.drops[0]).remedy, REUSE),
)
_SEE_FAULTS = "See which faults are set on the way: lab impair."
_TELL_OF_FAULTS = ("faults", "impaired")

WORDS = {
    "dropped": _CauseWords(_dropped_headline, _dropped_explanation, _dropped_remedies),
    "half_open_slots": _CauseWords(half_open.headline, _half_open_slots_explanation, half_open.remedies),
    "limit": _CauseWords(_limit_headline, _limit_explanation, _limit_remedies),
    "questions_dropped": _QUESTIONS_DROPPED,
    "dns_tcp_limit": _QUESTIONS_DROPPED,
    "idle_timeout": _CauseWords(ended.idle_headline, ended.idle_explanation, ended.idle_remedies),
    "faults": _CauseWords(
        lambda finding: f"{_unanswered(finding)}, for {_by_faults(finding.evidence)}",
        _faults_explanation,
        lambda _: ("To clear what lab impair has set: lab impair --clear.",),
    ),
    "silence": _CauseWords(
        lambda finding: f"{connections(finding.clients.tcp.timed_out)} timed out, and no limiter refused them",
        _silence_explanation,
        lambda _: (
            "See whether the server runs and routes lead to it: lab exec NODE -- ss -lntu; lab exec NODE -- ip route.",
            _SEE_FAULTS,
        ),
    ),
    "tls": _CauseWords(
        lambda finding: tls.headline(finding.clients),
        lambda finding: tls.explanation(finding.clients),
        lambda finding: tls.remedies(finding.clients),
    ),
    "unknown_connections": _CauseWords(ended.unknown_headline, ended.endings, ended.unknown_remedies),
    "waited_out": _CauseWords(_waited_out_headline, _waited_out_explanation, lambda _: (REUSE,)),
    "half_open": _CauseWords(
        lambda finding: (
            f"No limit reached: {counted(finding.clients.tcp.half_open, 'SYN')} answered, and left half-open"
        ),
        _headroom,
    ),
    "dns_failed": _CauseWords(
        _dns_failed_headline,
        lambda _: (
            "Whoever learned the server's address was connected: the name server is the cause, or the way to it.",
        ),
        lambda _: (
            "See whether the resolver runs, and what it answers: lab exec FUNCTION -- dig HOSTNAME.",
            _SEE_FAULTS,
        ),
    ),
    "reset_by_server": _CauseWords(ended.reset_headline, ended.endings, ended.reset_remedies),
    "closed_by_server": _CauseWords(ended.closed_headline, ended.endings, ended.closed_remedies),
    "failed": _CauseWords(
        _failed_headline,
        _failures,
        lambda _: ("See whether the resolver and the server run, and what listens there: lab exec NODE -- ss -lntu.",),
    ),
    "lost_parts": _CauseWords(
        lambda finding: f"No limit reached, and the lab has lost {', '.join(finding.evidence.lost_parts)}"
    ),
    "impaired": _CauseWords(_impaired_headline),
    "no_limit": _CauseWords(_no_limit_headline, _headroom),
}
"""Cause → its words."""


NO_ROOM_HELPS = ("half_open_slots", "idle_timeout", "unknown_connections", "reset_by_server", "closed_by_server")
"""Causes against which no change of the topology helps."""


# ── A lab that is up ────────────────────────────────────────────────────────────────────────────────────────


def of_limits_now(finding: Finding) -> Iterator[str]:
    """Sentences on the slots of the limits of a lab that is up."""
    if finding.cause == "half_open_slots":
        yield from half_open.explanation(finding)
    elif finding.cause == "limit":
        yield from half_open.beside_a_limit(finding)


def circumstances(evidence: Evidence) -> Iterator[str]:
    """Sentences on a lab that is up: every drop with its cure, every fault, what it has lost."""
    for drop in evidence.drops:
        words = drop_words(drop)
        yield f"{words.headline}: {counted(drop.dropped_packets, 'packet')} dropped."
        yield words.mechanism
        yield cure_of(drop)
    yield from ended.node_endings(evidence)
    for fault in evidence.impairments:
        dropped = f"{counted(fault.dropped_packets, 'packet')} dropped"
        yield f"Impaired: {fault.node} {fault.interface}, {fault.faults}; {dropped}. To clear: lab impair --clear."
    if evidence.lost_parts and (evidence.full or evidence.drops or evidence.impairments):
        yield f"The lab has lost {', '.join(evidence.lost_parts)}."


def course(account: LimitAccount, now_s: float) -> str:
    """Whether a limit of a lab that is up still refuses: by the last refusal, and by the slots that are free now."""
    if account.last_s is None:
        return "it is full" if account.full else "it is over"
    ago, size = duration(now_s - account.last_s), account.limit.size
    if not account.full:
        free = f"{account.free:,} of {size:,} slots {'is' if account.free == 1 else 'are'} free"
        return f"it is over for now: the last refusal was {ago} ago, and {free}"
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

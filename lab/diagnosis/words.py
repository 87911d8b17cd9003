"""Findings in words: a headline, why it looks as it does, what helps; the same sentences wherever they are told. Pure.

A limit's own words are its node kind's (`lab.nodes.KIND.diagnosis`), those of a drop are `lab.diagnosis.drops`'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis import descriptors, ended, half_open, hosts, name_servers, sharers, throttled, tls
from lab.diagnosis.drops import cure_of, drop_words
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.kernel.invoker import runnable
from lab.nodes.diagnosis import REUSE, SEE_FAULTS, LimitState, connections, counted, limiting_kinds, words_for
from lab.nodes.registry import kind_of

__all__ = ["NO_ROOM_HELPS", "WORDS", "explanation", "headline", "of_full_limits", "remedies"]


def headline(finding: Finding) -> str:
    """What was found, in a sentence."""
    return WORDS[finding.cause].headline(finding)


def explanation(finding: Finding) -> tuple[str, ...]:
    """Why it looks as it does, of a burst; a sentence or two each."""
    evidence, sentences = finding.evidence, tuple(WORDS[finding.cause].explanation(finding))
    if finding.cause != "tls" and tls.failed(evidence.clients):
        sentences += tuple(tls.summary(finding.clients))
    if evidence.clients and finding.cause != "throttled":
        sentences += tuple(throttled.besides(finding.clients))
    if finding.cause != _NO_DESCRIPTORS and evidence.clients and evidence.clients.emfile:
        sentences += (descriptors.beside(evidence.clients),)
    if finding.cause != _NO_PORTS and evidence.clients and evidence.clients.tcp.without_port:
        sentences += (hosts.beside(evidence.clients),)
    if evidence.impairments and finding.cause not in _TELL_OF_FAULTS:
        sentences += (f"Besides, {_by_faults(evidence)}.",)
    return (*sentences, *hosts.no_eni(evidence.clients))


def remedies(finding: Finding) -> tuple[str, ...]:
    """Sentences that say what to do against the finding."""
    sentences, clients = tuple(WORDS[finding.cause].remedies(finding)), finding.evidence.clients
    if hosts.host_of(clients):
        sentences = tuple(hosts.remedies_of_host(sentences))
    if finding.cause != _NO_DESCRIPTORS and clients and clients.emfile:
        return (*sentences, descriptors.remedy_beside(clients))
    return sentences


def _nothing(_: Finding) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class _CauseWords:
    headline: Callable[[Finding], str]
    explanation: Callable[[Finding], Iterable[str]] = _nothing
    remedies: Callable[[Finding], Iterable[str]] = _nothing
    room_helps: bool = True
    """Whether changes of the topology may help against it."""


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
    yield from name_servers.outcome(finding)


def _dropped_remedies(finding: Finding) -> Iterable[str]:
    return dict.fromkeys(map(cure_of, finding.drops))


# ── A limit ─────────────────────────────────────────────────────────────────────────────────────────────────


def _limit_headline(finding: Finding) -> str:
    words = words_for(finding.limits)
    return f"{words.title}: {words.named(finding.limits)}"


def _limit_explanation(finding: Finding) -> Iterator[str]:
    yield from name_servers.outcome(finding)
    yield from of_full_limits(finding)


def of_full_limits(finding: Finding) -> Iterator[str]:
    """What the limits that were reached do to a connection, who fills them, and which metric shows it."""
    yield words_for(finding.limits).mechanism(finding.limits)
    yield from sharers.of_limits(finding.limits)
    yield from _shown_by_cloudwatch(finding)
    yield from half_open.beside_a_limit(finding)


def _shown_by_cloudwatch(finding: Finding) -> Iterator[str]:
    kind = finding.limits[0].kind
    words = words_for(finding.limits)
    if words.metric:
        errors = finding.evidence.without_port(kind)
        yield f"CloudWatch shows it: {words.metric} rises by {errors:,} here, one per SYN refused."
    else:
        yield words.unmetered.format(others=" and ".join(_metrics_of_others(finding.evidence)))
    yield from ended.node_endings(finding.evidence)
    if not kind_of(kind).answers:
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
    return words_for(finding.limits).remedies(finding.limits, name_servers.is_behind_enis(finding))


def _half_open_slots_explanation(finding: Finding) -> Iterator[str]:
    if finding.evidence.clients:
        yield from name_servers.outcome(finding)
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
    yield f"No connection timed out: {_made_room(finding)} before those that waited gave up."
    yield from half_open.held_before(finding.limits)
    yield from ended.endings(finding)


def _made_room(finding: Finding) -> str:
    """What became of the connections whose slots those got that waited."""
    evidence = finding.evidence
    if any(node.idle_timeouts for node in evidence.node_endings):
        return "others fell idle and were forgotten"
    if appeared := [limit for limit in evidence.limits if limit.of and limit.before is None]:
        return f"another {kind_of(appeared[0].kind).words} appeared"
    if any(limit.before and limit.before.half_open for limit in finding.limits):
        return "others were closed, or half-open ones from before this burst forgotten,"
    return "others were closed"


# ── Failures of another kind ────────────────────────────────────────────────────────────────────────────────


def _silence_headline(finding: Finding) -> str:
    timed_out = f"{connections(finding.clients.tcp.timed_out)} timed out"
    if not finding.evidence.leading:
        return f"{timed_out}, and no limiter refused them"
    return f"{timed_out}: the server answered none of them, and those that wait for it hold all slots"


def _silence_explanation(finding: Finding) -> Iterator[str]:
    dns = finding.clients.dns
    yield "Their SYNs were lost on the way, or not answered in time."
    yield from half_open.left_by_silence(finding)
    if dns.failed:
        yield f"DNS failed for {counted(dns.failed, 'invocation')}, too."


def _dns_failed_headline(finding: Finding) -> str:
    dns = finding.clients.dns
    return f"DNS failed for {dns.failed:,} of {counted(dns.asked, 'invocation')}, and no limit refused their questions"


def _failed_headline(finding: Finding) -> str:
    clients, offered = finding.clients, finding.clients.offered
    failed = clients.invocations.failed - clients.emfile - clients.tcp.without_port
    return f"No limit reached, and still {failed:,} of {counted(offered, 'invocation')} failed"


def _refused_headline(finding: Finding) -> str:
    tcp = finding.clients.tcp
    return f"No limit reached: the server refused {tcp.refused:,} of {connections(tcp.attempted)}"


def _refused_explanation(finding: Finding) -> Iterator[str]:
    yield (
        "Each SYN was answered with a RST, as where no program listens on the port: with `embedded: false` that is "
        "yours to start. Limits drop SYNs, and answer none."
    )
    yield from _failures(finding)


def _no_answer_headline(finding: Finding) -> str:
    requests = finding.clients.requests
    return (
        f"No limit reached: {requests.sent - requests.answered:,} of {counted(requests.sent, 'request')} had no answer"
    )


def _no_answer_explanation(finding: Finding) -> Iterator[str]:
    yield "Their connections were established: limits drop SYNs, and have no part in this."
    yield f"The server ended none of them: {connections(finding.clients.tcp.open)} were open to the end."


def _lost_explanation(finding: Finding) -> Iterator[str]:
    """Limits are not named: a server that is silent fills them with half-open connections."""
    clients = finding.clients
    if failed := clients.invocations.failed:
        yield f"{failed:,} of {counted(clients.offered, 'invocation')} failed, and may have failed for want of it."
    yield "What is missing shapes every number of this burst, so none of them tells of a limit."


def _failures(finding: Finding) -> Iterator[str]:
    if questions := finding.clients.dns.failed:
        yield f"The resolver left {counted(questions, 'question')} unanswered."
    yield from ended.endings(finding)


# ── Faults that lab impair has set ──────────────────────────────────────────────────────────────────────────


def _unanswered(finding: Finding) -> str:
    timed_out, dns = finding.clients.tcp.timed_out, finding.clients.dns
    if timed_out:
        return f"{connections(timed_out)} timed out"
    return f"DNS failed for {dns.failed:,} of {counted(dns.asked, 'invocation')}"


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
    yield from hosts.in_use(evidence.clients)
    if not evidence.limits and not hosts.host_of(evidence.clients):
        yield "No limit is on the way: outside the VPC there is no Hyperplane ENI and no NAT gateway."
    for kind, words in limiting_kinds().items():
        limits: tuple[LimitState, ...] = evidence.of_kind(kind)
        if limits:
            held, size = sum(limit.held for limit in limits), sum(limit.size for limit in limits)
            yield f"{words.in_use}: {held:,} of {connections(size)} in use."


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────

_QUESTIONS_DROPPED = _CauseWords(
    lambda finding: drop_words(finding.drops[0]).headline,
    name_servers.explanation,
    lambda finding: (drop_words(finding.drops[0]).remedy, REUSE),
)
_LIMIT = _CauseWords(_limit_headline, _limit_explanation, _limit_remedies)
_TELL_OF_FAULTS = ("faults", "impaired")
_NO_DESCRIPTORS, _NO_PORTS = "too_many_open_files", "ephemeral_ports"

WORDS = {
    "lost_parts": _CauseWords(
        lambda finding: f"The lab has lost {', '.join(finding.evidence.lost_parts)}",
        _lost_explanation,
        lambda _: (
            f"Mend the lab: {runnable('lab up --repair --name LAB FILE')}; or take it down and up. Repeat the burst.",
        ),
        room_helps=False,
    ),
    _NO_DESCRIPTORS: _CauseWords(descriptors.headline, descriptors.explanation, descriptors.remedies, room_helps=False),
    "dropped": _CauseWords(_dropped_headline, _dropped_explanation, _dropped_remedies),
    "half_open_slots": _CauseWords(
        half_open.headline, _half_open_slots_explanation, half_open.remedies, room_helps=False
    ),
    "ports_per_client": _LIMIT,
    "limit": _LIMIT,
    _NO_PORTS: _CauseWords(hosts.headline, hosts.explanation, hosts.remedies),
    "questions_dropped": _QUESTIONS_DROPPED,
    "dns_tcp_limit": _QUESTIONS_DROPPED,
    "idle_timeout": _CauseWords(ended.idle_headline, ended.idle_explanation, ended.idle_remedies, room_helps=False),
    "faults": _CauseWords(
        lambda finding: f"{_unanswered(finding)}, for {_by_faults(finding.evidence)}",
        _faults_explanation,
        lambda _: ("To clear what lab impair has set: lab impair --clear.",),
        room_helps=False,
    ),
    "silence": _CauseWords(
        _silence_headline,
        _silence_explanation,
        lambda _: (
            "See whether the server runs and routes lead to it: lab exec NODE -- ss -lntu; lab exec NODE -- ip route.",
            SEE_FAULTS,
        ),
        room_helps=False,
    ),
    "tls": _CauseWords(
        lambda finding: tls.headline(finding.clients),
        lambda finding: tls.explanation(finding.clients),
        lambda finding: tls.remedies(finding.clients),
        room_helps=False,
    ),
    "unknown_connections": _CauseWords(ended.unknown_headline, ended.endings, ended.unknown_remedies, room_helps=False),
    "throttled": _CauseWords(
        lambda finding: throttled.headline(finding.clients),
        lambda finding: throttled.explanation(finding.clients),
        lambda finding: throttled.remedies(finding.clients),
        room_helps=False,
    ),
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
            "Every client that got the server's address was connected: the cause is the name server, or the way to it.",
        ),
        lambda _: (
            "See whether the resolver runs, and what it answers: lab exec FUNCTION -- dig HOSTNAME.",
            SEE_FAULTS,
        ),
        room_helps=False,
    ),
    "refused": _CauseWords(
        _refused_headline,
        _refused_explanation,
        lambda _: ("See whether the server's program runs, and where it listens: lab exec NODE -- ss -lnt.",),
        room_helps=False,
    ),
    "reset_by_server": _CauseWords(ended.reset_headline, ended.endings, ended.reset_remedies, room_helps=False),
    "closed_by_server": _CauseWords(ended.closed_headline, ended.endings, ended.closed_remedies, room_helps=False),
    "no_answer": _CauseWords(
        _no_answer_headline,
        _no_answer_explanation,
        lambda _: ("See whether the server's program hangs; Recv-Q is what it has not read: lab exec NODE -- ss -tn.",),
        room_helps=False,
    ),
    "failed": _CauseWords(
        _failed_headline,
        _failures,
        lambda _: ("See whether the resolver and the server run, and what listens there: lab exec NODE -- ss -lntu.",),
        room_helps=False,
    ),
    "impaired": _CauseWords(_impaired_headline),
    "no_limit": _CauseWords(_no_limit_headline, _headroom),
}
"""Cause → its words."""


NO_ROOM_HELPS = frozenset(cause for cause, words in WORDS.items() if not words.room_helps)
"""Causes against which no change of the topology helps."""

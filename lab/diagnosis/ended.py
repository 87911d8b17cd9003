"""Connections that were established, and ended by a server or a NAT node, in words. Pure.

Who sent the RST follows from the NAT nodes' counters (`lab.burst.endings`); idle were those that had been established
and are neither closed nor tracked any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from lab.burst.endings import NodeEndings
from lab.diagnosis.evidence import Evidence
from lab.diagnosis.findings import Finding
from lab.nodes.diagnosis import connections, counted, limit_words
from lab.nodes.registry import kind_of

__all__ = [
    "by_server",
    "closed_headline",
    "closed_remedies",
    "endings",
    "idle_explanation",
    "idle_headline",
    "idle_remedies",
    "node_endings",
    "reset_headline",
    "reset_remedies",
    "unknown_headline",
    "unknown_remedies",
]


# ── The idle timeout of a NAT node ──────────────────────────────────────────────────────────────────────────


def idle_headline(finding: Finding) -> str:
    """Whose idle timeout ended connections, and what the node did with their next packets."""
    idle = finding.evidence.idle
    reset = sum(node.reset_as_idle for node in idle)
    names = " and ".join(node.node for node in idle)
    if not reset:
        lost = sum(node.idle_timeouts for node in idle)
        return f"Idle time-out of {names}: {connections(lost)} forgotten while waiting for an answer, which was dropped"
    return f"Idle time-out of {names}: {connections(reset)} forgotten, and reset when {_client(reset)} went on"


def idle_explanation(finding: Finding) -> Iterator[str]:
    """What the nodes do, how often, when first, and what CloudWatch shows of it."""
    yield from endings(finding)
    if not finding.evidence.full:
        yield "No limit was reached."


def node_endings(evidence: Evidence) -> Iterator[str]:
    """What NAT nodes did with packets without an entry, how often, when first, and what CloudWatch shows."""
    for node in evidence.idle:
        yield _mechanism(node)
        yield f"{node.node}: {connections(node.idle_timeouts)} fell idle{_reset(node)}{_first(evidence, node)}."
        yield _metric(node)
    for node in evidence.unnoticed:
        gone = connections(node.unnoticed)
        them = "it" if node.unnoticed == 1 else "them"
        yield (
            f"{node.node} forgot {gone} that had no packet for {node.idle_timeout_s:,} s: the slots are free, and "
            f"nobody has used {them} since."
        )
    for node in evidence.node_endings:
        if others := node.reset - node.reset_as_idle:
            it = "it was" if others == 1 else "they were"
            yield (
                f"{node.node} reset {connections(others)} that it did not know, and not because {it} idle: opened "
                f"through another node, ended before, or removed by lab reset{_first(evidence, node)}."
            )


def _mechanism(node: NodeEndings) -> str:
    after = (
        f"{node.node} removes a connection that has had no packet for {node.idle_timeout_s:,} s, without FIN or RST;"
    )
    if node.reset:
        return f"{after} the client's next packet is answered with an RST by {node.node}, not by the server."
    return f"{after} the server's answer is then dropped there, and the client waits until its own time-out."


def _reset(node: NodeEndings) -> str:
    if not node.reset_as_idle:
        return f", and {counted(node.dropped_packets, 'late packet')} dropped"
    used = "it was used again" if node.reset_as_idle == 1 else "they were used again"
    were = "was" if node.reset_as_idle == 1 else "were"
    of_them = " and" if node.reset_as_idle == node.idle_timeouts else f"; {node.reset_as_idle:,} of them"
    return f"{of_them} {were} reset when {used}"


def _first(evidence: Evidence, node: NodeEndings) -> str:
    if node.first_reset_s is None:
        return ""
    if evidence.clients:
        return f", the first one {max(0.0, node.first_reset_s):.1f} s after the burst began"
    return f", the first one at {datetime.fromtimestamp(node.first_reset_s).astimezone():%H:%M:%S}"


def _metric(node: NodeEndings) -> str:
    words = limit_words(node.kind)
    if words and words.idle_metric:
        return (
            f"CloudWatch shows it: {words.idle_metric} of {node.node} rises by {node.idle_timeouts:,}, "
            "one for each connection that fell idle."
        )
    return f"No CloudWatch metric shows it: {kind_of(node.kind).one} has none of idle connections."


def idle_remedies(finding: Finding) -> Iterator[str]:
    """What helps against idle timeouts, and what does not."""
    shortest_s = min(node.idle_timeout_s for node in finding.evidence.idle)
    yield (
        f"Use a connection, or send TCP keep-alives (TCP_KEEPIDLE; Linux waits 7,200 s), more often than every "
        f"{shortest_s:,} s. A frozen execution environment sends none: between invocations only what follows helps."
    )
    yield f"Have the client close connections that have been idle for almost {shortest_s:,} s."
    yield "Where a request may be repeated, repeat it once on a fresh connection."
    yield "What does not help: reuse of connections, which is what leaves them idle; more Elastic IPs; more subnets."


def unknown_headline(finding: Finding) -> str:
    """Which node reset connections that it did not know, none of which had fallen idle."""
    nodes = [node for node in finding.evidence.node_endings if node.reset]
    reset, names = sum(node.reset for node in nodes), " and ".join(node.node for node in nodes)
    return _headline(finding, f"{names} reset {connections(reset)} that it did not know, none of them idle")


def unknown_remedies(_: Finding) -> Iterable[str]:
    """What to look at where a node has lost entries."""
    yield "See whether a route leads elsewhere than when the connections were opened, or lab reset has removed them."


# ── A server ────────────────────────────────────────────────────────────────────────────────────────────────


def reset_headline(finding: Finding) -> str:
    """How many connections the server reset."""
    return _headline(finding, f"the server reset {connections(finding.clients.endings.reset_by_server)}")


def reset_remedies(_: Finding) -> Iterable[str]:
    """What to look at where a server sends RSTs."""
    yield (
        "See the server's log, and its own limits and time-outs: a RST is how a program ends a connection that it "
        "gives up, or closes with a request unread, and how its kernel answers once the program is gone."
    )


def closed_headline(finding: Finding) -> str:
    """How many connections the server closed, of how many."""
    tcp = finding.clients.tcp
    made = connections(tcp.established + tcp.reset)
    return _headline(finding, f"the server closed {finding.clients.endings.closed_by_server:,} of {made}")


def closed_remedies(_: Finding) -> Iterable[str]:
    """What to look at where a server turns clients away, or ends idle connections."""
    yield "See how many connections the server admits, and after which idle time it closes them."
    yield (
        "A client's idle time below the server's keeps a request from meeting its FIN; where a request may be "
        "repeated, repeat it once on a fresh connection."
    )


# ── All of them ─────────────────────────────────────────────────────────────────────────────────────────────


def _headline(finding: Finding, what: str) -> str:
    if full := finding.evidence.full:
        limits = "A limit was" if len(full) == 1 else "Limits were"
        return f"{limits} reached and waited out, and {what}"
    return f"No limit reached: {what}"


def by_server(evidence: Evidence) -> Iterator[str]:
    """How many connections of a burst the server ended, and how."""
    if evidence.clients is None:
        return
    ended = evidence.clients.endings
    seen = "" if ended.account == "kernel" else ", as its clients saw it: no NAT node is on the way"
    if ended.reset_by_server:
        yield f"The server ended {connections(ended.reset_by_server)} with a RST{seen}."
    if closed := ended.closed_by_server:
        yield f"The server closed {connections(closed)} with a FIN before {_client(closed)} did{seen}."


def endings(finding: Finding) -> Iterator[str]:
    """Who ended connections, where it was not their client."""
    yield from node_endings(finding.evidence)
    yield from by_server(finding.evidence)
    clients = finding.clients
    ended, unanswered = clients.endings, clients.requests.sent - clients.requests.answered
    if not ended.reset_by_server:
        if any(node.reset for node in ended.nodes):
            yield "The server sent no RST."
        elif reset := clients.tcp.reset:  # of a record from before endings were counted
            yield f"{connections(reset)} {'was' if reset == 1 else 'were'} reset; by whom is not on record."
    if unanswered:
        yield f"{unanswered:,} of {clients.requests.sent:,} requests had no answer."


def _client(number: int) -> str:
    return "its client" if number == 1 else "their clients"

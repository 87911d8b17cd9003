"""Where a connection ended, or that it lives: one sentence out of what each node has of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from lab.impair.faults import Impairment
from lab.nodes.diagnosis import connections
from lab.nodes.registry import kind_of
from lab.observe.limits import Limit, limits_of
from lab.paths.leg import DeadEnd
from lab.paths.path import Path
from lab.plan.objects import Plan
from lab.schema.firewall import Transport
from lab.slots.limiter import OTHER_DESTINATIONS, WhenFull
from lab.slots.ruleset import REFUSED_TIMEOUT_S
from lab.trace.values import Hop, Outcome
from lab.trace.view import Surroundings

__all__ = ["Conclusion", "KnownConnection", "conclude"]

Conclusion = tuple[Outcome, str | None, str]
"""The outcome, the node that ended it, and the sentence."""

_ALIVE = ("ESTABLISHED", "answered")
_HALF_OPEN = ("SYN_RECV", "SYN_SENT", "SYN_SENT2")


@dataclass(frozen=True, slots=True)
class KnownConnection:
    """What is known of one connection: its path as the topology has it, and what the kernel holds of it at each hop."""

    plan: Plan
    around: Surroundings
    protocol: Transport
    gateway: str
    server: str | None
    address: str
    """To which it goes."""
    path: Path | None
    """None to a destination that the topology does not name."""
    hops: tuple[Hop, ...]

    @property
    def tracking(self) -> tuple[Hop, ...]:
        """The hops whose nodes track connections, in the order of the path."""
        names = {node.node for node in self.plan.nat_nodes}
        return tuple(hop for hop in self.hops if hop.node in names)

    @property
    def dead_end(self) -> DeadEnd | None:
        """Where the topology ends it, whatever the limits."""
        return self.path.dead_end if self.path else None


def conclude(connection: KnownConnection) -> Conclusion:
    """The conclusion of the first case that holds."""
    return next(conclusion for case in _CASES if (conclusion := case(connection)) is not None)


def _refused(connection: KnownConnection) -> Conclusion | None:
    hop = next((hop for hop in connection.tracking if hop.refused_ago_s is not None), None)
    if hop is None:
        return None
    limit = _limit(connection, hop.node)
    held = (
        f"its {connections(limit.size)}{limit.to}{limit.of_eips} {'was' if limit.size == 1 else 'were'} taken"
        if limit
        else "it had no slot left"
    )
    sentence = (
        f"It died at {hop.node}, {kind_of(hop.kind).one}, which refused it {hop.refused_ago_s:.0f} s ago, when {held}; "
        f"{_ANSWERS[limit.first.when_full if limit else 'ignore']}."
    )
    return "refused", hop.node, sentence


_ANSWERS: Mapping[WhenFull, str] = {
    "ignore": "it was dropped without an answer",
    "reset": "its SYN was answered with a RST",
    "close": "it was accepted and closed at once",
}


def _limit(connection: KnownConnection, node: str) -> Limit | None:
    """The limit that a connection to this server meets at a node; one of a client's own is that of its ENI."""
    here = {
        limit.first.destination: limit
        for limit in limits_of(connection.plan.limiters)
        if limit.first.node == node
        and (limit.first.client or connection.gateway).partition("/")[0] == connection.gateway
        and limit.first.protocol in ("any", connection.protocol)
        and limit.first.address in (None, connection.address)
    }
    return here.get(connection.server) or here.get(None) or here.get(OTHER_DESTINATIONS)


def _stopped(connection: KnownConnection) -> Conclusion | None:
    """Dropped by a missing route or a firewall, as the drop's counter proves."""
    dead_end = connection.dead_end
    if dead_end is None:
        return None
    packets = sum(packets for drop, packets in connection.around.dropped.items() if drop.point == dead_end.point)
    if not packets or _has_passed(connection, dead_end):
        return None
    what = "answers" if dead_end.answers else "packets"
    known = any(hop.entry or hop.socket for hop in connection.hops)
    it = "It died" if known else "Nothing is known of it; if it was tried, it died"
    sentence = f"{it} at {dead_end.node}: {dead_end.sentence}, and {packets:,} {what} have been dropped there in all."
    return "stopped", dead_end.node, sentence


def _has_passed(connection: KnownConnection, dead_end: DeadEnd) -> bool:
    """Whether the drop does not explain it: its entries lie beyond the drop, or it never came to the ENI."""
    tracking = connection.tracking
    if dead_end.node == connection.gateway:
        return any(hop.entry for hop in tracking)
    if not tracking or tracking[0].entry is None:  # it never came to the first node that tracks connections
        return True
    if dead_end.far_side:  # every node on the way there has an entry, and none an answer
        return any(hop.entry is None or hop.entry.answered for hop in tracking)
    answered = tracking[0].entry.answered
    return answered if dead_end.answers else answered or any(hop.entry for hop in tracking[1:])


def _unseen(connection: KnownConnection) -> Conclusion | None:
    if any(hop.entry for hop in connection.tracking):
        return None
    if not connection.tracking:
        socket = next((hop.socket for hop in connection.hops if hop.socket), None)
        live = f"its socket is {socket}" if socket else "no socket has it now"
        outcome: Outcome = "established" if socket == "ESTABLISHED" else "never_seen"
        return outcome, None, f"Nothing tracks it: no ENI and no NAT gateway is on its way; {live}."
    if any(hop.socket == "ESTABLISHED" for hop in connection.hops[:1]):
        sentence = (
            f"{_names(connection.tracking)} forgot it: its socket is still open, so it was idle for longer than "
            f"{_idle(connection, connection.tracking[0].node)}; its next packet is answered with a RST."
        )
        return "forgotten", connection.tracking[0].node, sentence
    dead_end = connection.dead_end
    but = f" It would not get through: {dead_end.sentence}." if dead_end else ""
    sentence = (
        f"{_names(connection.tracking)} {'has' if len(connection.tracking) == 1 else 'have'} nothing of it: "
        "it was never tried, or is closed or forgotten by now "
        f"(a refusal after {REFUSED_TIMEOUT_S} s, an idle connection after "
        f"{_idle(connection, connection.tracking[0].node)}).{but}"
    )
    return "never_seen", None, sentence


def _lost_between(connection: KnownConnection) -> Conclusion | None:
    """One node has it and another has not."""
    without = [hop for hop in connection.tracking if hop.entry is None]
    having = [hop for hop in connection.tracking if hop.entry is not None]
    if not without or not having:
        return None
    entry, hop = having[0].entry, without[0]
    if entry is not None and entry.state not in (*_ALIVE, *_HALF_OPEN, "unanswered"):
        sentence = (
            f"It was closed: {hop.node} has let go of it, {_names(having)} keeps it for {entry.timeout_s} s more."
        )
        return "closing", None, sentence
    if entry is not None and entry.state not in ("SYN_SENT", "unanswered"):
        sentence = (
            f"{hop.node} has forgotten it, and {_names(having)} has not: it was idle for longer than "
            f"{_idle(connection, hop.node)} there; its next packet is answered with a RST."
        )
        return "forgotten", hop.node, sentence
    if faults := list(_faults(connection)):
        return "silent", faults[0].node, f"It left {having[-1].node} and did not reach {hop.node}: {_told(faults)}."
    doubt = (
        connection.path.doubt.sentence if connection.path and connection.path.doubt else "nothing on the way says why"
    )
    return "silent", None, f"It left {having[-1].node}, and {hop.node} has nothing of it: {doubt}."


def _unanswered(connection: KnownConnection) -> Conclusion | None:
    """All nodes have it, and no answer came back to the first."""
    first = next((hop.entry for hop in connection.tracking), None)
    if first is None or first.answered:
        return None
    last = connection.tracking[-1]
    if last.entry is not None and last.entry.answered:
        where = f"The server answered {last.node}, and the answer did not reach {connection.gateway}"
    else:
        where = f"It left {last.node}, and no answer has come back"
    faults = list(_faults(connection))
    why = _told(faults) if faults else "nothing on the way says why; see whether the server listens: ss -lnt"
    return "silent", faults[0].node if faults else None, f"{where}: {why}."


def _faults(connection: KnownConnection) -> Iterator[Impairment]:
    """Faults that `lab impair` has set on the nodes of its path, those that lose packets first."""
    on_the_way = {"svc", "inet", *(hop.node for hop in connection.hops)}
    here = [fault for fault in connection.around.impairments if fault.node in on_the_way]
    return iter(sorted(here, key=lambda fault: (not fault.faults.silence, not fault.faults.loss_percent)))


def _told(faults: list[Impairment]) -> str:
    return "; ".join(f"{fault.node} {fault.interface} is set to {fault.faults} (lab impair)" for fault in faults)


def _alive(connection: KnownConnection) -> Conclusion:
    """All nodes have it, and it was answered."""
    states = [hop.entry.state for hop in connection.tracking if hop.entry]
    ends = _ends(connection)
    if all(state in _ALIVE for state in states):
        return "established", None, f"It is established{ends}."
    if any(state in _HALF_OPEN for state in states):
        return "half_open", None, f"It is half-open: answered, and its handshake is not complete{ends}."
    left_s = max(hop.entry.timeout_s for hop in connection.tracking if hop.entry)
    return "closing", None, f"It is being closed ({', '.join(states)}) and keeps its slots for {left_s} s at most."


def _ends(connection: KnownConnection) -> str:
    """`, and the server sees it as 198.51.100.1:2785`."""
    seen = next((hop.leaves_as for hop in reversed(connection.tracking) if hop.leaves_as), None)
    return f"; {connection.server or 'the server'} sees it as {seen}" if seen else ""


def _names(hops: tuple[Hop, ...] | list[Hop]) -> str:
    return " and ".join(hop.node for hop in hops)


def _idle(connection: KnownConnection, node: str) -> str:
    timeout_s = next(known.idle_timeout_s for known in connection.plan.nat_nodes if known.node == node)
    return f"{timeout_s} s"


_CASES: tuple[Callable[[KnownConnection], Conclusion | None], ...] = (
    _refused,
    _stopped,
    _unseen,
    _lost_between,
    _unanswered,
    _alive,
)

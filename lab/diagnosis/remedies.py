"""What raises the threshold, and what people do that does not: each change judged by prediction, none by rule. Pure.

A remedy is a changed topology, which the loader's own checks must pass; its threshold is that of a burst without end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import get_args

from lab.capacity.predict import choose
from lab.diagnosis.changes import proposals
from lab.diagnosis.thresholds import shared_threshold, threshold
from lab.nodes.diagnosis import connections
from lab.nodes.proposals import Case, Effect, Proposal, Question, Size, Threshold
from lab.nodes.registry import kind_of
from lab.topology import Topology
from lab.topology.checks import check
from lab.topology.draft import draft
from traffic.spec import Protocol

__all__ = ["Remedy", "remedies"]

_EFFECTS: tuple[Effect, ...] = get_args(Effect)


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, and how many connections are held when the first is lost, before and after it."""

    what: str
    """The change as a noun: `a second Elastic IP for natgw`."""
    change: str
    """The change in the topology's words."""
    threshold_before: int | None
    threshold_after: int | None
    """None: no limit is left, or it is not known, or it cannot be done; the effect tells which."""
    binds_after: str | None
    """The kind of the limiter that refuses first then."""
    effect: Effect
    note: str = ""
    """Why there is no number, before or after, or no effect."""
    condition: str = ""
    """What it takes that no topology tells."""
    sharers: tuple[str, ...] = ()
    """Functions that share its ENIs, and open as many connections each to the same server, before and after."""
    sharers_hold: int | None = None
    """Connections that those hold, all together, when it holds `threshold_after`; None without sharers or number."""
    topology: Topology | None = None
    """The changed topology; None where the change cannot be made in one."""

    @property
    def meanwhile(self) -> str:
        """What the sharers hold then; nothing without sharers or number."""
        if self.sharers_hold is None:
            return ""
        names, several = " and ".join(self.sharers), len(self.sharers) > 1
        each = " each" if several else ""
        if self.sharers_hold == len(self.sharers) * (self.threshold_after or 0):
            return f"while {names} {'hold' if several else 'holds'} as many connections{each}"
        opened = f"while {names} {'open' if several else 'opens'} as many connections{each}"
        return f"{opened}, of which {self.sharers_hold:,} {'is' if self.sharers_hold == 1 else 'are'} established"

    @property
    def sentence(self) -> str:
        """One sentence: the remedy and its effect."""
        return _SENTENCES[self.effect](self)


def remedies(
    topology: Topology, source: str | None = None, server: str | None = None, protocol: Protocol = "tcp"
) -> tuple[Remedy, ...]:
    """What can be done for a function's connections to a server.

    What raises the threshold comes first, the smallest change before others; then what does something else, or nothing.
    None is the first source, and the first server. UsageError for names that the topology has not.
    """
    question = Question(
        choose((known.name for known in topology.sources), source, "function"),
        choose((known.name for known in topology.servers), server, "server"),
        protocol,
    )
    before = threshold(topology, question)
    if before.unlimited:
        return ()
    case = Case(topology, question, before)
    judged = [(_judged(topology, question, before, proposal), proposal.size) for proposal in proposals(case)]
    return tuple(sorted(_without_useless_pairs(judged), key=lambda remedy: _EFFECTS.index(remedy.effect)))


# ── What becomes of the threshold ───────────────────────────────────────────────────────────────────────────


def _judged(topology: Topology, question: Question, alone: Threshold, proposal: Proposal) -> Remedy:
    before = _threshold(topology, question, proposal.sharers) if proposal.sharers else alone
    note = proposal.note or (_fault(proposal.topology) if proposal.topology else "")
    remedy = Remedy(
        what=proposal.what,
        change=proposal.change,
        threshold_before=before.held,
        threshold_after=None,
        binds_after=None,
        effect="impossible",
        note=note,
        condition=proposal.condition,
        sharers=proposal.sharers,
        topology=proposal.topology,
    )
    if proposal.effect is not None:
        return replace(remedy, effect=proposal.effect)
    if proposal.topology is None or _fault(proposal.topology):
        return replace(remedy, topology=None)
    after = _threshold(proposal.topology, question, proposal.sharers)
    if after.unlimited and proposal.lets_in is not None:
        return replace(remedy, effect="throttles", threshold_after=proposal.lets_in)
    if after.unlimited:
        return replace(remedy, effect="unlimited")
    remedy = replace(
        remedy,
        threshold_after=after.held,
        binds_after=after.kind,
        sharers_hold=after.sharers_hold if proposal.sharers and after.held is not None else None,
    )
    if before.held is None or after.held is None:
        return replace(remedy, effect="unknown", note=after.unknown or before.unknown or "")
    effect: Effect = "raises" if after.held > before.held else "nothing"
    return replace(remedy, effect=effect, note=note or (after.dead_end or "" if effect == "nothing" else ""))


def _threshold(topology: Topology, question: Question, sharers: tuple[str, ...]) -> Threshold:
    return shared_threshold(topology, question, sharers) if sharers else threshold(topology, question)


def _fault(topology: Topology) -> str:
    """What the loader would say of a file with this topology; nothing if it is in order."""
    document = topology.model_dump(mode="json", by_alias=True, exclude_none=True)
    return next((fault.text for fault in check(draft(document))), "")


def _without_useless_pairs(judged: list[tuple[Remedy, Size]]) -> Iterator[Remedy]:
    """Without pairs of changes whose threshold is no higher than that of one change alone."""
    alone = (remedy.threshold_after or 0 for remedy, size in judged if size != Size.TWO_CHANGES)
    furthest = max(alone, default=0)
    for remedy, size in judged:
        further = remedy.effect == "raises" and (remedy.threshold_after or 0) > furthest
        if size != Size.TWO_CHANGES or further:
            yield remedy


# ── Sentences ───────────────────────────────────────────────────────────────────────────────────────────────


def _raises(remedy: Remedy) -> str:
    numbers = f"{connections(remedy.threshold_after or 0)} instead of {remedy.threshold_before:,}"
    return f"{_conditional(remedy)}: {_meanwhile(numbers, remedy)}; then {_binds(remedy)}."


def _nothing(remedy: Remedy) -> str:
    reason = remedy.note or _binds(remedy)
    if (remedy.threshold_after or 0) < (remedy.threshold_before or 0):
        return f"{_opening(remedy)}: only {_meanwhile(connections(remedy.threshold_after or 0), remedy)}; {reason}."
    return f"{_opening(remedy)} changes nothing: {_meanwhile(reason, remedy)}."


def _unknown(remedy: Remedy) -> str:
    if remedy.threshold_after is None:
        return f"{_conditional(remedy)}: how far it comes is not known; {remedy.note}."
    numbers = _meanwhile(connections(remedy.threshold_after), remedy)
    return f"{_conditional(remedy)}: {numbers}; then {_binds(remedy)}."


def _meanwhile(words: str, remedy: Remedy) -> str:
    return ", ".join(filter(None, (words, remedy.meanwhile)))


def _binds(remedy: Remedy) -> str:
    if remedy.binds_after is None:
        return "connections end for another reason"
    return f"the {kind_of(remedy.binds_after).words} binds"


def _opening(remedy: Remedy) -> str:
    """The remedy as the beginning of a sentence: a word gets a capital letter, a node's name keeps its spelling."""
    return remedy.what[0].upper() + remedy.what[1:] if remedy.what.split()[0] in _FIRST_WORDS else remedy.what


def _conditional(remedy: Remedy) -> str:
    return ", ".join(filter(None, (_opening(remedy), remedy.condition)))


_FIRST_WORDS = ("a", "an", "one", "another", "reserved", "reuse", "twice")
_SENTENCES: dict[Effect, Callable[[Remedy], str]] = {
    "raises": _raises,
    "unlimited": lambda remedy: f"{_conditional(remedy)}: no limit is on the way then.",
    "throttles": lambda remedy: (
        f"{_conditional(remedy)}: {_meanwhile(connections(remedy.threshold_after or 0), remedy)}, and none is turned "
        f"away; {remedy.note}."
    ),
    "saves": lambda remedy: f"{_opening(remedy)}: {remedy.note}.",
    "unknown": _unknown,
    "nothing": _nothing,
    "impossible": lambda remedy: f"{_opening(remedy)}: not possible; {remedy.note}.",
}

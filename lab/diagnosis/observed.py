"""What was seen of a lab while something went on in it, and the judgement on that. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lab.burst.observing import Seen
from lab.diagnosis import live, words
from lab.diagnosis.evidence import of_seen
from lab.diagnosis.findings import Finding, find
from lab.diagnosis.verdict import Verdict
from lab.errors import UsageError
from lab.nodes.diagnosis import connections, words_for

__all__ = ["Observed", "explained", "judge_seen"]

_OF_A_FULL_LIMIT = ("limit", "ports_per_client")


def judge_seen(seen: Seen) -> Verdict:
    """The verdict by the kernel's account alone: what limits refused, what was reset or dropped."""
    finding = find(of_seen(seen))
    return Verdict(finding.cause, words.headline(finding), explained(finding), words.remedies(finding))


def explained(finding: Finding) -> tuple[str, ...]:
    """Why it looks as it does, where no clients' account is known."""
    if finding.cause in _OF_A_FULL_LIMIT:
        return (*words.of_full_limits(finding), *_full_as_well(finding))
    return (*live.of_limits(finding), *live.circumstances(finding.evidence))


def _full_as_well(finding: Finding) -> Iterator[str]:
    """Limits of other kinds that refused later; a connection that one refuses may hold a slot of another, half-open."""
    others = [limit for limit in finding.evidence.full if limit not in finding.limits]
    for kind in dict.fromkeys(limit.kind for limit in others):
        full = [limit for limit in others if limit.kind == kind]
        refused = sum(limit.refused_connections for limit in full)
        yield f"{words_for(full).title}, too, and later: {words_for(full).named(full)}; {connections(refused)} refused."


class Observed:
    """What was seen of a lab while a block ran; it has values when the block has ended."""

    def __init__(self) -> None:
        self._seen: Seen | None = None

    def has_ended(self, seen: Seen) -> None:
        """The block has ended."""
        self._seen = seen

    @property
    def seen(self) -> Seen:
        """What limits held and refused, and what was reset or dropped; UsageError while the block runs."""
        if self._seen is None:
            raise UsageError("what a block shows is known when it has ended: with lab.observe() as observed: …")
        return self._seen

    @property
    def verdict(self) -> Verdict:
        """The judgement on that."""
        return judge_seen(self.seen)

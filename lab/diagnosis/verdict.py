"""The judgement on a burst: what was found, why it looks as it does, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis.evidence import of_burst
from lab.diagnosis.findings import find
from lab.diagnosis.words import explanation, headline, more_room_helps, remedies

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]
    cause: str = "no_limit"
    """A key of `lab.diagnosis.findings.CAUSES`."""
    more_room_helps: bool = True
    """Whether a change of the topology that raises a limit is worth telling."""


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    finding = find(of_burst(result))
    return Verdict(headline(finding), explanation(finding), remedies(finding), finding.cause, more_room_helps(finding))

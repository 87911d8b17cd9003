"""The judgement on a burst: what was found, why it looks as it does, and what to do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from lab.burst.result import BurstResult
from lab.diagnosis.evidence import of_burst
from lab.diagnosis.findings import find
from lab.diagnosis.words import explanation, headline, remedies

__all__ = ["Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    cause: str
    """A key of `lab.diagnosis.findings.CAUSES`."""
    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    finding = find(of_burst(result))
    return Verdict(finding.cause, headline(finding), explanation(finding), remedies(finding))

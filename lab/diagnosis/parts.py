"""What a source of connections met, and what would help it: the part of an explanation that each function has. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

from lab.diagnosis import words
from lab.diagnosis.remedies import Remedy, remedies
from lab.diagnosis.thresholds import threshold
from lab.nodes.proposals import Question, Threshold
from lab.topology import Topology

__all__ = ["Found", "SourcePart", "part_of_source"]


class _Judgement(Protocol):
    """What is found of a burst, of a function in it, or of a lab that is up."""

    @property
    def cause(self) -> str: ...
    @property
    def headline(self) -> str: ...
    @property
    def remedies(self) -> tuple[str, ...]: ...


class Found(NamedTuple):
    """What is found of a lab that is up."""

    cause: str
    headline: str
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourcePart:
    """What a source met, and what would help it."""

    question: Question
    """The source, and the server that it connects to."""
    cause: str
    """A key of `lab.diagnosis.findings.CAUSES`."""
    headline: str
    threshold: Threshold
    remedies: tuple[Remedy, ...]
    advice: tuple[str, ...]
    """What helps where no change of the topology does; it is told in place of the remedies then."""

    def to_json(self) -> dict[str, Any]:
        """Its part of the document of `lab why --json`."""
        return {
            "function": self.question.source,
            "server": self.question.server,
            "threshold": asdict(self.threshold),
            "remedies": [_remedy(remedy) for remedy in self.remedies],
            "advice": list(self.advice),
        }


def part_of_source(topology: Topology, question: Question, found: _Judgement) -> SourcePart:
    """The part of the question's source, with what was found of it."""
    return SourcePart(
        question=question,
        cause=found.cause,
        headline=found.headline,
        threshold=threshold(topology, question),
        remedies=remedies(topology, question.source, question.server, question.protocol),
        advice=found.remedies if found.cause in words.NO_ROOM_HELPS else (),
    )


def _remedy(remedy: Remedy) -> dict[str, Any]:
    return {
        "what": remedy.what,
        "change": remedy.change,
        "effect": remedy.effect,
        "threshold_before": remedy.threshold_before,
        "threshold_after": remedy.threshold_after,
        "binds_after": remedy.binds_after,
        "sharers": list(remedy.sharers),
        "sharers_hold": remedy.sharers_hold,
        "sentence": remedy.sentence,
    }

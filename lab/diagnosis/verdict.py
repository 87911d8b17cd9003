"""The judgement on a burst: what was found, why it looks as it does, and what to do; of each function as well. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lab.burst.functions import FunctionResult
from lab.burst.result import BurstResult
from lab.diagnosis.evidence import of_burst
from lab.diagnosis.findings import find
from lab.diagnosis.functions import part_of
from lab.diagnosis.words import explanation, headline, remedies
from lab.nodes.diagnosis import counted

__all__ = ["FunctionVerdict", "Verdict", "judge"]


@dataclass(frozen=True, slots=True)
class FunctionVerdict:
    """The judgement on one function's part of a burst."""

    function: str
    cause: str
    """A key of `lab.diagnosis.findings.CAUSES`."""
    limits: tuple[str, ...]
    """The nodes whose limits its connections met."""
    headline: str
    numbers: str
    """What became of its invocations."""
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, why it looks as it does, and what to do; one sentence or two each."""

    cause: str
    """A key of `lab.diagnosis.findings.CAUSES`."""
    headline: str
    explanation: tuple[str, ...]
    remedies: tuple[str, ...]
    functions: tuple[FunctionVerdict, ...] = ()
    """Of a burst of several functions that lost some: the verdict on each."""

    def on(self, function: str) -> FunctionVerdict | Verdict:
        """The verdict on this function, which is the whole burst's where that is of no other."""
        return next((each for each in self.functions if each.function == function), self)

    @property
    def of_functions(self) -> tuple[str, ...]:
        """What became of each function's invocations, and why, where it is not the same for all."""
        alike = len({(each.cause, each.limits) for each in self.functions}) == 1
        return tuple(
            ". ".join((f"{each.function}: {each.numbers}", *(() if alike else (each.headline,)))) + "."
            for each in self.functions
        )

    @property
    def all_remedies(self) -> tuple[str, ...]:
        """What helps, each once; what does not help all functions says whom it helps."""
        whom: dict[str, list[str]] = {text: [] for text in self.remedies}
        for each in self.functions:
            for text in each.remedies:
                whom.setdefault(text, []).append(each.function)
        return tuple(
            text if len(names) in (0, len(self.functions)) else f"{' and '.join(names)}: {text}"
            for text, names in whom.items()
        )


def judge(result: BurstResult) -> Verdict:
    """The verdict on a burst."""
    finding = find(of_burst(result))
    functions = tuple(_of_functions(result))
    return Verdict(finding.cause, headline(finding), explanation(finding), remedies(finding), functions)


def _of_functions(result: BurstResult) -> Iterator[FunctionVerdict]:
    """None where no function lost any, or a record of an earlier version does not tell their ways apart."""
    lost = result.invocations.failed or result.invocations.throttled
    if len(result.functions) < 2 or not lost or not any(each.nodes for each in result.functions):  # noqa: PLR2004
        return
    for function in result.functions:
        finding = find(of_burst(part_of(result, function)))
        limits = tuple(dict.fromkeys(limit.node for limit in finding.limits))
        yield FunctionVerdict(
            function=function.function,
            cause=finding.cause,
            limits=limits,
            headline=headline(finding),
            numbers=_numbers(function),
            explanation=explanation(finding),
            remedies=remedies(finding),
        )


def _numbers(function: FunctionResult) -> str:
    became = (
        (function.served, "served"),
        (function.throttled, "throttled"),
        (function.failed, "failed"),
    )
    told = ", ".join(f"{number:,} {what}" for number, what in became if number or what == "served")
    return f"of {counted(function.offered, 'invocation')} {told}"
